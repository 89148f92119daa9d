"""Criterion 3 as the fleet proposes it: which innovation types work now. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fleet_server.presence.layers import PositionStatus
from fleet_server.presence.model import State
from fleet_server.scoring.model import Score, innovation


@dataclass(frozen=True, slots=True)
class TypeCount:
    """One innovation type of a unit."""

    type: str
    working: int
    """Commissioned positions of this type that are `working` now; degraded and unknown ones are not.

    Nor is one under maintenance, even where evidence says that its device runs: while somebody works on it, nobody may rely on
    it. An excuse takes nothing away and gives nothing: what works below it is working, what does not is not.
    """
    commissioned: int

    @property
    def counts(self) -> bool:
        """Whether the type counts: one working position is enough, a hundred are no more."""
        return self.working > 0


@dataclass(frozen=True, slots=True)
class Innovation:
    """The proposal; an evaluator accepts or changes it with a reason."""

    types: tuple[TypeCount, ...]
    score: Score
    is_demo: bool
    """Simulated nodes were counted: this is no finding."""

    @property
    def count(self) -> int:
        """How many types count."""
        return sum(type_.counts for type_ in self.types)


def propose(statuses: Iterable[PositionStatus], types: Mapping[str, str | None], *, is_demo: bool) -> Innovation:
    """Count types over positions; `types` gives the innovation type by position id.

    Positions served by simulated nodes are left out, working or not, outside a demo.
    """
    working: dict[str, int] = {}
    commissioned: dict[str, int] = {}
    for status in statuses:
        type_ = types.get(status.position_id)
        if type_ is None or not status.is_commissioned or (status.is_simulated and not is_demo):
            continue
        commissioned[type_] = commissioned.get(type_, 0) + 1
        working[type_] = working.get(type_, 0) + (status.state is State.WORKING)
    counts = tuple(TypeCount(type_, working[type_], commissioned[type_]) for type_ in sorted(commissioned))
    return Innovation(counts, innovation(sum(count.counts for count in counts)), is_demo)


def units_above(unit_path: str) -> list[str]:
    """Return a unit's path and those of all units it belongs to, the root first."""
    parts = [part for part in unit_path.split("/") if part]
    return ["/", *("/" + "/".join(parts[: depth + 1]) + "/" for depth in range(len(parts)))]
