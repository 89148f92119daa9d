"""Nodes that wake in 1970 and in 2099: they keep their evidence, say why they do not connect, and lose nothing.

Source: reference `edge.md` §5, Clock.
"""

import asyncio
from contextlib import closing
from pathlib import Path

import pytest

from hil.scenarios.node import Node
from hil.scenarios.waiting import until
from hil.scenarios.world import World
from tests.e2e.audit import check_journal, open_store, read_journal
from tests.e2e.conftest import FakeTime


@pytest.mark.usefixtures("while_the_demo_runs")
async def test_nodes_in_the_wrong_century_lose_nothing(tmp_path: Path, faketime: FakeTime) -> None:
    past, past_stamp = faketime("+0")
    future, future_stamp = faketime("+0")
    async with World(tmp_path, say=print, env={"HIL-0001": past, "HIL-0002": future}) as world:
        for status in await asyncio.gather(*(node.stop() for node in world.nodes)):
            assert status == 0
        past_stamp.write_text("@1970-01-01 00:00:10")
        future_stamp.write_text("@2099-01-01 00:00:00")
        await asyncio.gather(*(node.start() for node in world.nodes))
        await says_why(world.nodes[0], "before the validity", "1970")
        await says_why(world.nodes[1], "has expired", "2099")
        made = [node.made for node in world.nodes]
        world.fingers.start()
        await world.heartbeats(6)
        await until(lambda: all(node.events_held >= 2 for node in world.nodes), "presses are kept")
        assert not any(node.is_connected for node in world.nodes)
        assert all(node.held >= 6 for node in world.nodes)
        past_stamp.write_text("+0")
        future_stamp.write_text("+0")
        await world.settle()
        count = await world.audit()
        assert count.heartbeats > sum(made) + 12
        await asyncio.to_thread(undated_is_dated_again, world)


async def says_why(node: Node, reason: str, year: str) -> None:
    def why() -> str:
        return str(node.status().get("why_not_connected"))

    await until(lambda: reason in why() and year in why(), f"{node.serial} says why, not {why()!r}")
    assert node.status()["clock"]["quality"] == "none"
    assert year in node.status()["clock"]["complaint"]


def undated_is_dated_again(world: World) -> None:
    with closing(open_store(world)) as database:
        journal = read_journal(database)
        check_journal(world, journal)
        undated = [heartbeat for _, heartbeat in journal.heartbeats if heartbeat.clock.quality == "none"]
        assert len(undated) >= 12
        assert {heartbeat.clock.wall_ms > 4_000_000_000_000 for heartbeat in undated} == {True, False}, "of both centuries"
