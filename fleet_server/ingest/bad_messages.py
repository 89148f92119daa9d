"""Messages that cannot be believed: counted by node and reason, one sample of each kept. They never stop the stream."""

import threading
from dataclasses import dataclass
from typing import Final

from firmware_agent.contract.ids import NodeId
from fleet_server.clock import Clock
from fleet_server.ingest import store
from fleet_server.ingest.metrics import IngestMetrics
from fleet_server.ingest.model import Reason
from fleet_server.storage.database import Database

_MAX_SAMPLE: Final = 2048
_MAX_PENDING: Final = 10_000


@dataclass(frozen=True, slots=True)
class Complaint:
    """All messages of one node that were bad for one reason. `node` is empty when the topic does not name one."""

    node: str
    reason: Reason
    count: int
    first_at_ms: int
    last_at_ms: int
    topic: str
    detail: str
    sample: bytes
    """The newest of them, at most its first 2,048 bytes."""


@dataclass(slots=True)
class _Pending:
    count: int
    first_at_ms: int
    last_at_ms: int
    topic: str
    detail: str
    sample: bytes


class BadMessages:
    """Counts in memory, and adds to the table when told to `flush`. Safe from any thread."""

    def __init__(self, database: Database, clock: Clock, metrics: IngestMetrics) -> None:
        """`metrics` counts by reason."""
        self._database = database
        self._clock = clock
        self._metrics = metrics
        self._pending: dict[tuple[str, Reason], _Pending] = {}
        self._lock = threading.Lock()

    def add(self, reason: Reason, *, node: NodeId | None, topic: str, payload: bytes, detail: str = "") -> None:
        """Count one message; cheap, and does not touch the database."""
        now_ms = self._clock.now_ms()
        self._metrics.bad[reason].inc()
        key = (node or "", reason)
        with self._lock:
            pending = self._pending.get(key)
            if pending is None:
                if len(self._pending) >= _MAX_PENDING:
                    return  # still in the metric; the table only explains
                pending = self._pending[key] = _Pending(0, now_ms, now_ms, "", "", b"")
            pending.count += 1
            pending.last_at_ms = now_ms
            pending.topic, pending.detail, pending.sample = _plain(topic)[:128], _plain(detail)[:256], payload[:_MAX_SAMPLE]

    def flush(self) -> None:
        """Add what was counted to the table.

        Raises:
            StorageUnavailable: nothing was written, and nothing is forgotten.
        """
        with self._lock:
            taken, self._pending = self._pending, {}
        if not taken:
            return
        try:
            with self._database.write() as connection:
                store.add_bad_messages(
                    connection,
                    [
                        {
                            "node_id": node,
                            "reason": reason.value,
                            "count": p.count,
                            "first_at_ms": p.first_at_ms,
                            "last_at_ms": p.last_at_ms,
                            "topic": p.topic,
                            "detail": p.detail,
                            "sample": p.sample,
                        }
                        for (node, reason), p in taken.items()
                    ],
                )
        except BaseException:
            self._give_back(taken)
            raise

    def _give_back(self, taken: dict[tuple[str, Reason], _Pending]) -> None:
        with self._lock:
            for key, old in taken.items():
                new = self._pending.setdefault(key, old)
                if new is not old:
                    new.count += old.count
                    new.first_at_ms = old.first_at_ms

    def all(self) -> list[Complaint]:
        """Return what the table holds, the newest first."""
        with self._database.read() as connection:
            return [
                Complaint(
                    node=row.node_id,
                    reason=Reason(row.reason),
                    count=row.count,
                    first_at_ms=row.first_at_ms,
                    last_at_ms=row.last_at_ms,
                    topic=row.topic,
                    detail=row.detail,
                    sample=row.sample,
                )
                for row in store.bad_messages(connection)
            ]


def _plain(text: str) -> str:
    """Return text that every database takes: no NUL, no lone surrogates."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
