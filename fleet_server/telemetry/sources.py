"""What the periodic rows are made of, as small promises that presence, uptime and ingest keep."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from fleet_server.access.model import Scope
from fleet_server.presence.layers import PositionStatus
from fleet_server.uptime.model import Parts


class StateSource(Protocol):
    """`Presence` is one."""

    def statuses(self, *, scope: Scope) -> Sequence[PositionStatus]:
        """Return all positions that are not retired, silent ones too."""
        ...


class LedgerHour(Protocol):
    """One closed hour of one function of a position; function `*` is all of them together, where there are several."""

    @property
    def function(self) -> str:
        """Which function."""
        ...

    @property
    def hour_ms(self) -> int:
        """Its start."""
        ...

    @property
    def parts(self) -> Parts:
        """How it was spent."""
        ...


class LedgerSource(Protocol):
    """`Uptime` is one."""

    def hours(self, code: str, *, scope: Scope, from_ms: int, to_ms: int) -> Sequence[LedgerHour]:
        """Return the closed hours of a position that start in `[from_ms, to_ms)`.

        Raises:
            NotFound: there is no such position.
        """
        ...

    def closed_ms(self) -> int:
        """Return the end of the newest closed hour, 0 while there is none."""
        ...

    def backlog(self, *, from_ms: int = 0) -> int:
        """Return how many hours that start at `from_ms` or later are due to be folded; those that a node still replays are not yet."""
        ...


class FigureSource(Protocol):
    """How this server does."""

    def figures(self) -> Mapping[str, int | float]:
        """Return numbers by name; a name keeps its type for ever."""
        ...
