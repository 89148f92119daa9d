"""What Mosquitto does beyond the promise; the embedded broker keeps nothing over a restart, and nodes send again."""

from pathlib import Path

import pytest

from firmware_agent.contract.ids import NodeId
from firmware_agent.contract.topics import ALL_UP, Up, up
from provisioning.broker.promise import Broker
from tests.ports.broker.conftest import Make, make_mosquitto
from tests.ports.broker.people import Authority, client, inbox

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def make(mosquitto_program: Path) -> Make:
    return make_mosquitto


async def test_mosquitto_keeps_the_session_of_the_server_over_a_restart(own_broker: Broker, authority: Authority) -> None:
    node = authority.node()
    async with client(authority, own_broker.core_endpoint, authority.core, clean_session=False) as core:
        await core.subscribe(ALL_UP, qos=1)
    async with client(authority, own_broker.endpoint, node) as mqtt:
        await mqtt.publish(up(NodeId(node.name), Up.EVENT), b"before", qos=1)
    await own_broker.stop()
    await own_broker.start()
    async with client(authority, own_broker.endpoint, node) as mqtt:
        await mqtt.publish(up(NodeId(node.name), Up.EVENT), b"after", qos=1)
    async with client(authority, own_broker.core_endpoint, authority.core, clean_session=False) as core, inbox(core) as heard:
        await heard.has(up(NodeId(node.name), Up.EVENT), b"before")
        await heard.has(up(NodeId(node.name), Up.EVENT), b"after")
