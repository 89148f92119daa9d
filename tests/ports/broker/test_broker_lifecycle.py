"""Starting, stopping, reloading and losing a broker."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from firmware_agent.contract.ids import NodeId
from firmware_agent.contract.topics import ALL_UP, Up, down_filter, up
from provisioning.broker.embedded.adapter import EmbeddedBroker
from provisioning.broker.mosquitto import MosquittoBroker
from provisioning.broker.promise import Broker, BrokerFailed, BrokerFiles, keep_running
from provisioning.errors import Missing
from tests.ports.broker.conftest import Make
from tests.ports.broker.people import WITHIN_S, Authority, Person, Raw, client, connect_packet, inbox, is_refused, until_refused
from tests.servers.process import is_listening

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_clients_come_back_after_a_restart_on_the_same_port(own_broker: Broker, authority: Authority) -> None:
    node = authority.node()
    before = own_broker.endpoint, own_broker.core_endpoint
    async with client(authority, own_broker.endpoint, node) as mqtt:
        await mqtt.subscribe(down_filter(NodeId(node.name)), qos=1)
    await own_broker.stop()
    assert await is_refused(authority, own_broker.endpoint, node, connect_packet(node.name))
    await own_broker.start()
    assert (own_broker.endpoint, own_broker.core_endpoint) == before
    await message_passes(authority, own_broker, node)


async def test_a_killed_broker_is_started_again(own_broker: Broker, authority: Authority) -> None:
    async with running(own_broker):
        for _ in range(2):
            killed = pid_of(own_broker)
            os.kill(killed, signal.SIGKILL)
            await until_restarted(own_broker, killed)
            await message_passes(authority, own_broker, authority.node())


async def test_it_stops_at_once_with_clients_connected(own_broker: Broker, authority: Authority) -> None:
    raws = []
    for _ in range(5):
        node = authority.node()
        raws.append(await Raw.open(authority, own_broker.endpoint, node))
        raws[-1].send(connect_packet(node.name, is_clean=False))
        assert (await raws[-1].receive())[0] == 0x20
    pid = pid_of(own_broker)
    await own_broker.stop()
    assert not is_alive(pid)
    for raw in raws:
        assert await raw.is_ended()
        await raw.close()


async def test_sigterm_is_obeyed_not_only_killed(own_broker: Broker, authority: Authority) -> None:
    await message_passes(authority, own_broker, authority.node())  # Mosquitto listens before it minds signals
    ended = asyncio.create_task(own_broker.wait())
    os.kill(pid_of(own_broker), signal.SIGTERM)
    assert "status 0" in await asyncio.wait_for(ended, WITHIN_S)


async def test_a_taken_port_is_one_clear_sentence(make: Make, authority: Authority, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        broker: Broker
        if isinstance(make(authority.files, tmp_path), MosquittoBroker):
            broker = MosquittoBroker(authority.files, tmp_path / "b", port=port)
        else:
            broker = EmbeddedBroker(authority.files, tmp_path / "b", port=port)
        with pytest.raises(BrokerFailed, match=str(port)):
            await broker.start()


async def test_a_missing_file_is_named(make: Make, authority: Authority, tmp_path: Path) -> None:
    files = BrokerFiles(tmp_path / "no.pem", authority.files.key, authority.files.pki)
    with pytest.raises(Missing, match=r"no\.pem"):
        await make(files, tmp_path).start()


async def test_it_dies_with_the_process_that_started_it(make: Make, authority: Authority, tmp_path: Path) -> None:
    kind = "mosquitto" if isinstance(make(authority.files, tmp_path / "probe"), MosquittoBroker) else "embedded"
    files = authority.files
    argv = [sys.executable, "-c", PARENT, kind, *map(str, (files.certificate, files.key, files.pki, tmp_path / "broker"))]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as parent:  # noqa: ASYNC220  # it is killed, not awaited
        assert parent.stdout is not None
        pid = int(await asyncio.to_thread(parent.stdout.readline))
        assert is_alive(pid)
        parent.kill()
    await until(lambda: not is_alive(pid))


async def test_after_a_reload_a_revoked_node_stays_out_and_others_stay_in(
    own_broker: Broker, authority: Authority, revoked: Person
) -> None:
    other = authority.node()
    raw = await Raw.open(authority, own_broker.endpoint, other)
    raw.send(connect_packet(other.name))
    assert (await raw.receive())[0] == 0x20
    await own_broker.reload()
    await until_refused(authority, own_broker.endpoint, revoked)
    raw.send(b"\xc0\x00")
    assert await raw.receive() == b"\xd0\x00"  # PINGRESP: the connection of the other was not touched
    await raw.close()
    await message_passes(authority, own_broker, other)


PARENT = """
import asyncio, sys
from pathlib import Path
from provisioning.broker.embedded.adapter import EmbeddedBroker
from provisioning.broker.mosquitto import MosquittoBroker
from provisioning.broker.promise import BrokerFiles
from tests.servers.process import free_port

async def main(kind, certificate, key, pki, folder):
    files = BrokerFiles(Path(certificate), Path(key), Path(pki))
    broker = EmbeddedBroker(files, Path(folder)) if kind == "embedded" else MosquittoBroker(files, Path(folder), port=free_port())
    await broker.start()
    print(broker.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main(*sys.argv[1:]))
"""


async def message_passes(authority: Authority, broker: Broker, node: Person) -> None:
    topic = up(NodeId(node.name), Up.EVENT)
    async with client(authority, broker.core_endpoint, authority.core) as core, inbox(core) as heard:
        await core.subscribe(ALL_UP, qos=1)
        async with client(authority, broker.endpoint, node) as mqtt:
            await mqtt.publish(topic, b"passes", qos=1)
            await heard.has(topic, b"passes")


@contextlib.asynccontextmanager
async def running(broker: Broker) -> AsyncIterator[None]:
    task = asyncio.create_task(keep_running(broker, first_delay_s=0.05), name="broker")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_restarted(broker: Broker, old: int) -> None:
    assert isinstance(broker, EmbeddedBroker | MosquittoBroker)
    await until(lambda: broker.pid not in (None, old))
    node_port = broker.endpoint.port
    await until(lambda: is_listening(node_port))


async def until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.02)


def pid_of(broker: Broker) -> int:
    assert isinstance(broker, EmbeddedBroker | MosquittoBroker)
    assert broker.pid is not None
    return broker.pid


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not awaited by anybody does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
