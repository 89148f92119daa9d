"""Hours of the ledger as `uptime_1h`: each once it is closed, and again whenever it has changed, whatever changed it."""

from collections.abc import Callable, Mapping, Set
from typing import Final

from sqlalchemy import Connection

from fleet_server.access.model import Scope
from fleet_server.clock import Clock
from fleet_server.errors import NotFound
from fleet_server.ingest.journal import Journal
from fleet_server.registry.model import Directory, PositionRef
from fleet_server.storage.database import Database
from fleet_server.telemetry import store as tables
from fleet_server.telemetry.periodic import hour_lines, uptime_by_station
from fleet_server.telemetry.promise import Bucket
from fleet_server.telemetry.sources import LedgerHour, LedgerSource
from fleet_server.telemetry.writer import TelemetryWriter
from fleet_server.uptime.model import HOUR_MS

CURSOR: Final = "telemetry-hours"
_CHUNK_LINES: Final = 5000


def rewriting(clock: Clock) -> Callable[[Connection, Set[tuple[str, int]]], None]:
    """Return what the ledger is to tell of hours that are new or changed (late evidence, an exemption, the registry): they are written."""

    def mark(connection: Connection, hours: Set[tuple[str, int]]) -> None:
        tables.mark_late(connection, hours, at_ms=clock.now_ms())

    return mark


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
        self._written_to_ms = 0
        self._newest: dict[str, tuple[PositionRef, list[LedgerHour]]] = {}

    def uptime_1h(self) -> Mapping[tuple[str, str], float]:
        """Return the share of time worked in the newest hour that was written, by station and kind."""
        return uptime_by_station(tuple(self._newest.values()), self._written_to_ms - HOUR_MS)

    def advance(self) -> None:
        """Write hours that were closed since, and those that changed.

        Raises:
            Transient: store or database are away; the cursor stays.
        """
        closed_ms = self._ledger.closed_ms()
        start_ms = min(self._journal.cursor(CURSOR), closed_ms - HOUR_MS)
        # The backlog is asked for second: what was closed by then is folded.
        if closed_ms > self._written_to_ms and not self._ledger.backlog(from_ms=start_ms):
            self._write_new(start_ms, closed_ms)
        while self._write_late():
            pass

    def _write_new(self, start_ms: int, closed_ms: int) -> None:
        """Write what was closed since; after a start the newest hour once more, which is how its shares are known again."""
        begun_at_ms, newest_ms = self._clock.now_ms(), closed_ms - HOUR_MS
        lines: list[bytes] = []
        for position in self._directory().positions.values():
            hours = self._hours(position, start_ms, closed_ms)
            self._newest[position.id] = (position, [hour for hour in hours if hour.hour_ms == newest_ms])
            lines += hour_lines(position, hours)
            if len(lines) >= _CHUNK_LINES:
                self._writer.write_again({Bucket.COLD: lines})
                lines = []
        self._writer.write_again({Bucket.COLD: lines})
        with self._database.write() as connection:
            tables.forget_span(connection, from_ms=start_ms, to_ms=closed_ms, before_ms=begun_at_ms)
            self._journal.set_cursor(connection, CURSOR, closed_ms)
        self._written_to_ms = closed_ms

    def _write_late(self) -> bool:
        """Write some of the hours that were told of; return whether there may be more. Those not written yet wait for `_write_new`."""
        before_ms, written_to_ms = self._clock.now_ms(), self._journal.cursor(CURSOR)
        with self._database.read() as connection:
            late = tables.late_before(connection, before_ms, to_ms=written_to_ms)
        if not late:
            return False
        positions = self._directory().positions
        lines: list[bytes] = []
        for position_id, hour_ms in late:
            if (position := positions.get(position_id)) is not None:
                hours = self._hours(position, hour_ms, hour_ms + 1)
                lines += hour_lines(position, hours)
                if hour_ms == self._written_to_ms - HOUR_MS:
                    self._newest[position_id] = (position, hours)
        self._writer.write_again({Bucket.COLD: lines})
        with self._database.write() as connection:
            tables.forget_late(connection, late, before_ms=before_ms)
        return True

    def _hours(self, position: PositionRef, from_ms: int, to_ms: int) -> list[LedgerHour]:
        try:
            hours = list(self._ledger.hours(position.code, scope=Scope.ALL, from_ms=from_ms, to_ms=to_ms))
        except NotFound:  # it left the registry between two looks
            return []
        return sorted(hours, key=lambda hour: hour.hour_ms)
