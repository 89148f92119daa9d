"""Databases and brokers that are away for a while, and a server that comes back without its journal."""

from pathlib import Path

import pytest

from hil.processes import ProcessFailed, run
from hil.scenarios.outages import play_broker_restarts, play_influx_down, play_restored, play_sql_down
from hil.scenarios.programs import program
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
        await second_copies_are_refused(world)
        await play_restored(world)


async def second_copies_are_refused(world: World) -> None:
    """A second server and a second agent beside the first: one sentence, and the first ones go on."""
    node = world.nodes[0]
    with pytest.raises(ProcessFailed, match="Another agent uses"):
        await run("a second agent", [program("zone-agent"), "run", "--config", node.folder / "node.toml"])
    with pytest.raises(ProcessFailed, match=r"Another fleet serve .* runs on .*: stop it first"):
        await run("a second server", [program("fleet"), "serve", "--data", world.server.folder])
    await world.heartbeats(2)
    await world.connected()
