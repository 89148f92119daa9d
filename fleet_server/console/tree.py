"""Where a page stands in the tree of units, and how each branch below it is. Pure; a path is `/command/division/station/`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleet_server.console.facts import Position, Unit
from fleet_server.console.model import Headline, headline


@dataclass(frozen=True, slots=True)
class Branch:
    """One unit below a place, and how all positions in it stand."""

    unit: Unit
    headline: Headline
    total: int


def branches(positions: Sequence[Position], here: str, units: Mapping[str, Unit]) -> list[Branch]:
    """Return the nearest units below `here` that part the positions, by path; none where there is nothing to part."""
    by_path: dict[str, list[Position]] = {}
    for position in positions:
        by_path.setdefault(_below(position.unit_path, here), []).append(position)
    if len(by_path) == 1:
        (only,) = by_path
        return [] if only == here else branches(positions, only, units)
    return [_branch(path, by_path[path], units) for path in sorted(by_path)]


def trail(here: str, units: Mapping[str, Unit]) -> list[Unit]:
    """Return the units above `here` and itself, from the top, as far as `units` tells of them."""
    return [unit for path, unit in sorted(units.items()) if here.startswith(path)]


def _below(path: str, here: str) -> str:
    """Return the unit one step below `here` on the way to `path`."""
    step = path.removeprefix(here).partition("/")[0]
    return f"{here}{step}/" if step else here


def _branch(path: str, positions: Sequence[Position], units: Mapping[str, Unit]) -> Branch:
    return Branch(units.get(path) or Unit(path, path, path), headline(positions), len(positions))
