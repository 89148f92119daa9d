"""Values and arithmetic of the outbox: spans of sequence numbers, counters, limits. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from firmware_agent.contract.ids import EventId, StreamId
from firmware_agent.errors import Rejected, Transient

Span = tuple[int, int]
"""Inclusive first and last `seq`."""

REPLAY_HEAD: Final = b'{"v":1,"heartbeats":['
REPLAY_TAIL: Final = b"]}"


class StorageFailed(Transient):
    """The card did not take it: full beyond rescue, worn out, or gone."""


class OutboxBusy(Rejected):
    """Another agent of this machine uses the same data folder."""


@dataclass(frozen=True)
class Limits:
    """How much the outbox may hold."""

    retention_ms: int = 7 * 86_400_000
    """Heartbeats older than this are evicted, when both times are trusted."""
    max_bytes: int = 512 * 1024 * 1024
    """Size of the database file; over it the oldest heartbeats are evicted, never an event."""
    ballast_bytes: int = 1024 * 1024
    """Space set aside for the moment when the disk is full."""


@dataclass(frozen=True)
class StreamCount:
    """The books of one stream: made = acked + held + evicted."""

    stream: StreamId
    made: int
    acked: int
    evicted: int

    @property
    def held(self) -> int:
        """Heartbeats not yet acknowledged and still kept."""
        return self.made - self.acked - self.evicted


@dataclass(frozen=True)
class Counts:
    """The books of the whole outbox."""

    streams: tuple[StreamCount, ...] = ()
    """Oldest first; the last is the current one."""
    events_made: int = 0
    events_acked: int = 0
    events_held: int = 0
    evicted_before: int = 0
    """Heartbeats evicted from streams that are finished and not listed any more."""

    @property
    def evicted(self) -> int:
        """Heartbeats that were forgotten though the server had not stored them, of all streams ever."""
        return self.evicted_before + sum(stream.evicted for stream in self.streams)

    @property
    def heartbeats_held(self) -> int:
        """Heartbeats held, of all streams."""
        return sum(stream.held for stream in self.streams)


@dataclass(frozen=True)
class StoredHeartbeat:
    """A heartbeat as committed, ready for the wire."""

    stream: StreamId
    seq: int
    body: bytes


@dataclass(frozen=True)
class StoredEvent:
    """An event as committed, ready for the wire."""

    event_id: EventId
    body: bytes


@dataclass(frozen=True)
class Batch:
    """Some heartbeats of one stream for one replay message, literally as they were first sent."""

    stream: StreamId
    spans: tuple[Span, ...]
    """What is in it."""
    body: bytes


def stored_spans(through: int, gaps: Iterable[Span]) -> list[Span]:
    """Return what an acknowledgement covers: 1 to `through` without `gaps` (whatever their order, overlap or reach)."""
    return subtract([(1, through)], gaps) if through >= 1 else []


def wanted_spans(through: int, gaps: Iterable[Span], *, top: int) -> list[Span]:
    """Return what an acknowledgement asks for: its gaps, and what follows `through` up to `top`."""
    return merge([*gaps, (through + 1, top)])


def merge(spans: Iterable[Span]) -> list[Span]:
    """Return the same numbers as ascending, disjoint, non-touching spans."""
    result: list[Span] = []
    for a, b in sorted(span for span in spans if span[0] <= span[1]):
        if result and a <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(result[-1][1], b))
        else:
            result.append((a, b))
    return result


def subtract(spans: Iterable[Span], holes: Iterable[Span]) -> list[Span]:
    """Return `spans` without the numbers in `holes`, ascending."""
    result = merge(spans)
    for low, high in merge(holes):
        cut: list[Span] = []
        for a, b in result:
            if b < low or a > high:
                cut.append((a, b))
                continue
            if a < low:
                cut.append((a, low - 1))
            if b > high:
                cut.append((high + 1, b))
        result = cut
    return result


def spans_of(seqs: Sequence[int]) -> tuple[Span, ...]:
    """Return numbers as spans."""
    return tuple(merge((seq, seq) for seq in seqs))
