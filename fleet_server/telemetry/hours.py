"""Hours of the ledger as `uptime_1h`: each once it is closed, and again when late evidence has changed it."""

from collections.abc import Callable
from typing import Final

from fleet_server.access.model import Scope
from fleet_server.clock import Clock
from fleet_server.errors import NotFound
from fleet_server.ingest.journal import Journal
from fleet_server.registry.model import Directory, PositionRef
from fleet_server.storage.database import Database
from fleet_server.telemetry import store as tables
from fleet_server.telemetry.derived import HOUR_MS
from fleet_server.telemetry.periodic import hour_lines, uptime_by_station
from fleet_server.telemetry.promise import Bucket
from fleet_server.telemetry.sources import LedgerHour, LedgerSource
from fleet_server.telemetry.writer import TelemetryWriter

CURSOR: Final = "telemetry-hours"
_SETTLE_MS: Final = 120_000
"""After late evidence, until the ledger has surely been folded again."""
_CHUNK_LINES: Final = 5000


class HourWriter:
    """Blocking. Its cursor is the start of the first hour not yet written."""

    def __init__(
        self,
        database: Database,
        journal: Journal,
        directory: Callable[[], Directory],
        ledger: LedgerSource,
        writer: TelemetryWriter,
        clock: Clock,
    ) -> None:
        """`ledger` is asked only while nothing waits there to be folded."""
        self._database = database
        self._journal = journal
        self._directory = directory
        self._ledger = ledger
        self._writer = writer
        self._clock = clock
        self.uptime_1h: dict[tuple[str, str], float] = {}
        """By station and kind, of the newest closed hour."""

    def advance(self) -> None:
        """Write hours that were closed since, and those that late evidence changed.

        Raises:
            Transient: store or database are away; the cursor stays.
        """
        start_ms = self._journal.cursor(CURSOR)
        if self._ledger.closed_ms() > start_ms and not self._ledger.backlog(from_ms=start_ms):
            start_ms = self._write_new(start_ms)
        if not self._ledger.backlog():
            self._write_late(start_ms)

    def _write_new(self, start_ms: int) -> int:
        found: list[tuple[PositionRef, list[LedgerHour]]] = []
        lines: list[bytes] = []
        newest_ms = -1
        for position in self._directory().positions.values():
            hours = self._hours(position, start_ms, self._clock.now_ms())
            if not hours:
                continue
            newest_ms = max(newest_ms, hours[-1].hour_ms)
            found.append((position, [hour for hour in hours if hour.hour_ms >= hours[-1].hour_ms]))
            lines += hour_lines(position, hours)
            if len(lines) >= _CHUNK_LINES:
                self._writer.write_again({Bucket.COLD: lines})
                lines = []
        if newest_ms < 0:
            return start_ms
        self._writer.write_again({Bucket.COLD: lines})
        self.uptime_1h = uptime_by_station(found, newest_ms)
        with self._database.write() as connection:
            self._journal.set_cursor(connection, CURSOR, newest_ms + HOUR_MS)
        return newest_ms + HOUR_MS

    def _write_late(self, written_to_ms: int) -> None:
        before_ms = self._clock.now_ms() - _SETTLE_MS
        with self._database.read() as connection:
            late = tables.late_before(connection, before_ms)
        if not late:
            return
        positions = self._directory().positions
        lines = [
            line
            for position_id, hour_ms in late
            if hour_ms < written_to_ms and position_id in positions  # an hour not written yet is written as it is by then
            for line in hour_lines(positions[position_id], self._hours(positions[position_id], hour_ms, hour_ms + 1))
        ]
        self._writer.write_again({Bucket.COLD: lines})
        with self._database.write() as connection:
            tables.forget_late(connection, late, before_ms=before_ms)

    def _hours(self, position: PositionRef, from_ms: int, to_ms: int) -> list[LedgerHour]:
        try:
            hours = list(self._ledger.hours(position.code, scope=Scope.ALL, from_ms=from_ms, to_ms=to_ms))
        except NotFound:  # it left the registry between two looks
            return []
        return sorted(hours, key=lambda hour: hour.hour_ms)
