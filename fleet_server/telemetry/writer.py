"""The reader of the journal that fills the store of time series. The journal is its spool: nothing else waits on disk."""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from firmware_agent.contract.ids import BootId, NodeId
from fleet_server.clock import Clock
from fleet_server.errors import Transient
from fleet_server.ingest.journal import Journal
from fleet_server.registry.model import Directory
from fleet_server.storage.database import Database
from fleet_server.telemetry import store as tables
from fleet_server.telemetry.delivery import deliver
from fleet_server.telemetry.derived import Deriver
from fleet_server.telemetry.promise import Bucket, TelemetryStore

CURSOR: Final = "telemetry"
BATCH_ROWS: Final = 1000
MAX_WAITING_LINES: Final = 200_000
_MAX_OFFSETS: Final = 20_000


@dataclass(frozen=True, slots=True)
class Lag:
    """How far the store is behind the journal."""

    rows: int
    seconds: float
    """Age of the oldest message not yet written; 0 when all are."""
    dead_letters: int
    """Lines given up, ever."""
    dropped: int
    """Periodic lines that no room was left for while the store was away, since the start."""
    last_success_at_ms: int | None
    failure: str
    """Why the newest write failed, empty when it went well."""


class TelemetryWriter:
    """Blocking. `advance` and `write` may be called from different threads; they take turns."""

    def __init__(
        self, database: Database, journal: Journal, directory: Callable[[], Directory], store: TelemetryStore, clock: Clock
    ) -> None:
        """`directory` returns the registry's snapshot of now."""
        self._database = database
        self._journal = journal
        self._directory = directory
        self._store = store
        self._clock = clock
        self._deriver: Deriver | None = None
        self._offsets: OrderedDict[tuple[NodeId, BootId], int] = OrderedDict()
        self._waiting: deque[tuple[Bucket, Sequence[bytes]]] = deque()
        self._waiting_lines = 0
        self._dropped = 0
        self._last_success_at_ms: int | None = None
        self._failure = ""
        self._turn = threading.Lock()

    @property
    def cursor(self) -> int:
        """The id of the last row of the journal that is in the store."""
        return self._journal.cursor(CURSOR)

    def advance(self, *, limit: int = BATCH_ROWS) -> int:
        """Write what the journal has next; return the number of its rows taken, `limit` at most.

        Rows are taken again after a failure: at least once, and a second time changes nothing.

        Raises:
            Transient: the store or the database is away; the cursor stays.
        """
        with self._turn:
            start = self._journal.cursor(CURSOR)
            rows = self._journal.after(start, limit=limit)
            if not rows:
                return 0
            derived = self._derivers().derive(rows)
            letters = self._deliver(derived.lines)
            now_ms = self._clock.now_ms()
            with self._database.write() as connection:
                for bucket, found in letters.items():
                    tables.bury(connection, at_ms=now_ms, bucket=bucket, letters=found)
                self._journal.set_cursor(connection, CURSOR, rows[-1].id)
            return len(rows)

    def write(self, lines: Mapping[Bucket, Sequence[bytes]]) -> None:
        """Write lines that are in no journal. While the store is away they wait in memory, the oldest giving way to the newest.

        Raises:
            Transient: they wait; the next call tries again.
        """
        with self._turn:
            for bucket, some in lines.items():
                self._waiting.append((bucket, some))
                self._waiting_lines += len(some)
            while self._waiting_lines > MAX_WAITING_LINES and len(self._waiting) > 1:
                dropped = len(self._waiting.popleft()[1])
                self._waiting_lines -= dropped
                self._dropped += dropped
            while self._waiting:
                bucket, some = self._waiting[0]
                self._write({bucket: some})
                self._waiting.popleft()
                self._waiting_lines -= len(some)

    def write_again(self, lines: Mapping[Bucket, Sequence[bytes]]) -> None:
        """Write lines that the caller can make again: none waits in memory, where it would drive out those that nobody can.

        Raises:
            Transient: make and write them all again later.
        """
        with self._turn:
            self._write(lines)

    def _write(self, lines: Mapping[Bucket, Sequence[bytes]]) -> None:
        letters = self._deliver(lines)
        if letters:
            with self._database.write() as connection:
                for bucket, found in letters.items():
                    tables.bury(connection, at_ms=self._clock.now_ms(), bucket=bucket, letters=found)

    def lag(self) -> Lag:
        """Return how far behind it is."""
        cursor, newest = self._journal.cursor(CURSOR), self._journal.newest_id()
        following = self._journal.after(cursor, limit=1)
        seconds = max(0.0, (self._clock.now_ms() - following[0].received_at_ms) / 1000) if following else 0.0
        with self._database.read() as connection:
            dead = tables.buried(connection)
        return Lag(newest - cursor if following else 0, seconds, dead, self._dropped, self._last_success_at_ms, self._failure)

    def _deliver(self, lines: Mapping[Bucket, Sequence[bytes]]) -> dict[Bucket, list[tuple[bytes, str]]]:
        now_ms = self._clock.now_ms()
        try:
            letters = {bucket: deliver(self._store, bucket, some, now_ms=now_ms) for bucket, some in lines.items()}
        except Transient as error:
            self._failure = str(error)
            raise
        self._failure = ""
        self._last_success_at_ms = now_ms
        return {bucket: found for bucket, found in letters.items() if found}

    def _derivers(self) -> Deriver:
        directory = self._directory()
        if self._deriver is None or self._deriver.directory is not directory:
            self._deriver = Deriver(directory, self._offset_of)
        return self._deriver

    def _offset_of(self, node: NodeId, boot: BootId) -> int | None:
        known = self._offsets.get((node, boot))
        if known is None:
            known = self._journal.boot_offset(node, boot)
            if known is not None:  # an offset, once known, stays; an unknown one may be learned with the next row
                self._offsets[node, boot] = known
                if len(self._offsets) > _MAX_OFFSETS:
                    self._offsets.popitem(last=False)
        return known
