"""What a node made and still holds, as its outbox says: the one side of every comparison."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

_STRIDE = 1 << 44
"""A held heartbeat's row number is `stream row × stride + seq`."""


@dataclass(frozen=True, slots=True)
class StreamBooks:
    """One stream of a node."""

    stream: str
    made: int
    evicted: int
    held: frozenset[int]
    events_made: int


@dataclass(frozen=True, slots=True)
class Books:
    """All of a node."""

    streams: tuple[StreamBooks, ...]
    events_held: frozenset[str]


def read_books(path: Path) -> Books:
    """Read an outbox whose agent does not run (the agent lets nobody else read it)."""
    with closing(sqlite3.connect(path)) as db:
        held: dict[int, set[int]] = {}
        for (key,) in db.execute("SELECT id FROM heartbeat"):
            held.setdefault(key // _STRIDE, set()).add(key % _STRIDE)
        streams = tuple(
            StreamBooks(stream, made, evicted, frozenset(held.get(row, ())), events)
            for row, stream, made, evicted, events in db.execute("SELECT id, stream, made, evicted, events FROM stream ORDER BY id")
        )
        return Books(streams, frozenset(event for (event,) in db.execute("SELECT event_id FROM event")))
