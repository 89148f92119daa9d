"""What Prometheus is told of the data path."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from firmware_agent.contract.topics import Up
from fleet_server.ingest.model import Reason


def _children(counter: Counter, values: Iterable[str]) -> dict[str, Counter]:
    """Return the counter of each label value, made now, so that zero is shown and counting costs no look-up."""
    return {value: counter.labels(value) for value in values}


class IngestMetrics:
    """Counters of this process, on a registry of the caller's."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register all names once."""
        self._registry = registry
        self._last_commits = (0.0, 0.0)
        messages = Counter("ssz_ingest_messages", "Messages received from the broker.", ["topic"], registry=registry)
        self.messages = _children(messages, list(Up))
        bad = Counter("ssz_ingest_bad_messages", "Messages not believed, or believed in part.", ["reason"], registry=registry)
        self.bad = _children(bad, list(Reason))
        self.stored = Counter("ssz_ingest_stored", "Messages stored in the journal.", registry=registry)
        self.duplicates = Counter("ssz_ingest_duplicates", "Messages that the journal held already.", registry=registry)
        self.replayed = Counter("ssz_ingest_replayed_heartbeats", "Heartbeats that came by replay.", registry=registry)
        self.evidence = Counter("ssz_ingest_device_heartbeats", "Pieces of evidence in heartbeats received.", registry=registry)
        self.commits = Histogram(
            "ssz_ingest_commit_seconds",
            "Time of one group commit.",
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
            registry=registry,
        )
        self.failed_commits = Counter("ssz_ingest_failed_commits", "Commits the database could not take; retried.", registry=registry)
        self.queued = Gauge("ssz_ingest_queued_messages", "Messages received and not yet stored.", registry=registry)
        self.acks = Counter("ssz_ingest_acks", "Acknowledgements sent.", registry=registry)
        self.failed_acks = Counter("ssz_ingest_failed_acks", "Acknowledgements not sent; the node asks again.", registry=registry)
        self.connected = Gauge("ssz_ingest_broker_connected", "1 while connected to the broker.", registry=registry)
        self.connects = Counter("ssz_ingest_broker_connects", "Connections made to the broker.", registry=registry)

    def figures(self) -> dict[str, int | float]:
        """Return the numbers of the measurement `fleet_server`; `journal_ms` is the mean commit since the last call."""
        seconds, count = self._sample("ssz_ingest_commit_seconds_sum"), self._sample("ssz_ingest_commit_seconds_count")
        last_seconds, last_count = self._last_commits
        self._last_commits = (seconds, count)
        return {
            "ingested": int(self._sample("ssz_ingest_stored_total")),
            "duplicates": int(self._sample("ssz_ingest_duplicates_total")),
            "rejected": sum(int(self._sample("ssz_ingest_bad_messages_total", reason=reason)) for reason in Reason),
            "late": int(self._sample("ssz_ingest_replayed_heartbeats_total")),
            "journal_ms": 1000 * (seconds - last_seconds) / max(1.0, count - last_count),
        }

    def _sample(self, name: str, **labels: str) -> float:
        return self._registry.get_sample_value(name, labels) or 0.0
