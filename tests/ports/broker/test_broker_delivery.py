"""What brokers do with messages and sessions, as far as the wire counts on it."""

import asyncio

import aiomqtt
import pytest

from firmware_agent.contract.ids import NodeId
from firmware_agent.contract.topics import ALL_UP, Down, Up, down, down_filter, up
from provisioning.broker.promise import Broker
from tests.ports.broker.people import Authority, Raw, client, connect_packet, inbox, publish_packet

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_retained_status_is_told_to_who_subscribes_later(broker: Broker, authority: Authority) -> None:
    node = authority.node()
    topic = up(NodeId(node.name), Up.STATUS)
    async with client(authority, broker.endpoint, node) as mqtt:
        await mqtt.publish(topic, b"online", qos=1, retain=True)
        async with client(authority, broker.core_endpoint, authority.core) as core, inbox(core) as heard:
            await core.subscribe(ALL_UP, qos=1)
            await heard.has(topic, b"online")
            assert topic in heard.retained


async def test_a_node_gets_its_retained_configuration(broker: Broker, authority: Authority) -> None:
    node = authority.node()
    topic = down(NodeId(node.name), Down.DESIRED)
    async with client(authority, broker.core_endpoint, authority.core) as core:
        await core.publish(topic, b"desired", qos=1, retain=True)
    async with client(authority, broker.endpoint, node) as mqtt, inbox(mqtt) as heard:
        await mqtt.subscribe(down_filter(NodeId(node.name)), qos=1)
        await heard.has(topic, b"desired")


async def test_the_will_is_told_and_kept_when_a_node_is_lost(broker: Broker, authority: Authority) -> None:
    node = authority.node()
    topic = up(NodeId(node.name), Up.STATUS)
    async with client(authority, broker.core_endpoint, authority.core) as core, inbox(core) as heard:
        await core.subscribe(ALL_UP, qos=1)
        raw = await Raw.open(authority, broker.endpoint, node)
        raw.send(connect_packet(node.name, will=(topic, b"offline"), is_will_retained=True))
        assert (await raw.receive())[0] == 0x20
        await raw.close()
        await heard.has(topic, b"offline")
    async with client(authority, broker.core_endpoint, authority.core) as core, inbox(core) as heard:
        await core.subscribe(ALL_UP, qos=1)
        await heard.has(topic, b"offline")
        assert topic in heard.retained


async def test_no_will_after_a_clean_disconnect(broker: Broker, authority: Authority) -> None:
    node = authority.node()
    me = NodeId(node.name)
    async with client(authority, broker.core_endpoint, authority.core) as core, inbox(core) as heard:
        await core.subscribe(ALL_UP, qos=1)
        will = aiomqtt.Will(up(me, Up.STATUS), b"offline by will", qos=1, retain=True)
        async with client(authority, broker.endpoint, node, will=will) as mqtt:
            await mqtt.publish(up(me, Up.STATUS), b"offline by itself", qos=1, retain=True)
        await heard.has(up(me, Up.STATUS), b"offline by itself")
        async with client(authority, broker.endpoint, node) as mqtt:
            await mqtt.publish(up(me, Up.EVENT), b"later", qos=1)
            await heard.has(up(me, Up.EVENT), b"later")
        assert b"offline by will" not in heard.payloads()


async def test_a_silent_node_is_lost_after_its_keep_alive(broker: Broker, authority: Authority) -> None:
    node = authority.node()
    topic = up(NodeId(node.name), Up.STATUS)
    async with client(authority, broker.core_endpoint, authority.core) as core, inbox(core) as heard:
        await core.subscribe(ALL_UP, qos=1)
        raw = await Raw.open(authority, broker.endpoint, node)
        raw.send(connect_packet(node.name, will=(topic, b"lost"), keep_alive_s=1))
        await heard.has(topic, b"lost")  # though the connection is open
        await raw.close()


async def test_a_newer_connection_of_an_identity_takes_over(broker: Broker, authority: Authority) -> None:
    node = authority.node()
    me = NodeId(node.name)
    for is_clean in (True, False):
        async with client(authority, broker.core_endpoint, authority.core) as core, inbox(core) as heard:
            await core.subscribe(ALL_UP, qos=1)
            first = await Raw.open(authority, broker.endpoint, node)
            first.send(connect_packet(node.name, is_clean=is_clean))
            assert (await first.receive())[0] == 0x20
            async with client(authority, broker.endpoint, node, clean_session=is_clean) as second, inbox(second) as heard_by_node:
                assert await first.is_ended()
                await second.subscribe(down_filter(me), qos=1)
                for i in range(20):
                    payload = f"{is_clean} {i}".encode()
                    await core.publish(down(me, Down.ACK), payload, qos=1)
                    await heard_by_node.has(down(me, Down.ACK), payload)
                    await second.publish(up(me, Up.EVENT), payload, qos=1)
                    await heard.has(up(me, Up.EVENT), payload)
            await first.close()


async def test_many_takeovers_at_once_leave_one_connection(broker: Broker, authority: Authority) -> None:
    node = authority.node()
    raws = await asyncio.gather(*(Raw.open(authority, broker.endpoint, node) for _ in range(8)))
    for raw in raws:
        raw.send(connect_packet(node.name))
    ended = [asyncio.create_task(raw.is_ended()) for raw in raws]
    while sum(task.done() for task in ended) < len(raws) - 1:
        await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED, timeout=20)
    await asyncio.sleep(0.3)
    assert sum(task.done() for task in ended) == len(raws) - 1
    for task in ended:
        task.cancel()
    await asyncio.gather(*ended, return_exceptions=True)
    for raw in raws:
        await raw.close()


async def test_what_is_sent_with_qos_1_waits_for_the_server_while_it_is_away(broker: Broker, authority: Authority) -> None:
    """Mosquitto keeps up to 100,000 messages, the embedded broker 5,000 (heartbeats among them)."""
    node = authority.node()
    topic = up(NodeId(node.name), Up.EVENT)
    async with client(authority, broker.core_endpoint, authority.core, clean_session=False) as core:
        await core.subscribe(ALL_UP, qos=1)
    payloads = [f"away {i}".encode() for i in range(450)]
    async with client(authority, broker.endpoint, node) as mqtt:
        for payload in payloads:
            await mqtt.publish(topic, payload, qos=1)
    async with client(authority, broker.core_endpoint, authority.core, clean_session=False) as core, inbox(core) as heard:
        for payload in payloads:
            await heard.has(topic, payload)
        assert [p for t, p in heard.messages if t == topic] == payloads  # in order, none twice
        assert topic not in heard.retained
    async with client(authority, broker.core_endpoint, authority.core):
        pass  # forget the session


async def test_order_is_kept_and_nothing_is_lost_under_load(broker: Broker, authority: Authority) -> None:
    """Nodes come and go meanwhile: their subscriptions change what the broker is going through."""
    nodes = [authority.node() for _ in range(5)]
    async with client(authority, broker.core_endpoint, authority.core) as core, inbox(core) as heard:
        await core.subscribe(ALL_UP, qos=1)

        async def publish(person: object) -> None:
            node = nodes[nodes.index(person)]  # type: ignore[arg-type]  # it is one of them
            async with client(authority, broker.endpoint, node) as mqtt:
                await mqtt.subscribe(down_filter(NodeId(node.name)), qos=1)
                for i in range(60):
                    await mqtt.publish(up(NodeId(node.name), Up.EVENT), str(i).encode(), qos=1)

        await asyncio.gather(*(publish(node) for node in nodes))
        for node in nodes:
            topic = up(NodeId(node.name), Up.EVENT)
            await heard.has(topic, b"59")
            assert [p for t, p in heard.messages if t == topic] == [str(i).encode() for i in range(60)]


async def test_a_message_right_before_disconnect_is_delivered(broker: Broker, authority: Authority) -> None:
    nodes = [authority.node() for _ in range(10)]
    async with client(authority, broker.core_endpoint, authority.core) as core, inbox(core) as heard:
        await core.subscribe(ALL_UP, qos=1)
        for node in nodes:
            raw = await Raw.open(authority, broker.endpoint, node)
            topic = up(NodeId(node.name), Up.EVENT)
            raw.send(
                connect_packet(node.name)
                + publish_packet(topic, b"1", packet_id=1)
                + publish_packet(topic, b"2", packet_id=2)
                + b"\xe0\x00"
            )
            assert await raw.is_ended()
            await heard.has(topic, b"1")
            await heard.has(topic, b"2")
            await raw.close()
