"""What the embedded broker does beyond the promise, where Mosquitto 2.0 cannot.

Mosquitto knows a client by its name alone, lets everybody in after a bad list (so lists are checked before they are published), looks
at lists only when somebody connects, and has no option against TLS session resumption (so it is reloaded often).
"""

import asyncio
import contextlib
import socket

import pytest

from firmware_agent.contract.ids import new_node_id
from provisioning.broker.promise import Broker
from provisioning.profile import ProfileName
from tests.ports.broker.conftest import Make, make_embedded
from tests.ports.broker.people import Authority, Person, Raw, connect_packet, is_refused, revocation, until_refused

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
