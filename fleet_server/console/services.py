"""What the pages ask of the rest of the server. `sources` answers with the real services, tests with their own."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from fleet_server.access.guard import Guard
from fleet_server.clock import Clock
from fleet_server.console.facts import DemoAct, Hour, Node, Position, PositionDetail, Press, Unit, Viewer, Zone
from fleet_server.presence.model import Segment
from fleet_server.scoring.innovation import Innovation
from fleet_server.storage.changes import Change
from fleet_server.uptime.model import Parts


class Fleet(Protocol):
    """The fleet as a viewer may see it: everything is limited to the units below `unit_path`. Blocking."""

    def units(self, unit_path: str) -> Sequence[Unit]:
        """Return the visible units, by path."""
        ...

    def zones(self, unit_path: str) -> Sequence[Zone]:
        """Return the visible zones."""
        ...

    def positions(self, unit_path: str) -> Sequence[Position]:
        """Return the visible positions as they stand now, in the order of their codes."""
        ...

    def position(self, code: str, unit_path: str) -> PositionDetail:
        """Return one position.

        Raises:
            NotFound: there is none of this code that the viewer may see.
        """
        ...

    def usage(self, codes: Sequence[str], *, from_ms: int, to_ms: int) -> Mapping[str, Parts]:
        """Return how each position spent its commissioned part of the span, judged by its worst function at each instant."""
        ...

    def segments(self, code: str, *, from_ms: int, to_ms: int) -> Sequence[Segment]:
        """Return the states of the position over a span of a few hours, ascending; time before commissioning is left out."""
        ...

    def hours(self, code: str, *, from_ms: int, to_ms: int) -> Sequence[Hour]:
        """Return the hours of the position over a longer span, ascending; those before commissioning are left out."""
        ...

    def nodes(self, unit_path: str) -> Sequence[Node]:
        """Return the visible nodes."""
        ...

    def innovation(self, unit_path: str) -> Innovation:
        """Return the proposed criterion 3."""
        ...


class Presses(Protocol):
    """Presses of panic buttons. Blocking."""

    def presses(self, unit_path: str, *, limit: int, is_open: bool | None = None) -> Sequence[Press]:
        """Return presses, newest first; `is_open` picks the unanswered or the answered ones."""
        ...

    def acknowledge(self, event_id: str, viewer: Viewer) -> None:
        """Take the press; the first to do so is kept.

        Raises:
            NotFound: no such press that the viewer may see.
            Conflict: somebody else has it.
            Forbidden: the role may not.
        """
        ...


class Accounts(Protocol):
    """Who is logged in. Blocking."""

    def viewer(self, session: str) -> Viewer | None:
        """Return whose session this is, None when it has ended or never was."""
        ...

    def log_in(self, user: str, password: str, *, address: str) -> str:
        """Return a new session; `address` is where the try comes from.

        Raises:
            Rejected: user or password is wrong, or the account is closed.
            TooManyTries: wait before trying again.
        """
        ...

    def log_out(self, session: str) -> None:
        """End the session."""
        ...

    def link_user(self, link: str) -> str:
        """Return whose one-time link this is.

        Raises:
            Rejected: it was used, has expired or never was.
        """
        ...

    def use_link(self, link: str, password: str) -> None:
        """Set the password of the link's account and spend the link.

        Raises:
            Rejected: the link is spent, or the password is too weak; the message says why.
        """
        ...


class Changes(Protocol):
    """The numbered news of the fleet."""

    def newest(self) -> int:
        """Return the number of the newest change, 0 when there is none. Blocking."""
        ...

    def follow(self, number: int, *, unit_path: str) -> AsyncGenerator[list[Change], None]:
        """Yield what came after `number`, then everything new; an empty list now and then as a sign of life.

        Raises:
            Gone: some of it is no longer kept, or `number` was never here.
        """
        ...


class DemoControl(Protocol):
    """The far side of the demo panel."""

    async def acts(self) -> Sequence[DemoAct]:
        """Return what can be broken now.

        Raises:
            Transient: the demo does not answer.
        """
        ...

    async def act(self, name: str, target: str) -> None:
        """Do it.

        Raises:
            Rejected: there is no such act or target.
            Transient: the demo does not answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class ConsoleServices:
    """Everything the pages are made of."""

    fleet: Fleet
    presses: Presses
    accounts: Accounts
    guard: Guard
    changes: Changes
    clock: Clock
    demo: DemoControl | None = None
    """Only when a demo-control address is configured."""
    is_demo: bool = False
    """The first page is open to everybody and marked as a demo."""
    is_https: bool = False
