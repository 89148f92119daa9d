"""The ledger's reader of the journal: says which closed hours each message touches. It folds nothing itself."""

from collections.abc import Sequence
from typing import Final

from firmware_agent.contract.ids import BootId, NodeId
from firmware_agent.contract.topics import Up
from fleet_server.ingest.journal import Journal
from fleet_server.ingest.model import Lane, Row
from fleet_server.presence.evidence import read_clock_of
from fleet_server.presence.wiring import FOREVER_MS
from fleet_server.storage import Database
from fleet_server.uptime import store
from fleet_server.uptime.fold import node_reach_ms, observations
from fleet_server.uptime.ledger import MAX_EARLIER_MS, Ledger
from fleet_server.uptime.model import hour_of, hours
from fleet_server.uptime.store import BootKey, Undated

CURSOR: Final = "uptime"
BATCH: Final = 5_000
QUIET_MS: Final = 60_000
_SAVE_EVERY_MS: Final = 5_000


class _Findings:
    """What one batch of rows says."""

    def __init__(self) -> None:
        self.marks: dict[tuple[str, int], None] = {}
        self.undated: dict[BootKey, Undated] = {}
        self.learnt: list[BootKey] = []
        self.starts_ms = FOREVER_MS
        """An hour before the ledger's first, if evidence reaches there."""

    def __bool__(self) -> bool:
        return bool(self.marks or self.undated or self.learnt or self.starts_ms < FOREVER_MS)


class Follower:
    """Reads the journal once, in order, and marks the closed hours that need another fold."""

    def __init__(self, database: Database, journal: Journal, ledger: Ledger, *, quiet_ms: int = QUIET_MS) -> None:
        """An hour is folded again once nothing more has touched it for `quiet_ms`, or after ten times that."""
        self._quiet_ms = quiet_ms
        self._database = database
        self._journal = journal
        self._ledger = ledger
        self._cursor: int | None = None
        self._saved_at_ms = 0
        self._undated: dict[BootKey, Undated] = {}

    @property
    def cursor(self) -> int:
        """The last row that was read."""
        return self._cursor or 0

    def follow(self, now_ms: int, *, limit: int = BATCH) -> Sequence[Row]:
        """Read the next rows and store what they touch, in one transaction with the cursor; return them.

        Rows that touch nothing move the stored cursor only every few seconds: to read them again is harmless.
        """
        if self._cursor is None:
            self._start()
        rows = self._journal.after(self.cursor, limit=limit)
        if not rows:
            return rows
        self._ledger.begin()
        findings = self._look_at(rows)
        if findings.starts_ms < FOREVER_MS:
            self._ledger.widen(findings.starts_ms)
        if findings or now_ms - self._saved_at_ms >= _SAVE_EVERY_MS:
            with self._database.write() as connection:
                due_at_ms, limit_at_ms = now_ms + self._quiet_ms, now_ms + 10 * self._quiet_ms
                store.mark(connection, findings.marks, due_at_ms=due_at_ms, limit_at_ms=limit_at_ms)
                store.save_undated(connection, findings.undated)
                store.settle_boots(connection, findings.learnt)
                self._journal.set_cursor(connection, CURSOR, rows[-1].id)
            self._saved_at_ms = now_ms
        self._undated.update(findings.undated)
        for boot in findings.learnt:
            self._undated.pop(boot, None)
        self._cursor = rows[-1].id
        return rows

    def _start(self) -> None:
        self._cursor = self._journal.cursor(CURSOR)
        with self._database.read() as connection:
            self._undated = store.unsettled(connection)

    def _look_at(self, rows: Sequence[Row]) -> _Findings:
        findings = _Findings()
        state = self._ledger.state()
        window = state if state is not None else (0, 0)
        for row in rows:
            if row.at_ms is not None:
                self._learn(row, findings, window)
            if row.topic is Up.HEARTBEAT:
                at_ms = row.at_ms if row.at_ms is not None else self._date(row, findings)
                if at_ms is not None and at_ms - node_reach_ms(self._ledger.wiring(), row.node) < window[1]:
                    self._look_into(row, findings, window)
        return findings

    def _look_into(self, row: Row, findings: _Findings, window: tuple[int, int]) -> None:
        """Mark the closed hours that the evidence of a heartbeat really touches."""
        wiring = self._ledger.wiring()
        made = [observation.at_ms for _, observation in observations(row, wiring, self._ledger.offset_of)]
        if made and min(made) >= (self._ledger.origin_ms() or 0) - MAX_EARLIER_MS:
            self._mark(findings, row.node, min(made), max(made) + wiring.node(row.node).cap_ms, window)

    def _learn(self, row: Row, findings: _Findings, window: tuple[int, int]) -> None:
        """On the first trusted clock of a boot, mark the hours that its earlier heartbeats leave and reach."""
        if row.boot is None:
            return
        key = (row.node, row.boot)
        span = findings.undated.get(key) or self._undated.get(key)
        if span is None or key in findings.learnt:
            return
        offset_ms = self._ledger.offset_of(*key)
        if offset_ms is None:  # it was not learnt from this row: another will come
            return
        findings.learnt.append(key)
        reach_ms = node_reach_ms(self._ledger.wiring(), row.node)
        earliest_ms = (self._ledger.origin_ms() or 0) - MAX_EARLIER_MS
        for from_ms, to_ms in (
            (span.received_from_ms, span.received_to_ms),
            (span.mono_from_ms + offset_ms, span.mono_to_ms + offset_ms),
        ):
            self._mark(findings, row.node, max(earliest_ms, from_ms - reach_ms), to_ms + reach_ms, window)

    def _date(self, row: Row, findings: _Findings) -> int | None:
        """Date a heartbeat whose wall clock is not believed; remember it while its boot's offset is unknown."""
        reading = read_clock_of(row.payload, row.received_at_ms)
        key = (row.node, BootId(reading.boot))
        known = findings.undated.get(key) or self._undated.get(key)
        if known is None or key in findings.learnt:
            offset_ms = self._ledger.offset_of(*key)
            if offset_ms is not None:
                return min(reading.mono_ms + offset_ms, row.received_at_ms)
        fresh = Undated(row.received_at_ms, row.received_at_ms, reading.mono_ms, reading.mono_ms)
        findings.undated[key] = fresh if known is None else known.widened(row.received_at_ms, reading.mono_ms)
        return row.received_at_ms if row.lane is Lane.LIVE else None

    def _mark(self, findings: _Findings, node: NodeId, from_ms: int, to_ms: int, window: tuple[int, int]) -> None:
        """Mark the closed hours that `[from_ms, to_ms]` touches; where it begins before the ledger, the ledger is to begin earlier."""
        started_ms, closed_ms = window
        if from_ms < started_ms:
            findings.starts_ms = min(findings.starts_ms, hour_of(from_ms))
        touched = hours(max(started_ms, from_ms), min(closed_ms, to_ms + 1))
        findings.marks.update(((f"node:{node}", hour_ms), None) for hour_ms in touched)
