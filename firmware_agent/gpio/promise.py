"""What a set of GPIO lines promises its users. `tests/ports/gpio/` holds every adapter to it.

Levels are logical: True is *active*, whatever the voltage (`LineSettings.is_active_low`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from firmware_agent.errors import Transient


class GpioUnavailable(Transient):
    """The lines cannot be read or set now; they may be later. The message names chip or socket."""


class Bias(StrEnum):
    """What holds an open line."""

    PULL_UP = "pull_up"
    PULL_DOWN = "pull_down"
    NONE = "none"


@dataclass(frozen=True)
class LineSettings:
    """How an input line is wired."""

    bias: Bias = Bias.PULL_UP
    is_active_low: bool = True
    """A contact to ground reads active when closed."""


@dataclass(frozen=True)
class Edge:
    """A line changed, or may have changed while nobody could look."""

    line: int
    level: bool
    """The level after the change."""
    at_mono_ms: int
    """When, CLOCK_MONOTONIC."""
    seq: int
    """Counts the edges of this line from 1, without holes as long as none was lost."""
    is_resync: bool = False
    """The level was read anew because edges may have been lost; it may be the same as before."""


class InputLine(Protocol):
    """A line that is watched."""

    def read(self) -> bool:
        """Return the level now.

        Raises:
            GpioUnavailable: it cannot be read now.
        """
        ...


class OutputLine(Protocol):
    """A line that is driven."""

    def set(self, level: bool) -> None:
        """Drive the line. Never blocks, never raises: a level that cannot be set now is set as soon as it can be."""
        ...


class GpioPort(Protocol):
    """The lines of one chip. One user per line; only on the agent's event loop."""

    @property
    def is_simulated(self) -> bool:
        """Whether these are no real lines."""
        ...

    async def watch(self, line: int, settings: LineSettings, on_edge: Callable[[Edge], None]) -> InputLine:
        """Watch a line until the port is closed. Watching it again replaces the former watcher.

        `on_edge` is called on the event loop, in order, for each edge; when edges were lost it is called once with the level read
        anew (`is_resync`). The level at the start is no edge: `read` it.

        Raises:
            GpioUnavailable: the line cannot be had (a simulated one can always be had; reading it may fail).
        """
        ...

    async def drive(self, line: int) -> OutputLine:
        """Drive a line, inactive at first.

        Raises:
            GpioUnavailable: the line cannot be had.
        """
        ...

    async def aclose(self) -> None:
        """Let all lines go; outputs become inactive."""
        ...
