"""The wall between nodes, attacked. What counts is what is delivered: a SUBACK or PUBACK proves nothing."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiomqtt
import pytest

from firmware_agent.contract.ids import NodeId, new_node_id
from firmware_agent.contract.topics import ALL_UP, Down, Up, down, down_filter, up
from provisioning.broker.promise import MAX_PACKET_BYTES, Broker, Endpoint
from provisioning.profile import ProfileName
from tests.ports.broker.people import (
    SILENCE_S,
    Authority,
    Person,
    Raw,
    client,
    connect_packet,
    inbox,
    is_refused,
    packet,
    publish_packet,
    subscribe_packet,
    text,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_node_speaks_and_hears_on_its_own_topics(broker: Broker, authority: Authority) -> None:
    node = authority.node()
    me = NodeId(node.name)
    async with client(authority, broker.core_endpoint, authority.core) as core, client(authority, broker.endpoint, node) as mqtt:
        await core.subscribe(ALL_UP, qos=1)
        await mqtt.subscribe(down_filter(me), qos=1)
        async with inbox(core) as heard_by_core, inbox(mqtt) as heard_by_node:
            await mqtt.publish(up(me, Up.EVENT), b"press", qos=1)
            await mqtt.publish(up(me, Up.HEARTBEAT), b"beat", qos=0)
            await core.publish(down(me, Down.ACK), b"stored", qos=1)
            await heard_by_core.has(up(me, Up.EVENT), b"press")
            await heard_by_core.has(up(me, Up.HEARTBEAT), b"beat")
            await heard_by_node.has(down(me, Down.ACK), b"stored")


@pytest.mark.parametrize(
    "foreign", ["ssz/1/{victim}/up/event", "ssz/1/{victim}/down/command", "ssz/1/{me}/down/command", "other/topic", "$SYS/broker/load"]
)
async def test_nothing_that_a_node_publishes_elsewhere_is_delivered(broker: Broker, authority: Authority, foreign: str) -> None:
    attacker, victim = authority.node(), authority.node()
    topic = foreign.format(me=attacker.name, victim=victim.name)
    async with client(authority, broker.core_endpoint, authority.core) as core, client(authority, broker.endpoint, victim) as other:
        await core.subscribe("ssz/1/#", qos=1)
        await other.subscribe(down_filter(NodeId(victim.name)), qos=1)
        async with inbox(core) as heard, inbox(other) as heard_by_victim:
            for qos in (0, 1):
                raw = await connected(authority, broker, attacker)
                raw.send(publish_packet(topic, b"forged", packet_id=qos))
                raw.send(publish_packet(up(NodeId(attacker.name), Up.HEARTBEAT), b"after", packet_id=2))
                await asyncio.sleep(SILENCE_S / 2)
                await raw.close()
            await core.publish(down(NodeId(victim.name), Down.ACK), b"end", qos=1)
            await heard_by_victim.has(down(NodeId(victim.name), Down.ACK), b"end")
            await asyncio.sleep(SILENCE_S)
            assert b"forged" not in heard.payloads() + heard_by_victim.payloads()


@pytest.mark.parametrize(
    "topic_filter", ["#", "+/+/+/+/+", "ssz/1/+/down/#", "ssz/1/{victim}/#", "ssz/1/{victim}/down/+", "ssz/1/+/up/#", "$SYS/#"]
)
async def test_a_node_hears_nothing_of_another_whatever_it_subscribes_to(broker: Broker, authority: Authority, topic_filter: str) -> None:
    attacker, victim = authority.node(), authority.node()
    async with client(authority, broker.core_endpoint, authority.core) as core, client(authority, broker.endpoint, victim) as other:
        await core.publish(down(NodeId(victim.name), Down.DESIRED), b"retained secret", qos=1, retain=True)
        raw = await connected(authority, broker, attacker)
        raw.send(subscribe_packet(topic_filter.format(victim=victim.name)))
        await asyncio.sleep(SILENCE_S / 2)
        await core.publish(down(NodeId(victim.name), Down.COMMAND), b"live secret", qos=1)
        await other.publish(up(NodeId(victim.name), Up.EVENT), b"secret press", qos=1)
        await asyncio.sleep(SILENCE_S)
        assert b"secret" not in await all_received(raw)


async def test_a_node_that_only_connects_hears_nothing_that_is_retained_for_others(broker: Broker, authority: Authority) -> None:
    victim = authority.node()
    async with client(authority, broker.core_endpoint, authority.core) as core:
        await core.subscribe(ALL_UP, qos=1)
        await core.publish(down(NodeId(victim.name), Down.DESIRED), b"retained secret", qos=1, retain=True)
        async with client(authority, broker.endpoint, victim) as other:
            await other.subscribe(down_filter(NodeId(victim.name)), qos=1)
            await other.publish(up(NodeId(victim.name), Up.STATUS), b"secret status", qos=1, retain=True)
            raw = await connected(authority, broker, authority.node())
            await asyncio.sleep(SILENCE_S)
            assert b"secret" not in await all_received(raw)


@pytest.mark.parametrize("level", ["anything", "status/1", ""])
async def test_a_node_cannot_have_the_broker_keep_what_it_likes(broker: Broker, authority: Authority, level: str) -> None:
    node = authority.node()
    raw = await connected(authority, broker, node)
    raw.send(publish_packet(f"ssz/1/{node.name}/up/{level}", b"kept for ever", packet_id=7, is_retained=True))
    await all_received(raw)
    async with client(authority, broker.endpoint, node) as mqtt:
        await mqtt.publish(up(NodeId(node.name), Up.STATUS), b"online", qos=1, retain=True)
    async with client(authority, broker.core_endpoint, authority.core) as core, inbox(core) as heard:
        await core.subscribe(f"ssz/1/{node.name}/#", qos=1)
        await heard.has(up(NodeId(node.name), Up.STATUS), b"online")
        await asyncio.sleep(SILENCE_S)
        assert b"kept for ever" not in heard.payloads()


async def test_without_a_client_certificate_nobody_gets_in(broker: Broker, authority: Authority) -> None:
    assert await is_refused(authority, broker.endpoint, None, connect_packet(str(new_node_id())))
    assert await is_refused(authority, broker.core_endpoint, None, connect_packet("svc-core", username="svc-core"))


@pytest.mark.parametrize("is_clean", [True, False])
async def test_another_certificate_never_speaks_as_its_client_id(broker: Broker, authority: Authority, is_clean: bool) -> None:
    attacker, victim = authority.node(), authority.node()
    mine, theirs = up(NodeId(attacker.name), Up.EVENT), up(NodeId(victim.name), Up.EVENT)
    async with (
        client(authority, broker.core_endpoint, authority.core) as core,
        client(authority, broker.endpoint, victim, clean_session=is_clean) as other,
    ):
        await core.subscribe(ALL_UP, qos=1)
        await other.subscribe(down_filter(NodeId(victim.name)), qos=1)
        async with inbox(core) as heard, inbox(other) as heard_by_victim:
            raw = await Raw.open(authority, broker.endpoint, attacker)
            raw.send(connect_packet(victim.name, username=victim.name, is_clean=is_clean))
            raw.send(publish_packet(theirs, b"forged", packet_id=1))
            await asyncio.sleep(SILENCE_S)
            await core.publish(down(NodeId(victim.name), Down.COMMAND), b"secret", qos=1)
            await heard_by_victim.has(down(NodeId(victim.name), Down.COMMAND), b"secret")  # the victim was not thrown out either
            await other.publish(theirs, b"genuine", qos=1)
            await heard.has(theirs, b"genuine")
            assert (theirs, b"forged") not in heard.messages
            assert b"secret" not in await all_received(raw)
    assert mine != theirs


@pytest.mark.parametrize("username", ["svc-core", "{victim}", "#", "+"])
async def test_a_user_name_gives_no_rights(broker: Broker, authority: Authority, username: str) -> None:
    attacker, victim = authority.node(), authority.node()
    async with client(authority, broker.core_endpoint, authority.core) as core:
        await core.subscribe("ssz/1/#", qos=1)
        async with inbox(core) as heard:
            raw = await Raw.open(authority, broker.endpoint, attacker)
            raw.send(connect_packet(attacker.name, username=username.format(victim=victim.name)))
            raw.send(publish_packet(up(NodeId(victim.name), Up.EVENT), b"forged", packet_id=1))
            await asyncio.sleep(SILENCE_S)
            await raw.close()
            assert b"forged" not in heard.payloads()


@pytest.mark.parametrize("foreign", ["ssz/1/{victim}/up/status", "ssz/1/{victim}/down/command", "other/topic"])
async def test_a_will_on_a_foreign_topic_is_never_delivered(broker: Broker, authority: Authority, foreign: str) -> None:
    attacker, victim = authority.node(), authority.node()
    topic = foreign.format(victim=victim.name)
    async with client(authority, broker.core_endpoint, authority.core) as core, client(authority, broker.endpoint, victim) as other:
        await core.subscribe("ssz/1/#", qos=1)
        await other.subscribe(down_filter(NodeId(victim.name)), qos=1)
        async with inbox(core) as heard, inbox(other) as heard_by_victim:
            raw = await Raw.open(authority, broker.endpoint, attacker)
            raw.send(connect_packet(attacker.name, will=(topic, b"forged will")))
            await asyncio.sleep(SILENCE_S / 2)
            await raw.close()
            await asyncio.sleep(SILENCE_S)
            assert b"forged will" not in heard.payloads() + heard_by_victim.payloads()


async def test_an_expired_certificate_is_refused(broker: Broker, authority: Authority) -> None:
    expired = authority.node(issued_at=datetime.now(UTC) - timedelta(days=91))
    assert await is_refused(authority, broker.endpoint, expired, connect_packet(expired.name))


async def test_a_certificate_of_a_foreign_ca_is_refused(broker: Broker, authority: Authority, tmp_path: Path) -> None:
    node = new_node_id()
    foreign = Authority(tmp_path / "foreign").node(node)
    assert await is_refused(authority, broker.endpoint, foreign, connect_packet(node))
    assert not await is_refused(authority, broker.endpoint, authority.node(node), connect_packet(node))


async def test_a_server_certificate_is_no_client(broker: Broker, authority: Authority) -> None:
    for endpoint in (broker.endpoint, broker.core_endpoint):
        assert await is_refused(authority, endpoint, authority.server_as_client, connect_packet("127.0.0.1"))


@pytest.mark.parametrize(
    ("common_name", "ca"),
    [
        ("svc-core", ProfileName.DEVICE_CA),
        ("svc-core", ProfileName.SERVER_CA),
        ("{node}", ProfileName.SERVICE_CA),
        ("{node}", ProfileName.SERVER_CA),
    ],
)
async def test_a_name_signed_by_the_wrong_ca_has_no_rights(broker: Broker, authority: Authority, common_name: str, ca: ProfileName) -> None:
    """Mosquitto lets `svc-core` of the device CA in on the nodes' listener, without rights; it may take over the session of that name."""
    victim = authority.node()
    person = authority.named(common_name.format(node=victim.name), ca)
    event, command = up(NodeId(victim.name), Up.EVENT), down(NodeId(victim.name), Down.COMMAND)
    for endpoint in {broker.endpoint, broker.core_endpoint}:
        raw = await try_to_open(authority, endpoint, person)
        if raw is not None:
            raw.send(connect_packet(person.name) + subscribe_packet("ssz/1/#"))
            raw.send(publish_packet(event, b"forged", packet_id=7, is_retained=True))
            await asyncio.sleep(SILENCE_S / 2)
        async with client(authority, broker.core_endpoint, authority.core) as core, inbox(core) as heard:
            await core.subscribe("ssz/1/#", qos=1)
            await core.publish(command, b"secret", qos=1)
            await heard.has(command, b"secret")
            assert b"forged" not in heard.payloads()
        if raw is not None:
            assert b"secret" not in await all_received(raw)


@pytest.mark.parametrize("common_name", ["#", "+", "svc-", "a/b", "SVC-CORE", "{NODE}", "svc-core "])
async def test_names_that_are_neither_node_nor_service_have_no_rights(broker: Broker, authority: Authority, common_name: str) -> None:
    victim = authority.node()
    person = authority.named(common_name.format(NODE=victim.name.upper()), ProfileName.DEVICE_CA)
    async with client(authority, broker.core_endpoint, authority.core) as core:
        await core.subscribe("ssz/1/#", qos=1)
        async with inbox(core) as heard:
            raw = await Raw.open(authority, broker.endpoint, person)
            raw.send(connect_packet("x") + publish_packet(up(NodeId(victim.name), Up.EVENT), b"forged", packet_id=1))
            await asyncio.sleep(SILENCE_S)
            await raw.close()
            assert b"forged" not in heard.payloads()


async def test_another_service_has_no_rights(broker: Broker, authority: Authority) -> None:
    victim = authority.node()
    async with client(authority, broker.core_endpoint, authority.core) as core:
        await core.subscribe("ssz/1/#", qos=1)
        async with inbox(core) as heard:
            raw = await Raw.open(authority, broker.core_endpoint, authority.other_service)
            raw.send(connect_packet("svc-core", username="svc-core") + subscribe_packet("ssz/1/#"))
            raw.send(publish_packet(down(NodeId(victim.name), Down.COMMAND), b"forged", packet_id=1))
            await asyncio.sleep(SILENCE_S)
            assert b"forged" not in heard.payloads()
            assert b"forged" not in await all_received(raw)


async def test_a_packet_that_is_too_large_ends_the_connection_and_nothing_else(broker: Broker, authority: Authority) -> None:
    node, neighbour = authority.node(), authority.node()
    topic = up(NodeId(node.name), Up.EVENT)
    async with client(authority, broker.core_endpoint, authority.core) as core, client(authority, broker.endpoint, neighbour) as other:
        await core.subscribe(ALL_UP, qos=1)
        async with inbox(core) as heard:
            raw = await connected(authority, broker, node)
            raw.send(publish_packet(topic, b"x" * MAX_PACKET_BYTES, packet_id=1))
            assert await raw.is_ended()
            await other.publish(up(NodeId(neighbour.name), Up.EVENT), b"y" * 65_536, qos=1)
            await heard.has(up(NodeId(neighbour.name), Up.EVENT), b"y" * 65_536)
            assert topic not in dict(heard.messages)


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x00" * 64,
        b"\xff" * 64,
        b"\x10\xff\xff\xff\xff\x7f",
        b"\x10\xff\xff\xff\x7f",  # a CONNECT of 256 MiB
        publish_packet("ssz/1/x/up/event", b"before CONNECT"),
        packet(0x10, text("MQTT") + b"\x04\x03\0\x1e" + text("x")),  # the reserved flag
        packet(0x10, text("MQTT") + b"\x04\x02\0\x1e\xff\xff"),  # a field longer than the packet
        packet(0x10, text("HTTP") + b"\x04\x02\0\x1e" + text("x")),
    ],
)
async def test_garbage_before_connect_ends_the_connection(broker: Broker, authority: Authority, garbage: bytes) -> None:
    node = authority.node()
    raw = await Raw.open(authority, broker.endpoint, node)
    raw.send(garbage)
    assert await raw.is_ended()
    assert not await is_refused(authority, broker.endpoint, node, connect_packet(node.name))


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xf0\x00",
        b"\x00\x00",
        packet(0x82, b"\0\1"),
        packet(0x80, b"\0\1" + text("x") + b"\1"),
        packet(0x30, b"\xff\xff"),
        packet(0x32, text("ssz/1/x") + b"\0\0"),
        connect_packet("again"),
        packet(0x36, text("x") + b"\0\1"),
    ],
)
async def test_garbage_after_connect_ends_the_connection_of_its_sender_only(broker: Broker, authority: Authority, garbage: bytes) -> None:
    node, neighbour = authority.node(), authority.node()
    async with client(authority, broker.core_endpoint, authority.core) as core, client(authority, broker.endpoint, neighbour) as other:
        await core.subscribe(ALL_UP, qos=1)
        async with inbox(core) as heard:
            raw = await connected(authority, broker, node)
            raw.send(garbage)
            assert await raw.is_ended()
            await other.publish(up(NodeId(neighbour.name), Up.EVENT), b"still here", qos=1)
            await heard.has(up(NodeId(neighbour.name), Up.EVENT), b"still here")


async def test_slow_clients_do_not_keep_others_out(broker: Broker, authority: Authority) -> None:
    slow = [await Raw.open(authority, broker.endpoint, authority.node()) for _ in range(20)]
    for raw in slow:
        raw.send(b"\x10")
    plain = [await asyncio.open_connection(broker.endpoint.host, broker.endpoint.port) for _ in range(20)]
    node = authority.node()
    assert not await is_refused(authority, broker.endpoint, node, connect_packet(node.name))
    for raw in slow:
        await raw.close()
    for _, writer in plain:
        writer.close()


async def test_plain_mqtt_is_not_spoken(broker: Broker, authority: Authority) -> None:
    with pytest.raises(aiomqtt.MqttError):
        async with aiomqtt.Client(broker.endpoint.host, broker.endpoint.port, identifier="svc-core", timeout=1):
            pass


async def try_to_open(authority: Authority, endpoint: Endpoint, person: Person) -> Raw | None:
    try:
        return await Raw.open(authority, endpoint, person)
    except OSError:
        return None


async def connected(authority: Authority, broker: Broker, person: Person) -> Raw:
    raw = await Raw.open(authority, broker.endpoint, person)
    raw.send(connect_packet(person.name))
    assert await raw.receive() == b"\x20\x02\x00\x00"
    return raw


async def all_received(raw: Raw) -> bytes:
    """Return what has arrived until now, and close."""
    found = b""
    try:
        async with asyncio.timeout(SILENCE_S):
            while data := await raw.receive():
                found += data
    except TimeoutError:
        pass
    await raw.close()
    return found
