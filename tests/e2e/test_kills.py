"""Promises 1 and 2: whatever single part is killed or cut off, no press is lost or doubled, and no heartbeat is lost."""

from pathlib import Path

from hil.scenarios.kills import play_kills
from hil.scenarios.setup import Setup
from hil.scenarios.world import World
from tests.e2e.audit import check_journal, check_ledger, check_presses, check_time_series, open_store, read_journal
from tests.e2e.conftest import FakeTime


async def test_nothing_is_lost_or_doubled_whatever_is_killed(tmp_path: Path, setup: Setup, faketime: FakeTime) -> None:
    async with World(tmp_path, setup, say=print) as world:
        await play_kills(world)
        await world.charted()
        database = open_store(world)
        try:
            journal = read_journal(database)
            assert len(journal.heartbeats) > 50
            assert len(journal.events) > 10
            check_journal(world, journal)
            check_presses(database, journal)
            assert check_time_series(world, journal) > 50
            in_two_hours, _ = faketime("+7200")
            await world.check_ledger(in_two_hours)
            assert check_ledger(database) > 10_000
        finally:
            database.close()
