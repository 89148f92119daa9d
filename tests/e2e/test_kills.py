"""Promises 1 and 2: whatever single part is killed or cut off, no press is lost or doubled, and no heartbeat is lost."""

from pathlib import Path

from hil.scenarios.kills import play_kills
from hil.scenarios.setup import Setup
from hil.scenarios.world import World
from tests.e2e.audit import audit_ledger, audit_stores
from tests.e2e.conftest import FakeTime


async def test_nothing_is_lost_or_doubled_whatever_is_killed(tmp_path: Path, setup: Setup, faketime: FakeTime) -> None:
    async with World(tmp_path, setup, say=print) as world:
        await play_kills(world)
        await audit_stores(world)
        in_two_hours, _ = faketime("+7200")
        await audit_ledger(world, in_two_hours)
