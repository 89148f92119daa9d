"""Scoring: proposes criterion 3 from what works now, and tells when it changes."""

import asyncio
import json
import logging
import random
from collections.abc import Callable
from typing import Any, Final

from fleet_server.access.model import Scope
from fleet_server.clock import Clock
from fleet_server.errors import Gone, Transient
from fleet_server.presence.layers import PositionStatus
from fleet_server.presence.service import Presence
from fleet_server.registry.model import Directory
from fleet_server.scoring import store
from fleet_server.scoring.innovation import Innovation, propose, units_above
from fleet_server.storage import Database, changes

_log = logging.getLogger(__name__)
_REST: Final = 19.0
"""Times as long as a look took: 20 ms for a station, half a minute for 30,000 positions."""


class Scoring:
    """The fleet's own proposal. One process runs `run()`; any process may ask."""

    def __init__(
        self, database: Database, directory: Callable[[], Directory], presence: Presence, clock: Clock, *, is_demo: bool = False
    ) -> None:
        """Simulated nodes are scored only where `is_demo`."""
        self._database = database
        self._directory = directory
        self._presence = presence
        self._clock = clock
        self._is_demo = is_demo

    def innovation(self, *, scope: Scope) -> Innovation:
        """Return the proposal for all positions of a scope, as of now."""
        return propose(self._presence.statuses(scope=scope), self._types(), is_demo=self._is_demo)

    def _types(self) -> dict[str, str | None]:
        return {ref.id: ref.innovation_type for ref in self._directory().positions.values()}

    async def run(self, feed: changes.ChangeFeed) -> None:
        """Follow the change log and tell of each change of a unit's proposal (kind `innovation`), until cancelled.

        Each look is at all positions; looks follow each other so slowly that they take a small share of one core.
        """
        while True:
            try:
                number = await self._database.run(self._newest)
                begin_s = self._clock.mono_s()
                await self._database.run(self.tell)
                await asyncio.sleep(_REST * (self._clock.mono_s() - begin_s))
                async for news in feed.follow(number, unit_path="/"):
                    if not news or any(change.kind in ("position", "registry") for change in news):
                        break
            except (Transient, Gone) as error:
                _log.warning("scoring waits: %s", error)
                await asyncio.sleep(random.uniform(0.5, 2.0))

    def tell(self) -> list[str]:
        """Write to the change log what changed for each unit, stations and all above them; return those units' paths.

        Raises:
            StorageUnavailable: nothing was told; call again.
        """
        by_unit: dict[str, list[PositionStatus]] = {}
        for status in self._presence.statuses(scope=Scope.ALL):
            for unit_path in units_above(status.unit_path):
                by_unit.setdefault(unit_path, []).append(status)
        with self._database.read() as connection:
            told = store.told(connection)
        types = self._types()
        news = {unit_path: _as_text(propose(of_unit, types, is_demo=self._is_demo)) for unit_path, of_unit in by_unit.items()}
        changed = {unit_path: text for unit_path, text in news.items() if told.get(unit_path) != text}
        if changed:
            self._write(changed)
        return list(changed)

    def _write(self, changed: dict[str, str]) -> None:
        now_ms = self._clock.now_ms()
        with self._database.write() as connection:
            for unit_path, text in changed.items():
                store.tell(connection, unit_path, text, now_ms)
                data = {"unit": unit_path, **json.loads(text)}
                changes.append(connection, at_ms=now_ms, unit_path=unit_path, kind="innovation", subject=unit_path, data=data)

    def _newest(self) -> int:
        with self._database.read() as connection:
            return changes.newest(connection)


def innovation_news(innovation: Innovation) -> dict[str, Any]:
    """Return the proposal as the API and the change log show it."""
    return {
        "types": [{"type": t.type, "working": t.working, "commissioned": t.commissioned, "counts": t.counts} for t in innovation.types],
        "count": innovation.count,
        "score": innovation.score.score,
        "ruling": innovation.score.ruling,
        "flags": [flag.value for flag in innovation.score.flags],
        "alternatives": [{"reading": a.reading, "score": a.score} for a in innovation.score.alternatives],
        "is_demo": innovation.is_demo,
    }


def _as_text(innovation: Innovation) -> str:
    return json.dumps(innovation_news(innovation), separators=(",", ":"))
