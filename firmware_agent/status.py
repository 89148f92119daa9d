"""`status.json`: what the agent knows of itself, for people and tests on the node (`zone-agent status`)."""

import os
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from firmware_agent import files
from firmware_agent.contract.vocabulary import ClockQuality, Function, Verdict
from firmware_agent.errors import Rejected

_REFRESH_MS: Final = 30_000


class ClockStatus(Struct, frozen=True):
    """How the clock stands."""

    wall_ms: int
    quality: ClockQuality
    complaint: str = ""
    """Why it cannot be right; empty when it can."""


class StreamStatus(Struct, frozen=True):
    """The books of one stream of heartbeats: made = acked + held + evicted."""

    stream: str
    made: int
    acked: int
    held: int
    evicted: int


class EventStatus(Struct, frozen=True):
    """The books of the events: made = acked + held."""

    made: int
    acked: int
    held: int


class FunctionStatus(Struct, frozen=True):
    """The newest evidence of one function."""

    function: Function
    verdict: Verdict
    """`unknown` when the ttl has ended."""
    cause: str
    observed_ago_ms: int | None
    """None: never observed."""


class ChannelStatus(Struct, frozen=True):
    """One wired device."""

    channel: str
    kind: str
    driver: str
    is_simulated: bool
    error: str
    functions: list[FunctionStatus]


class AgentStatus(Struct, frozen=True):
    """All of `status.json`."""

    written_at_ms: int
    pid: int
    agent: str
    node_id: str
    serial: str
    is_simulated: bool
    is_connected: bool
    session: str
    why_not_connected: str
    since_s: int
    """Seconds since it is or is not connected."""
    clock: ClockStatus
    streams: list[StreamStatus]
    """Oldest first; the last is the current one."""
    evicted: int
    """Heartbeats forgotten unstored, of all streams ever."""
    events: EventStatus
    outbox_failure: str
    """Why the card does not take anything; empty while it does."""
    desired_version: int
    desired_error: str
    heartbeat_interval_s: float
    bad_messages: int
    channels: list[ChannelStatus]


class StatusFile:
    """Writes the file when something has changed, else every 30 s, so that the card is spared."""

    def __init__(self, path: Path) -> None:
        """Its folder must exist or be makeable."""
        self._path = path
        self._last: AgentStatus | None = None

    def write(self, status: AgentStatus) -> bool:
        """Write it if it says something new; return whether it was written.

        Raises:
            OSError: it cannot be written.
        """
        if self._last is not None and status.written_at_ms - self._last.written_at_ms in range(_REFRESH_MS) and _same(status, self._last):
            return False
        self._path.parent.mkdir(parents=True, exist_ok=True)
        files.publish(self._path, msgspec.json.format(msgspec.json.encode(status)) + b"\n")
        self._last = status
        return True


def _same(one: AgentStatus, other: AgentStatus) -> bool:
    return _timeless(one) == _timeless(other)


def _timeless(status: AgentStatus) -> AgentStatus:
    """Return it without what changes by the mere passing of time."""
    return msgspec.structs.replace(
        status,
        written_at_ms=0,
        since_s=0,
        clock=msgspec.structs.replace(status.clock, wall_ms=0, complaint="" if not status.clock.complaint else "x"),
        channels=[
            msgspec.structs.replace(channel, functions=[msgspec.structs.replace(f, observed_ago_ms=0) for f in channel.functions])
            for channel in status.channels
        ],
    )


def load_status(path: Path) -> AgentStatus:
    """Read what a running agent wrote.

    Raises:
        Rejected: there is none, or it is of another version.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=AgentStatus)
    except OSError as error:
        raise Rejected(f"There is no status at {path}: the agent has not run here. Start it with: zone-agent run --config FILE") from error
    except msgspec.DecodeError as error:
        raise Rejected(f"{path} cannot be read: {error}") from error


def is_alive(status: AgentStatus) -> bool:
    """Whether the process that wrote it still runs."""
    try:
        os.kill(status.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
