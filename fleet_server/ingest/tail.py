"""The newest rows of the journal in memory, as they were appended: whoever reads close behind needs neither database nor decoder."""

import threading
from collections.abc import Container, Sequence
from typing import Final

from firmware_agent.contract.topics import Up
from fleet_server.ingest.model import Entry, Row

KEEP_MS: Final = 10_000
MAX_ROWS: Final = 2_000
"""Some 15 kB each with what was decoded of them: as many as a country's nodes send in a few seconds."""


class Tail:
    """A run of rows without a hole: all that the journal holds from the first to the last of them. Safe to use from many threads."""

    def __init__(self) -> None:
        """It is empty."""
        self._rows: list[Row] = []
        self._lock = threading.Lock()

    def extend(self, entries: Sequence[Entry], *, before: int, newest: int) -> None:
        """Take what one commit stored, when `before` was the journal's highest id; it is `newest` now.

        Where the ids do not follow one another, or somebody else appended since, the run begins anew.
        """
        with self._lock:
            last = self._rows[-1].id if self._rows else before
            if newest <= last:  # another commit of ours was quicker to get here: what it brought is newer
                return
            if before != last:
                self._rows.clear()
            if newest - before != len(entries):
                self._rows.clear()
                return
            self._rows += (_row(number, entry) for number, entry in enumerate(entries, before + 1))
            self._shorten()

    def _shorten(self) -> None:
        """Let go of what is old, some at a time."""
        rows = self._rows
        if len(rows) > MAX_ROWS or rows[-1].received_at_ms - rows[0].received_at_ms > 2 * KEEP_MS:
            newest = rows[-MAX_ROWS // 2 :]
            old_ms = rows[-1].received_at_ms - KEEP_MS
            # From the first that is young enough on, all of them: clocks are put right, and then times do not ascend.
            self._rows = newest[next(index for index, row in enumerate(newest) if row.received_at_ms >= old_ms) :]

    def after(self, number: int, *, newest: int, limit: int, topics: Container[Up] | None = None) -> list[Row] | None:
        """Return at most `limit` rows with ids above `number`, ascending; None where the journal itself must be asked.

        `newest` is an id that the journal held when it was asked just now: the run must reach it.
        """
        with self._lock:
            rows = self._rows
            if not rows or newest > rows[-1].id or number < rows[0].id - 1:
                return None
            wanted = rows[number + 1 - rows[0].id :] if number < rows[-1].id else []
        if topics is not None:
            wanted = [row for row in wanted if row.topic in topics]
        return wanted[:limit]


def _row(number: int, entry: Entry) -> Row:
    return Row(
        number,
        entry.received_at_ms,
        entry.node,
        entry.lane,
        entry.topic,
        entry.stream,
        entry.seq,
        entry.at_ms,
        entry.boot,
        entry.payload,
        entry.heartbeat,
    )
