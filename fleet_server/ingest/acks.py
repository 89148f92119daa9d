"""When to acknowledge: events at once, heartbeats soon after a birth or a new gap, else seldom."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

from firmware_agent.contract.ids import EventId, NodeId
from firmware_agent.contract.messages import VERSION, Ack, encode
from firmware_agent.contract.topics import Down
from fleet_server.clock import Clock
from fleet_server.errors import Transient
from fleet_server.ingest.metrics import IngestMetrics
from fleet_server.ingest.model import Span, StreamKey, StreamRecord, ack_of
from fleet_server.ingest.writer import Committed

_log = logging.getLogger(__name__)

SETTLE_S: Final = 1.0
"""After a new gap; what was only late closes it meanwhile. The wire promises 5 s."""
_FORGET_AFTER_INTERVALS: Final = 10
_MAX_EVENTS: Final = 256
_AT_ONCE: Final = 32
_MAX_WAITING: Final = 10_000


class Downlink(Protocol):
    """The way to a node."""

    async def publish(self, node: NodeId, message: Down, payload: bytes, *, retain: bool = False) -> None:
        """Hand a message to the broker, QoS 1; returns when the broker has it.

        Raises:
            Transient: not connected, or the broker does not answer.
        """
        ...


@dataclass(slots=True)
class _Stream:
    record: StreamRecord
    due_s: float
    sent_s: float
    asked: tuple[Span, ...] = ()
    """Gaps of the newest acknowledgement."""
    is_pending: bool = True


@dataclass(slots=True)
class Schedule:
    """Which stream is to be acknowledged when. Pure: told the time, in seconds of a monotonic clock."""

    interval_s: float
    settle_s: float = SETTLE_S
    _streams: dict[StreamKey, _Stream] = field(default_factory=dict)

    def stored(self, key: StreamKey, record: StreamRecord, *, has_new_gap: bool, now_s: float) -> None:
        """Take note of a commit."""
        known = self._streams.get(key)
        if known is None:
            known = self._streams[key] = _Stream(record, now_s + self.interval_s, now_s, is_pending=False)
        known.record = record
        due_s = known.sent_s + self.interval_s
        if has_new_gap:
            due_s = min(due_s, now_s + self.settle_s)
        elif known.asked and record.gaps and not _overlap(known.asked, record.gaps):
            due_s = now_s  # all that was asked for has come, and there is more to ask for
        known.due_s = min(known.due_s, due_s) if known.is_pending else due_s
        known.is_pending = True

    def born(self, key: StreamKey, record: StreamRecord, *, now_s: float) -> None:
        """Take note of a birth that named this stream: acknowledged at once."""
        known = self._streams.setdefault(key, _Stream(record, now_s, now_s))
        known.record, known.due_s, known.is_pending = record, now_s, True

    def take_due(self, now_s: float) -> list[tuple[NodeId, Ack]]:
        """Return the acknowledgements to be sent now; they count as sent."""
        due: list[tuple[NodeId, Ack]] = []
        forgotten: list[StreamKey] = []
        for key, known in self._streams.items():
            if known.is_pending and known.due_s <= now_s:
                ack = ack_of(known.record)
                known.asked, known.sent_s, known.is_pending = tuple(ack.gaps), now_s, False
                due.append((key[0], ack))
            elif not known.is_pending and now_s - known.sent_s > _FORGET_AFTER_INTERVALS * self.interval_s:
                forgotten.append(key)
        for key in forgotten:
            del self._streams[key]
        return due

    def failed(self, node: NodeId, ack: Ack, *, now_s: float) -> None:
        """An acknowledgement could not be sent: try again after the settling time."""
        if ack.stream is not None and (known := self._streams.get((node, ack.stream))) is not None:
            known.due_s, known.is_pending = now_s + self.settle_s, True


class Acknowledger:
    """Sends what the schedule says. Belongs to one event loop; `committed` never blocks."""

    def __init__(self, downlink: Downlink, clock: Clock, metrics: IngestMetrics, *, interval_s: float) -> None:
        """`interval_s` is the longest time that an unbroken stream waits for its acknowledgement."""
        self._downlink = downlink
        self._clock = clock
        self._metrics = metrics
        self._schedule = Schedule(interval_s, settle_s=min(SETTLE_S, interval_s))
        self._tick_s = min(0.25, interval_s / 2)
        self._events: dict[NodeId, list[EventId]] = {}
        self._arrived = asyncio.Event()
        self._born = asyncio.Event()

    def committed(self, committed: Committed) -> None:
        """Take note of what is in the journal now."""
        now_s = self._clock.mono_s()
        for key, record in committed.appended.streams.items():
            self._schedule.stored(key, record, has_new_gap=key in committed.appended.gapped, now_s=now_s)
        for key in committed.appended.born:
            self._schedule.born(key, committed.appended.streams[key], now_s=now_s)
        for node, events in committed.events.items():
            self._events.setdefault(node, []).extend(events)
        if committed.events:
            self._arrived.set()
        if committed.appended.born:
            self._born.set()

    async def run(self) -> None:
        """Send acknowledgements until cancelled. Those of events wait for none of a stream: after a restart all streams are due at once."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_sending(self._arrived, self._take_events), name="ingest-acks-events")
            group.create_task(self._keep_sending(self._born, self._take_due), name="ingest-acks-streams")

    async def _keep_sending(self, wake: asyncio.Event, take: Callable[[], list[tuple[NodeId, Ack]]]) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._tick_s):
                    await wake.wait()
            wake.clear()
            await self._send(take())

    def _take_due(self) -> list[tuple[NodeId, Ack]]:
        return self._schedule.take_due(self._clock.mono_s())

    def _take_events(self) -> list[tuple[NodeId, Ack]]:
        taken, self._events = self._events, {}
        acks: list[tuple[NodeId, Ack]] = []
        for node, events in taken.items():
            unique = list(dict.fromkeys(events))
            acks += [(node, Ack(v=VERSION, events=unique[i : i + _MAX_EVENTS])) for i in range(0, len(unique), _MAX_EVENTS)]
        return acks

    async def _send(self, waiting: Sequence[tuple[NodeId, Ack]]) -> None:
        for start in range(0, len(waiting), _AT_ONCE):
            await asyncio.gather(*(self._send_one(node, ack) for node, ack in waiting[start : start + _AT_ONCE]))

    async def _send_one(self, node: NodeId, ack: Ack) -> None:
        try:
            await self._downlink.publish(node, Down.ACK, encode(ack))
        except Transient as error:
            # Tried again at the next tick; and a node that hears nothing sends its events again.
            self._metrics.failed_acks.inc()
            if ack.stream is not None:
                self._schedule.failed(node, ack, now_s=self._clock.mono_s())
            elif len(self._events) < _MAX_WAITING:
                self._events.setdefault(node, []).extend(ack.events)
            _log.debug("An acknowledgement to %s could not be sent: %s", node, error)
        else:
            self._metrics.acks.inc()


def _overlap(some: Iterable[Span], others: Iterable[Span]) -> bool:
    spans = list(others)
    return any(first <= last_other and first_other <= last for first, last in some for first_other, last_other in spans)
