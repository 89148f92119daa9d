"""A page as it is now: its context, and its pieces that the live feed may replace."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fleet_server.console.facts import Position, Press

Context = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a page with an id of its own, rendered from `template` with the page's context and `extra`.

    A piece `within` another comes and goes: the feed swaps that other as a whole then, and only then.
    """

    id: str
    template: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    within: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """One page as it is now: its template, its context, and its pieces that change."""

    template: str
    context: Context
    pieces: Sequence[Piece]
    positions: Sequence[Position] = ()
    open_presses: Sequence[Press] = ()
