"""What an exemption is, and which of them matter for what is shown now. Pure."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple


class ExemptionKind(StrEnum):
    """Why a span is excepted."""

    MAINTENANCE = "maintenance"
    """Approved before it starts; overrides everything."""
    EXCUSED = "excused"
    """Third party, utility or disaster, with a document; replaces `degraded`, `failed` and `unknown` only."""


@dataclass(frozen=True, slots=True)
class Exemption:
    """`[from_ms, to_ms)` in which a position is excepted, with its reason and author."""

    id: int
    position_id: str
    unit_path: str
    """Of the position when it was declared."""
    kind: ExemptionKind
    from_ms: int
    to_ms: int
    reason: str
    document: str
    author: str
    created_at_ms: int

    def covers(self, at_ms: int) -> bool:
        """Whether it holds at that instant."""
        return self.from_ms <= at_ms < self.to_ms


class Version(NamedTuple):
    """How many were ever declared, and withdrawn. Both only grow, and one does with each change, whatever order changes commit in."""

    declared: int = 0
    withdrawn: int = 0


NONE_DECLARED: Final = Version()


class Calendar:
    """The exemptions in force that are to come, hold, or ended not long ago, by position. Immutable."""

    __slots__ = ("_by_position", "_edges", "version")

    def __init__(self, version: Version = NONE_DECLARED, exemptions: Iterable[Exemption] = ()) -> None:
        """Index them; they may overlap."""
        self.version = version
        by_position: dict[str, list[Exemption]] = {}
        for exemption in exemptions:
            by_position.setdefault(exemption.position_id, []).append(exemption)
        self._by_position = {name: tuple(sorted(mine, key=lambda e: (e.from_ms, e.id))) for name, mine in by_position.items()}
        self._edges = sorted({(at, name) for name, mine in self._by_position.items() for e in mine for at in (e.from_ms, e.to_ms)})

    def of(self, position_id: str) -> Sequence[Exemption]:
        """Return those of a position, by their beginnings."""
        return self._by_position.get(position_id, ())

    def turning(self, after_ms: int, to_ms: int) -> set[str]:
        """Return the positions of which one begins or ends in `(after_ms, to_ms]`."""
        return {name for _, name in self._edges[self._index(after_ms) : self._index(to_ms)]}

    def differing(self, other: "Calendar") -> set[str]:
        """Return the positions of which the two say something else."""
        return {name for name in self._by_position.keys() | other._by_position.keys() if self.of(name) != other.of(name)}

    def next_edge_ms(self, after_ms: int) -> int | None:
        """Return when one begins or ends next, None if none does."""
        index = self._index(after_ms)
        return self._edges[index][0] if index < len(self._edges) else None

    def _index(self, at_ms: int) -> int:
        return bisect_right(self._edges, at_ms, key=lambda edge: edge[0])
