"""The agent as a process on a card that is full."""

import shutil
from contextlib import suppress
from pathlib import Path

from tests.integration.agent.nodes import NODE, NodeProcess, make_node, status
from tests.integration.agent.stub_server import StubServer, until
from tests.servers.mosquitto import Mosquitto
from tests.small_disk import fill, small_disk


def fill_up(card: Path) -> None:
    with (card / "filler").open("ab", buffering=0) as file, suppress(OSError):
        fill(file)


async def test_presses_and_heartbeats_arrive_once_whatever_the_card_takes(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with small_disk(tmp_path / "card", megabytes=4) as card:
        config = make_node(tmp_path / "node", mosquitto.port)
        folder = config.parent
        config.write_text(config.read_text().replace("[node]", f'[node]\ndata_dir = "{card}"\nstatus_file = "{folder}/status.json"', 1))
        shutil.move(folder / "identity", card / "identity")
        async with StubServer(mosquitto.port, NODE) as server, NodeProcess(config) as node:
            await until(lambda: len(server.live) >= 2, what=node.log)
            for count in (1, 2, 3, 4):
                fill_up(card)  # again and again: the agent gives back what it had set aside
                node.press()
                await until(lambda count=count: len(server.event_ids) == count, what=node.log)  # type: ignore[misc]  # bound at once
                beats = len(server.live)
                await until(lambda beats=beats: len(server.live) > beats + 1)  # type: ignore[misc]  # bound at once
            (card / "filler").unlink()
            await until(lambda: status(folder)["outbox_failure"] == "" and status(folder)["events"]["held"] == 0, what=node.log)
            node.press()
            await until(lambda: len(server.event_ids) == 5)
            assert await node.stop() == 0
            assert "Traceback" not in node.log
    assert len({(h.stream, h.seq) for h in server.live}) == len(server.live)
