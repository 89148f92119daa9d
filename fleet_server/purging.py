"""Lets the rooms forget what need not be kept any longer: a few rows at a time, so that nobody who writes waits for long."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter

from fleet_server.clock import Clock
from fleet_server.errors import Transient

_log = logging.getLogger(__name__)
_INTERVAL_S: Final = 600.0
_REST: Final = 4.0
"""Times as long as the last few rows took, before the next: a year's backlog takes a fifth of the time at most."""

Purge = Callable[[], int]
"""Forgets some rows in a transaction of its own and returns how many, 0 when there are no more. Blocking."""


class Purging:
    """One process runs `run()`; several do no harm."""

    def __init__(self, purges: Mapping[str, Purge], metrics: CollectorRegistry, clock: Clock, *, interval_s: float = _INTERVAL_S) -> None:
        """`purges` by what they forget."""
        self._purges = purges
        self._clock = clock
        self._interval_s = interval_s
        self._rows = Counter("ssz_purged_rows", "Rows that were forgotten because their time is over.", ["data"], registry=metrics)
        for data in purges:
            self._rows.labels(data)

    async def run(self) -> None:
        """Look at all of them every ten minutes, until cancelled. Whose database is away waits for the next look."""
        while True:
            for data, purge in self._purges.items():
                await self._purge(data, purge)
            await asyncio.sleep(self._interval_s)

    async def _purge(self, data: str, purge: Purge) -> None:
        total = 0
        try:
            while some := await self._timed(purge):
                total += some
                self._rows.labels(data).inc(some)
        except Transient as error:
            _log.warning("The purge of %s waits: %s", data, error)
        if total:
            _log.info("%d rows of %s were purged: their time is over", total, data)

    async def _timed(self, purge: Purge) -> int:
        begin_s = self._clock.mono_s()
        some = await asyncio.to_thread(purge)
        await asyncio.sleep(_REST * (self._clock.mono_s() - begin_s))
        return some
