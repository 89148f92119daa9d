"""The connection to the broker with mutual TLS, and why there is none when there is none."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from firmware_agent.contract import ids
from firmware_agent.contract.topics import ALL_UP, Down, Up, up
from fleet_server.clock import SystemClock
from fleet_server.errors import Transient
from fleet_server.ingest.metrics import IngestMetrics
from fleet_server.ingest.mqtt import BrokerAddress, BusyClient, Mqtt, Timing
from tests.servers.mosquitto import Mosquitto

NODE = ids.new_node_id()


class Taken:
    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes, bool]] = []

    def take(self, topic: str, payload: bytes, is_retained: bool) -> None:
        self.messages.append((topic, payload, is_retained))


def connection_of(address: BrokerAddress, taken: Taken) -> Mqtt:
    timing = Timing(first_backoff_s=0.05, max_backoff_s=0.2, timeout_s=3)
    return Mqtt(address, taken.take, SystemClock(), IngestMetrics(CollectorRegistry()), timing=timing)


@asynccontextmanager
async def running(connection: Mqtt) -> AsyncIterator[None]:
    task = asyncio.create_task(connection.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_true():  # noqa: ASYNC110  # what is waited for happens in another process
            await asyncio.sleep(0.02)


async def test_messages_come_and_go(authority: Any, tls_mosquitto: Mosquitto) -> None:
    core = authority.issue("svc-core")
    taken = Taken()
    address = BrokerAddress("localhost", tls_mosquitto.port, authority.ca_file, core.certificate, core.key)
    connection = connection_of(address, taken)
    async with running(connection):
        await until(lambda: connection.is_connected)
        assert connection.failure == ""
        # What the server publishes on an "up" topic comes back to it: enough of a node for this test.
        assert connection._client is not None
        await connection._client.publish(up(NODE, Up.STATUS), b"1", qos=1, retain=True)
        await until(lambda: len(taken.messages) == 1)
        await asyncio.gather(*(connection.publish(NODE, Down.ACK, b"{}") for _ in range(200)))
        tls_mosquitto.restart()
        await until(lambda: not connection.is_connected)
        await until(lambda: connection.is_connected)
        with suppress(Transient):
            await connection.publish(NODE, Down.DESIRED, b"{}", retain=True)
    assert taken.messages[0] == (up(NODE, Up.STATUS), b"1", False)
    assert ALL_UP == "ssz/1/+/up/#"


async def test_one_reading_brings_many_messages(authority: Any, tls_mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    core, taken, readings = authority.issue("svc-core"), Taken(), 0
    read = BusyClient._read

    def counted(self: BusyClient, client: Any, sock: Any) -> None:
        nonlocal readings
        readings += 1
        read(self, client, sock)

    monkeypatch.setattr(BusyClient, "_read", counted)
    connection = connection_of(
        BrokerAddress("localhost", tls_mosquitto.port, authority.ca_file, core.certificate, core.key),
        taken,
    )
    async with running(connection):
        await until(lambda: connection.is_connected)
        assert connection._client is not None
        before = readings
        for number in range(500):
            connection._client._client.publish(up(NODE, Up.HEARTBEAT), b"%d" % number, qos=0)
        await until(lambda: len(taken.messages) == 500)
    assert [payload for _, payload, _ in taken.messages] == [b"%d" % number for number in range(500)]
    assert readings - before < 250


# paho leaves the socket of a failed handshake to the garbage collector, which says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
async def test_broker_of_another_authority_is_not_trusted(authority: Any, tls_mosquitto: Mosquitto, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = type(authority)(tmp_path / "other", "other-ca")
    core = authority.issue("svc-core")
    connection = connection_of(BrokerAddress("localhost", tls_mosquitto.port, other.ca_file, core.certificate, core.key), Taken())
    async with running(connection):
        await until(lambda: "certificate verify failed" in connection.failure)
        assert not connection.is_connected
        with pytest.raises(Transient, match="certificate verify failed"):
            await connection.publish(NODE, Down.ACK, b"{}")


async def test_renewed_certificate_is_used_at_the_next_connection(authority: Any, tls_mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Files that are not there yet are waited for, and read anew each time."""
    core = authority.issue("svc-core")
    certificate, key = tmp_path / "now.pem", tmp_path / "now.key"
    connection = connection_of(BrokerAddress("localhost", tls_mosquitto.port, authority.ca_file, certificate, key), Taken())
    async with running(connection):
        await until(lambda: "No such file" in connection.failure)
        shutil.copy(core.key, key)
        shutil.copy(core.certificate, certificate)
        await until(lambda: connection.is_connected)


async def test_paused_connection_leaves_and_comes_back(mosquitto: Mosquitto) -> None:
    connection = connection_of(BrokerAddress("127.0.0.1", mosquitto.port), Taken())
    async with running(connection):
        await until(lambda: connection.is_connected)
        connection.pause()
        await until(lambda: not connection.is_connected)
        assert "paused" in connection.failure
        connection.resume()
        await until(lambda: connection.is_connected)
