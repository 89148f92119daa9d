"""Keeps the time series filled: from the journal as it grows, and with the rows that are written whether or not something came."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from fleet_server.access.model import Scope
from fleet_server.clock import Clock
from fleet_server.errors import Transient
from fleet_server.ingest.journal import Journal
from fleet_server.registry.model import Directory
from fleet_server.storage.database import Database
from fleet_server.telemetry.hours import HourWriter
from fleet_server.telemetry.metrics import TelemetryMetrics
from fleet_server.telemetry.periodic import server_line, state_lines, station_lines
from fleet_server.telemetry.promise import Bucket, TelemetryStore
from fleet_server.telemetry.sources import FigureSource, LedgerSource, StateSource
from fleet_server.telemetry.writer import BATCH_ROWS, Lag, TelemetryWriter

_log = logging.getLogger(__name__)
_GATHER_S: Final = 1.0
_FIRST_BACKOFF_S: Final = 1.0
_MAX_BACKOFF_S: Final = 60.0
_HOURS_S: Final = 60.0


class Telemetry:
    """One process runs `run()`."""

    def __init__(
        self,
        *,
        database: Database,
        journal: Journal,
        directory: Callable[[], Directory],
        store: TelemetryStore,
        states: StateSource,
        ledger: LedgerSource,
        figures: FigureSource,
        metrics: TelemetryMetrics,
        clock: Clock,
        instance: str = "fleet",
        state_interval_s: float = 60.0,
        figures_interval_s: float = 10.0,
    ) -> None:
        """`instance` names this server among several."""
        self._journal = journal
        self._directory = directory
        self._store = store
        self._states = states
        self._figures = figures
        self._metrics = metrics
        self._clock = clock
        self._instance = instance
        self._state_interval_s = state_interval_s
        self._figures_interval_s = figures_interval_s
        self._writer: Final = TelemetryWriter(database, journal, directory, store, clock)
        self._hours: Final = HourWriter(database, journal, directory, ledger, self._writer, clock)

    async def run(self) -> None:
        """Work until cancelled; store and database may come and go."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._patiently(self._follow), name="telemetry-journal")
            group.create_task(self._every(self._state_interval_s, self.write_states), name="telemetry-states")
            group.create_task(self._every(self._figures_interval_s, self.write_figures), name="telemetry-figures")
            group.create_task(self._every(_HOURS_S, self._hours.advance), name="telemetry-hours")

    def lag(self) -> Lag:
        """Return how far behind the journal the time series are."""
        return self._writer.lag()

    def advance(self) -> int:
        """Write the next rows of the journal; return how many. See `TelemetryWriter.advance`."""
        return self._writer.advance()

    def purge(self) -> int:
        """Forget some of what is older than its retention; return how many points. See `TelemetryStore.purge`."""
        return self._store.purge(self._clock.now_ms())

    def write_states(self) -> None:
        """Write the state of every position and station as it is now.

        Raises:
            Transient: see `TelemetryWriter.write`.
        """
        statuses, at_ms = self._states.statuses(scope=Scope.ALL), self._clock.now_ms()
        stations = station_lines(statuses, self._hours.uptime_1h(), at_ms=at_ms)
        self._writer.write({Bucket.HOT: state_lines(statuses, self._directory(), at_ms=at_ms) + stations, Bucket.COLD: stations})

    def write_figures(self) -> None:
        """Write how this server does, and show it to Prometheus.

        Raises:
            Transient: see `TelemetryWriter.write`.
        """
        lag = self._writer.lag()
        self._metrics.show(lag)
        figures: Mapping[str, int | float] = {
            **self._figures.figures(),
            "influx_lag_s": float(lag.seconds),
            "influx_lag_rows": lag.rows,
            "dead_letters": lag.dead_letters,
        }
        self._writer.write({Bucket.HOT: [server_line(self._instance, figures, at_ms=self._clock.now_ms())]})

    async def _follow(self) -> None:
        """Take what the journal has; when all is taken let some gather, so that writes stay few."""
        cursor = await asyncio.to_thread(lambda: self._writer.cursor)
        await self._journal.wait_beyond(cursor)
        while await asyncio.to_thread(self._writer.advance) == BATCH_ROWS:
            pass
        await asyncio.sleep(_GATHER_S)

    async def _patiently(self, step: Callable[[], Awaitable[None]]) -> None:
        backoff_s = _FIRST_BACKOFF_S
        while True:
            try:
                await step()
            except Transient as error:
                if backoff_s == _FIRST_BACKOFF_S:
                    _log.warning("Time series wait, the journal keeps them: %s", error)
                await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))
                backoff_s = min(backoff_s * 2, _MAX_BACKOFF_S)
            else:
                backoff_s = _FIRST_BACKOFF_S

    async def _every(self, interval_s: float, act: Callable[[], None]) -> None:
        """Act at whole multiples of the interval, so that rows of all series stand at the same times."""
        while True:
            try:
                await asyncio.to_thread(act)
            except Transient as error:
                _log.debug("Periodic rows wait: %s", error)
            now_s = self._clock.now_ms() / 1000
            await asyncio.sleep(interval_s - now_s % interval_s)
