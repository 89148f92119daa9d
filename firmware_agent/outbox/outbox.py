"""The outbox as the event loop sees it: each act runs on the one writer thread, in order.

When the card refuses to write, the node does not fall silent: heartbeats and events then go out from memory in a stream of
their own that lives in RAM only (so that no number is ever used twice), and events are stored as soon as the card allows.
"""

import asyncio
import logging
import os
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from firmware_agent.contract import messages
from firmware_agent.contract.ids import EventId, NodeId, StreamId, event_id, new_stream
from firmware_agent.contract.messages import Ack, Event, Heartbeat, Held
from firmware_agent.outbox.model import Batch, Counts, Span, StorageFailed, StoredEvent, StoredHeartbeat
from firmware_agent.outbox.store import Store

T = TypeVar("T")

FILE_NAME: Final = "outbox.db"
_MOST_IN_MEMORY: Final = 32 * 1024 * 1024
_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108  # our folder in it is private

_log = logging.getLogger(__name__)


class Outbox:
    """Async face of `Store`. Made by `open_outbox`; closed by `aclose`."""

    def __init__(self, store: Store, node: NodeId, thread: ThreadPoolExecutor, *, why_in_memory: str = "") -> None:
        """Take over an open store and its thread. `why_in_memory`: the card could not be used at all, and why."""
        self._store = store
        self._node = node
        self._thread = thread
        self._rescue = _Rescue(node)
        self._memory = store.memory()
        self._unremembered: set[tuple[str, str]] = set()
        self._results = store.results()
        self.counts: Counts = store.counts()
        """The books after the last act."""
        self.failure = why_in_memory
        """Why the card does not take anything, empty while it does."""
        self._why_in_memory = why_in_memory

    @property
    def stream(self) -> StreamId:
        """The stream of new heartbeats."""
        return self._store.stream

    async def put_heartbeat(self, draft: Heartbeat) -> StoredHeartbeat:
        """Commit a heartbeat (its stream, seq and floor are set here); from memory when the card refuses."""
        try:
            stored = await self._do(lambda store: store.put_heartbeat(draft))
        except StorageFailed as error:
            self._failed(error)
            return self._rescue.heartbeat(draft)
        self._recovered()
        return stored

    async def put_event(self, draft: Event) -> StoredEvent:
        """Commit an event (its id is set here), safe against a power cut; from memory when the card refuses."""
        try:
            return await self._do(lambda store: store.put_event(draft))
        except StorageFailed as error:
            self._failed(error)
            return self._rescue.event(draft)

    async def save_rescued(self) -> None:
        """Try again to store events, and what is to be remembered, that the card refused."""
        refused, self._unremembered = self._unremembered, set()
        for channel, key in refused:
            self.remember(channel, key, self.recall(channel, key))
        for event in self._rescue.events():
            try:
                await self._do(partial(_keep, event))
            except StorageFailed as error:
                self._failed(error)
                return
            self._rescue.forget(event.event_id)

    async def events(self) -> list[StoredEvent]:
        """Return all events not yet acknowledged, oldest first."""
        nothing: list[StoredEvent] = []
        stored = await self._read(lambda store: store.events(), nothing)
        return [*stored, *(e for e in self._rescue.events() if e not in stored)]

    async def apply(self, ack: Ack) -> bool:
        """Forget what the server has stored; return whether our stream turned out to be used twice (see `Store.apply`)."""
        for event in ack.events:
            self._rescue.forget(event)
        try:
            return await self._do(lambda store: store.apply(ack))
        except StorageFailed as error:
            self._failed(error)
            return False

    async def batch(self, stream: StreamId, spans: Sequence[Span]) -> Batch | None:
        """Return the next replay message of a stream."""
        return await self._read(lambda store: store.batch(stream, spans), None)

    async def held(self) -> list[Held]:
        """Return what a birth lists."""
        return await self._read(lambda store: store.held(), [])

    def recall(self, channel: str, key: str) -> str | None:
        """Return a remembered value."""
        return self._memory.get((channel, key))

    def remember(self, channel: str, key: str, value: str | None) -> None:
        """Remember a value: at once for `recall`, durable shortly after."""
        if value is None:
            self._memory.pop((channel, key), None)
        else:
            self._memory[(channel, key)] = value
        self._thread.submit(self._remember, channel, key, value)

    def _remember(self, channel: str, key: str, value: str | None) -> None:
        try:
            self._store.remember(channel, key, value)
        except StorageFailed as error:
            self._unremembered.add((channel, key))
            _log.error("cannot remember %s of %s yet: %s", key, channel or "the node", error)

    def result_of(self, command_id: str) -> bytes | None:
        """Return how a command ended, None when it is not remembered."""
        return self._results.get(command_id)

    async def put_result(self, command_id: str, body: bytes) -> None:
        """Remember how a command ended."""
        self._results[command_id] = body
        while len(self._results) > 256:
            self._results.pop(next(iter(self._results)))
        try:
            await self._do(lambda store: store.put_result(command_id, body))
        except StorageFailed as error:
            self._failed(error)

    async def aclose(self) -> None:
        """Save what memory holds, mark a clean end, close."""
        await self.save_rescued()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._store.close)
        self._thread.shutdown(wait=False)

    async def _read(self, act: Callable[[Store], T], otherwise: T) -> T:
        """Read; a card that cannot be read counts as one that holds nothing, so that the node still speaks."""
        try:
            return await self._do(act)
        except StorageFailed as error:
            self._failed(error)
            return otherwise

    async def _do(self, act: Callable[[Store], T]) -> T:
        def run() -> tuple[T, Counts]:
            try:
                result = act(self._store)
            except sqlite3.Error as error:
                raise StorageFailed(f"The outbox cannot be read: {error}") from error
            with suppress(sqlite3.Error):
                return result, self._store.counts()
            return result, self.counts  # what is done is done: as a failure it would be done again, under another id

        result, self.counts = await asyncio.get_running_loop().run_in_executor(self._thread, run)
        return result

    def _failed(self, error: StorageFailed) -> None:
        if not self.failure:
            _log.critical("%s; going on from memory", error)
        self.failure = str(error)

    def _recovered(self) -> None:
        if self.failure != self._why_in_memory:
            _log.warning("the outbox can be written again")
        self.failure = self._why_in_memory


def _keep(event: StoredEvent, store: Store) -> None:
    store.keep_event(event)


class _Rescue:
    """Numbers and events while the card is out of order."""

    def __init__(self, node: NodeId) -> None:
        self._node = node
        self._stream = new_stream()
        self._seq = 0
        self._n = 0
        self._events: dict[EventId, StoredEvent] = {}

    def heartbeat(self, draft: Heartbeat) -> StoredHeartbeat:
        self._seq += 1
        body = messages.encode(msgspec.structs.replace(draft, stream=self._stream, seq=self._seq, floor=self._seq))
        return StoredHeartbeat(self._stream, self._seq, body)

    def event(self, draft: Event) -> StoredEvent:
        self._n += 1
        new = event_id(self._node, self._stream, self._n)
        self._events[new] = StoredEvent(new, messages.encode(msgspec.structs.replace(draft, event_id=new)))
        return self._events[new]

    def events(self) -> list[StoredEvent]:
        return list(self._events.values())

    def forget(self, event: EventId) -> None:
        self._events.pop(event, None)


def _memory_folder(node: NodeId) -> Path:
    """Return a folder that only we may enter; the next start finds it again, with what it holds, until the power goes."""
    base = _SHARED_MEMORY if _SHARED_MEMORY.is_dir() else None
    folder = Path(base or tempfile.gettempdir()) / f"zone-agent-{node}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return folder if is_ours else Path(tempfile.mkdtemp(prefix="zone-agent-", dir=base))


async def open_outbox(make: Callable[[Path], Store], folder: Path, node: NodeId) -> Outbox:
    """Open the store in `folder` on a thread of its own; in memory when the card cannot be used, so that the node still speaks.

    Raises:
        OutboxBusy: another agent of this machine has it.
        StorageFailed: not even in memory.
    """
    thread = ThreadPoolExecutor(1, "outbox")

    def open_it() -> Outbox:
        try:
            return Outbox(make(folder / FILE_NAME), node, thread)
        except (StorageFailed, OSError) as error:
            why = f"{error}. Evidence is kept in memory only and is lost with the power"
            _log.critical("%s", why)
            store = make(_memory_folder(node) / FILE_NAME)
            store.cap(_MOST_IN_MEMORY)
            return Outbox(store, node, thread, why_in_memory=why)

    try:
        return await asyncio.get_running_loop().run_in_executor(thread, open_it)
    except BaseException:
        thread.shutdown(wait=False)
        raise
