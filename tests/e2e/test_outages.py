"""Databases and brokers that are away for a while, and a server that comes back without its journal."""

from pathlib import Path

from hil.scenarios.outages import play_broker_restarts, play_influx_down, play_restored, play_sql_down
from hil.scenarios.setup import Setup
from hil.scenarios.world import World
from tests.e2e.audit import audit_stores


async def test_real_servers_away_and_back(tmp_path: Path, real: Setup) -> None:
    async with World(tmp_path, real, say=print) as world:
        await play_influx_down(world)
        await play_sql_down(world)
        await play_broker_restarts(world)
        await audit_stores(world)


async def test_server_restored_without_its_journal_never_deadlocks(tmp_path: Path) -> None:
    async with World(tmp_path, say=print) as world:
        await play_restored(world)
