"""What rooms may forget is forgotten in small pieces, counted, told once, and again later where a database is away."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from fleet_server.errors import Transient
from fleet_server.purging import Purge, Purging

BOUND_S = 20


class Backlog:
    """Rows that wait to be forgotten, three at a time; away for the first questions that it is told to miss."""

    def __init__(self, rows: int, *, absences: int = 0, work: Callable[[], None] = lambda: None) -> None:
        self.rows = rows
        self.absences = absences
        self.looks = 0
        self._work = work

    def __call__(self) -> int:
        self.looks += 1
        self._work()
        if self.absences:
            self.absences -= 1
            raise Transient("the database does not answer")
        some = min(3, self.rows)
        self.rows -= some
        return some


async def run(metrics: CollectorRegistry, clock: Any, purges: dict[str, Purge], is_done: Callable[[], bool]) -> None:
    """Let it look at short intervals until it is done."""
    running = asyncio.create_task(Purging(purges, metrics, clock, interval_s=0.01).run())
    try:
        async with asyncio.timeout(BOUND_S):
            while not is_done():
                assert not running.done()
                await asyncio.sleep(0.005)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_all_goes_in_pieces_and_is_counted_and_told_once(clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    metrics, news, nothing = CollectorRegistry(), Backlog(7), Backlog(0)
    with caplog.at_level(logging.INFO, "fleet_server.purging"):
        await run(metrics, clock, {"changes": news, "sessions": nothing}, lambda: nothing.looks > 2)
    assert news.rows == 0
    assert caplog.messages == ["7 rows of changes were purged: their time is over"]
    assert metrics.get_sample_value("ssz_purged_rows_total", {"data": "changes"}) == 7
    assert metrics.get_sample_value("ssz_purged_rows_total", {"data": "sessions"}) == 0


async def test_who_is_away_holds_nobody_up_and_is_asked_again(clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    metrics, away, here = CollectorRegistry(), Backlog(4, absences=2), Backlog(5)
    await run(metrics, clock, {"time_series": away, "changes": here}, lambda: away.rows == 0 and here.rows == 0)
    assert caplog.messages == ["The purge of time_series waits: the database does not answer"] * 2
    assert metrics.get_sample_value("ssz_purged_rows_total", {"data": "time_series"}) == 4


async def test_it_rests_longer_than_it_works(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    backlog, rests = Backlog(6, work=lambda: clock.advance(20)), []
    sleep = asyncio.sleep

    async def rest(seconds: float) -> None:
        rests.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", rest)
    purge = Purging({"changes": backlog}, CollectorRegistry(), clock)
    await purge._purge("changes", backlog)
    assert rests == pytest.approx([0.08, 0.08, 0.08])
