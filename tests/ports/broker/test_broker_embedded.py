"""What the embedded broker does beyond the promise, where Mosquitto 2.0 cannot.

Mosquitto knows a client by its name alone, lets everybody in after a bad list (so lists are checked before they are published), looks
at lists only when somebody connects, and has no option against TLS session resumption (so it is reloaded often).
"""

import asyncio
import contextlib
import resource
import socket
from pathlib import Path

import pytest

from firmware_agent.contract.ids import NodeId, new_node_id
from firmware_agent.contract.topics import Up, up
from provisioning.broker.embedded.adapter import EmbeddedBroker
from provisioning.broker.promise import Broker
from provisioning.profile import ProfileName
from tests.ports.broker.conftest import Make, make_embedded
from tests.ports.broker.people import (
    Authority,
    Person,
    Raw,
    connect_packet,
    is_refused,
    publish_packet,
    revocation,
    subscribe_packet,
    until_refused,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def make() -> Make:
    return make_embedded


async def test_a_name_signed_by_the_wrong_ca_is_not_even_let_in(own_broker: Broker, authority: Authority) -> None:
    for person in (authority.named("svc-core", ProfileName.DEVICE_CA), authority.named(str(new_node_id()), ProfileName.SERVICE_CA)):
        assert await is_refused(authority, own_broker.endpoint, person, connect_packet(person.name))


async def test_the_embedded_broker_cuts_a_revoked_connection_at_reload(own_broker: Broker, authority: Authority) -> None:
    node = authority.node()
    raw = await Raw.open(authority, own_broker.endpoint, node)
    raw.send(connect_packet(node.name))
    assert (await raw.receive())[0] == 0x20
    with revocation(authority, node):
        await own_broker.reload()
        assert await raw.is_ended()
        assert await is_refused(authority, own_broker.endpoint, node, connect_packet(node.name))
    await raw.close()


@pytest.mark.parametrize("bad", [b"", b"garbage", None])
async def test_the_embedded_broker_keeps_the_last_good_list(
    own_broker: Broker, authority: Authority, revoked: Person, bad: bytes | None
) -> None:
    await own_broker.reload()
    await until_refused(authority, own_broker.endpoint, revoked)
    path = authority.files.all_crls
    good = path.read_bytes()
    try:
        path.unlink() if bad is None else path.write_bytes(bad)
        await own_broker.reload()
        await asyncio.sleep(0.5)
        assert await is_refused(authority, own_broker.endpoint, revoked, connect_packet(revoked.name))
        node = authority.node()
        assert not await is_refused(authority, own_broker.endpoint, node, connect_packet(node.name))
    finally:
        path.write_bytes(good)


async def test_a_tls_session_cannot_be_resumed_with_the_embedded_broker(own_broker: Broker, authority: Authority) -> None:
    """Resumption would skip dates and lists."""
    context = authority.tls(authority.node())
    with socket.create_connection(own_broker.endpoint) as plain, context.wrap_socket(plain, server_hostname="localhost") as first:
        first.settimeout(1.0)
        with contextlib.suppress(TimeoutError):
            first.recv(1)
        session = first.session
    assert session is None or not session.has_ticket


async def test_a_flood_is_held_back_while_the_server_does_not_read(own_broker: Broker, authority: Authority) -> None:
    """Without bounds amqtt took 500 MB in six seconds."""
    assert isinstance(own_broker, EmbeddedBroker)
    assert own_broker.pid is not None
    pid = own_broker.pid
    core, node = await Raw.open(authority, own_broker.core_endpoint, authority.core), authority.node()
    core.send(connect_packet("svc-core", is_clean=False) + subscribe_packet("ssz/1/#"))
    await core.receive()
    core.pause()
    raw = await Raw.open(authority, own_broker.endpoint, node)
    raw.send(connect_packet(node.name))
    assert (await raw.receive())[0] == 0x20
    before = resident_bytes(pid)
    flood = asyncio.create_task(send_for_ever(raw, publish_packet(up(NodeId(node.name), Up.EVENT), b"x" * 60_000, packet_id=1)))
    await asyncio.sleep(4)
    assert resident_bytes(pid) - before < 150_000_000
    other = authority.node()
    assert not await is_refused(authority, own_broker.endpoint, other, connect_packet(other.name))
    flood.cancel()
    await asyncio.gather(flood, return_exceptions=True)
    await raw.close()
    await core.close()


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


async def send_for_ever(raw: Raw, data: bytes) -> None:
    while True:
        await raw.send_all(data)
