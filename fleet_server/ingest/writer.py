"""Group commit: what is received goes into the journal in batches; what is committed is handed on to be acknowledged."""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from sqlalchemy.exc import DataError, IntegrityError

from firmware_agent.contract.ids import EventId, NodeId
from fleet_server.clock import Clock
from fleet_server.errors import Transient
from fleet_server.ingest.bad_messages import BadMessages
from fleet_server.ingest.journal import Appended, Journal
from fleet_server.ingest.metrics import IngestMetrics
from fleet_server.ingest.model import Entry, Reason, StreamKey
from fleet_server.ingest.receiver import Received

_log = logging.getLogger(__name__)
_REFUSALS: Final = (DataError, IntegrityError, ValueError, OverflowError)
_LAST_COMMIT_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class WriterLimits:
    """How much waits, and how long."""

    gather_s: float = 0.005
    """After the first message of a batch, unless an event is in it: then not at all."""
    pace_s: float = 0.5
    """Between two commits of a busy time; a commit costs the same for one message as for many. Events do not wait for it."""
    batch_messages: int = 512
    batch_bytes: int = 4 * 1024 * 1024
    queue_messages: int = 20_000
    queue_bytes: int = 64 * 1024 * 1024
    max_backoff_s: float = 5.0


@dataclass(slots=True)
class Committed:
    """What is in the journal now, for acknowledgement."""

    appended: Appended
    events: dict[NodeId, list[EventId]]


class Writer:
    """A bounded queue in front of the journal. Belongs to one event loop.

    While the database is away or full the batch is kept and tried again, nothing is acknowledged, and the queue fills to
    its bound; then `offer` says no, and the caller must stop reading, so that the nodes keep what they hold.
    """

    def __init__(
        self,
        journal: Journal,
        bad: BadMessages,
        clock: Clock,
        metrics: IngestMetrics,
        *,
        on_commit: Callable[[Committed], None],
        limits: WriterLimits | None = None,
    ) -> None:
        """`on_commit` is called on the event loop after each commit, in their order."""
        self._journal = journal
        self._bad = bad
        self._clock = clock
        self._metrics = metrics
        self._on_commit = on_commit
        self._limits = limits or WriterLimits()
        self._queue: deque[Received] = deque()
        self._bytes = 0
        self._urgent = 0
        self._arrived = asyncio.Event()
        self._full_batch = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._batch: list[Received] = []
        self.is_storing = True
        """Whether the newest attempt to commit went well."""

    @property
    def is_full(self) -> bool:
        """Whether nothing more may be read for now."""
        return not self._room.is_set()

    def offer(self, received: Received) -> bool:
        """Queue one message; False when there is no room: it was not taken, and reading must stop."""
        if len(self._queue) >= self._limits.queue_messages or self._bytes >= self._limits.queue_bytes:
            self._room.clear()
            return False
        self._queue.append(received)
        self._bytes += _size(received)
        self._urgent += bool(received.events)
        self._arrived.set()
        if received.events or len(self._queue) >= self._limits.batch_messages:
            self._full_batch.set()
        return True

    async def wait_room(self) -> None:
        """Wait until the queue, once full, is half empty again."""
        await self._room.wait()

    async def run(self) -> None:
        """Commit until cancelled; what is queued then is committed once more, if the database takes it at once."""
        last_commit_s = -self._limits.pace_s
        try:
            while True:
                await self._gather(last_commit_s)
                self._take_batch()
                await self._store(self._batch)
                self._batch = []
                last_commit_s = self._clock.mono_s()
        finally:
            await self._store_what_is_left()

    async def _gather(self, last_commit_s: float) -> None:
        self._metrics.queued.set(len(self._queue))
        await self._arrived.wait()
        wait_s = max(self._limits.gather_s, last_commit_s + self._limits.pace_s - self._clock.mono_s())
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._full_batch.wait()

    def _take_batch(self) -> None:
        taken = 0
        while self._queue and len(self._batch) < self._limits.batch_messages and taken < self._limits.batch_bytes:
            received = self._queue.popleft()
            size = _size(received)
            taken += size
            self._bytes -= size
            self._urgent -= bool(received.events)
            self._batch.append(received)
        if not self._queue:
            self._arrived.clear()
        if not self._urgent and len(self._queue) < self._limits.batch_messages:
            self._full_batch.clear()
        if len(self._queue) <= self._limits.queue_messages // 2 and self._bytes <= self._limits.queue_bytes // 2:
            self._room.set()

    async def _store(self, batch: Sequence[Received]) -> None:
        backoff_s = 0.1
        while True:
            try:
                committed = await self._commit(batch)
            except Transient as error:
                self._fail(error)
                await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))
                backoff_s = min(backoff_s * 2, self._limits.max_backoff_s)
                continue
            except _REFUSALS as error:
                await self._store_apart(batch, error)
                return
            if not self.is_storing:
                _log.info("The database takes messages again")
            self.is_storing = True
            self._on_commit(committed)
            return

    async def _store_apart(self, batch: Sequence[Received], error: Exception) -> None:
        """One message of the batch is refused by the database: store the others, and count that one."""
        if len(batch) == 1:  # a replay holds many
            batch = [batch[0]._replace(entries=(entry,)) for entry in batch[0].entries]
        if len(batch) == 1:
            (entry,) = batch[0].entries
            _log.warning("The database refuses a message of node %s: %s", entry.node, error)
            detail = f"{type(error).__name__}: {error}".splitlines()[0]
            self._bad.add(Reason.UNSTORABLE, node=entry.node, topic=f"up/{entry.topic}", payload=entry.payload, detail=detail)
            return
        middle = len(batch) // 2
        await self._store(batch[:middle])
        await self._store(batch[middle:])

    async def _commit(self, batch: Sequence[Received]) -> Committed:
        start_s = self._clock.mono_s()
        committed = await asyncio.to_thread(self._commit_now, batch)
        self._metrics.commits.observe(self._clock.mono_s() - start_s)
        self._metrics.stored.inc(committed.appended.stored)
        self._metrics.duplicates.inc(committed.appended.duplicates)
        for entry in committed.appended.reused:
            detail = f"number {entry.seq} of stream {entry.stream} was another message before"
            self._bad.add(Reason.SEQ_REUSED, node=entry.node, topic=f"up/{entry.topic}", payload=entry.payload, detail=detail)
        return committed

    def _commit_now(self, batch: Sequence[Received]) -> Committed:
        entries: list[Entry] = []
        events: dict[NodeId, list[EventId]] = {}
        held: dict[StreamKey, int] = {}
        for received in batch:
            entries.extend(received.entries)
            if received.events:
                events.setdefault(received.node, []).extend(received.events)
            held.update({(received.node, stream): floor for stream, floor in received.held})
        return Committed(self._journal.append(entries, held=held), events)

    def _fail(self, error: Transient) -> None:
        self._metrics.failed_commits.inc()
        self._metrics.queued.set(len(self._queue))
        if self.is_storing:
            _log.error("Messages cannot be stored; nothing is acknowledged until they can: %s", error)
        self.is_storing = False

    async def _store_what_is_left(self) -> None:
        """Statuses and results are not sent again by nodes, so a clean stop tries to keep them."""
        batch = [*self._batch, *self._queue]
        if batch and self.is_storing:
            with suppress(Exception):
                async with asyncio.timeout(_LAST_COMMIT_S):
                    await asyncio.to_thread(self._commit_now, batch)


def _size(received: Received) -> int:
    entries = received.entries
    return len(entries[0].payload) if len(entries) == 1 else sum(len(entry.payload) for entry in entries)
