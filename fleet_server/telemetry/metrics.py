"""What Prometheus is told of the way to the time series."""

from prometheus_client import CollectorRegistry, Gauge

from fleet_server.telemetry.writer import Lag


class TelemetryMetrics:
    """Gauges of this process, on a registry of the caller's."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register all names once."""
        self._rows = Gauge("ssz_telemetry_lag_rows", "Rows of the journal not yet in the time series.", registry=registry)
        self._seconds = Gauge("ssz_telemetry_lag_seconds", "Age of the oldest message not yet in the time series.", registry=registry)
        self._dead = Gauge("ssz_telemetry_dead_letters", "Lines that were given up, ever.", registry=registry)
        self._dropped = Gauge("ssz_telemetry_dropped_lines", "Periodic lines that no room was left for.", registry=registry)
        self._success = Gauge("ssz_telemetry_last_success_timestamp_seconds", "When the newest write went well.", registry=registry)
        self._working = Gauge("ssz_telemetry_up", "1 while the newest write went well.", registry=registry)

    def show(self, lag: Lag) -> None:
        """Set all gauges."""
        self._rows.set(lag.rows)
        self._seconds.set(lag.seconds)
        self._dead.set(lag.dead_letters)
        self._dropped.set(lag.dropped)
        self._success.set((lag.last_success_at_ms or 0) / 1000)
        self._working.set(0 if lag.failure else 1)
