"""An agent that is told to stop in the middle of a press keeps it."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from firmware_agent.contract.messages import Heartbeat
from firmware_agent.outbox.store import Store
from hil.scenarios.books import read_books
from tests.integration.agent.nodes import make_node, running
from tests.integration.agent.stub_server import until
from tests.servers.process import free_port


def events_kept(folder: Path) -> int:
    return len(read_books(folder / "outbox.db").events_held)


async def test_what_a_driver_tells_while_it_stops_is_kept(tmp_path: Path) -> None:
    async with running(make_node(tmp_path, free_port())) as probes:
        probes.of().last_words = True
    assert events_kept(tmp_path) == 1


async def test_press_that_waits_for_a_slow_card_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_writing, may_go_on = threading.Event(), threading.Event()
    is_slow = False

    class SlowStore(Store):
        def put_heartbeat(self, draft: Heartbeat) -> Any:
            if is_slow:
                is_writing.set()
                may_go_on.wait(20)
            return super().put_heartbeat(draft)

    monkeypatch.setattr("firmware_agent.process.Store", SlowStore)
    async with running(make_node(tmp_path, free_port())) as probes:
        is_slow = True
        await until(is_writing.is_set)
        pressing = asyncio.create_task(probes.of().press())
        asyncio.get_running_loop().call_later(0.5, may_go_on.set)  # long after the agent was told to stop
        await asyncio.sleep(0)
    assert events_kept(tmp_path) == 1
    assert await asyncio.wait_for(pressing, 5) in read_books(tmp_path / "outbox.db").events_held
