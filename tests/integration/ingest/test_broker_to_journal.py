"""Real broker, real journal: what nodes publish is stored once each, and acknowledged right."""

import asyncio
import json
import random
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from prometheus_client import CollectorRegistry

from firmware_agent.contract import ids
from firmware_agent.contract.ids import BootId, Channel, NodeId, SessionId, StreamId
from firmware_agent.contract.messages import Ack, Clock, Event, Evidence, Heartbeat, Held, Replay, Status, decode, encode
from firmware_agent.contract.topics import QOS, Down, Up, down_filter, parse, up
from firmware_agent.contract.vocabulary import ClockQuality, EventType, Function, Online, Verdict
from fleet_server.clock import SystemClock
from fleet_server.errors import Transient
from fleet_server.ingest.bad_messages import BadMessages
from fleet_server.ingest.journal import Journal
from fleet_server.ingest.metrics import IngestMetrics
from fleet_server.ingest.model import Lane
from fleet_server.ingest.mqtt import BrokerAddress, Timing
from fleet_server.ingest.service import Ingest
from fleet_server.ingest.writer import WriterLimits
from fleet_server.storage import Database, metadata
from tests.outage import away
from tests.servers.mosquitto import Mosquitto
from tests.servers.postgres import Cluster, find_postgres

SESSION = SessionId("a1b2c3d4e5f60718")
BOOT = BootId("7d9f3c52-1b7e-4f7a-8a55-90e0c6b2f1d4")


class Registry:
    """A registry that knows the nodes it is told."""

    def __init__(self, *nodes: NodeId) -> None:
        self.version = 1
        self.nodes: Mapping[NodeId, object] = dict.fromkeys(nodes, "node")
        self._fresh = self.nodes

    def directory(self) -> "Registry":
        return self

    def refresh(self) -> None:
        self.nodes = self._fresh
        self.version += 1

    def add_later(self, node: NodeId) -> None:
        """Known to the database, not yet to the snapshot."""
        self._fresh = {**self.nodes, node: "node"}

    def position_at(self, node: NodeId, channel: Channel, at_ms: int) -> object | None:
        return "position"


class NodeDouble:
    """A node with paho: publishes what it is told, remembers the acknowledgements."""

    def __init__(self, port: int) -> None:
        self.id = ids.new_node_id()
        self.stream = ids.new_stream()
        self.acks: list[Ack] = []
        self._acked = threading.Condition()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=self.id, clean_session=True)
        self._client.on_message = self._take
        self._client.connect("127.0.0.1", port)
        self._client.subscribe(down_filter(self.id), qos=1)
        self._client.loop_start()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _take(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        assert parse(message.topic).message is Down.ACK
        with self._acked:
            self.acks.append(decode(Ack, bytes(message.payload)))
            self._acked.notify_all()

    async def until(self, is_right: Callable[[Ack], bool]) -> Ack:
        """Wait for an acknowledgement."""

        def wait() -> Ack:
            with self._acked:
                assert self._acked.wait_for(lambda: any(is_right(ack) for ack in self.acks), timeout=10), self.acks
                return next(ack for ack in self.acks if is_right(ack))

        return await asyncio.to_thread(wait)

    def send(self, kind: Up, payload: bytes, *, qos: int | None = None) -> None:
        self._client.publish(up(self.id, kind), payload, qos=QOS[kind] if qos is None else qos, retain=kind is Up.STATUS)

    def send_and_wait(self, kind: Up, payload: bytes) -> None:
        self._client.publish(up(self.id, kind), payload, qos=1).wait_for_publish(20)

    def heartbeat(self, seq: int, floor: int = 1) -> Heartbeat:
        now_ms = SystemClock().now_ms()
        evidence = [Evidence(Channel(f"cam-{n}"), Function.LIVE, Verdict.WORKING, now_ms, 30_000, "", {"fps": 15.0}) for n in range(3)]
        clock = Clock(wall_ms=1_790_000_000_000 + seq, mono_ms=seq, boot=BOOT, quality=ClockQuality.NTP)
        return Heartbeat(v=1, session=SESSION, stream=self.stream, seq=seq, floor=floor, clock=clock, evidence=evidence[: seq % 3])

    def press(self, n: int) -> Event:
        clock = Clock(wall_ms=1_790_000_000_000, mono_ms=5, boot=BOOT, quality=ClockQuality.NTP)
        return Event(1, ids.event_id(self.id, self.stream, n), SESSION, Channel("btn-1"), EventType.PRESS, 1_790_000_000_000, clock)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'fleet.db'}" if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))
    database = Database(url)
    metadata.create_all(database.engine)
    yield database
    database.close()


@pytest.fixture
def node(mosquitto: Mosquitto) -> Iterator[NodeDouble]:
    double = NodeDouble(mosquitto.port)
    yield double
    double.close()


class Bench:
    def __init__(
        self, database: Database, registry: Registry, port: int, *, ack_interval_s: float = 1.0, limits: WriterLimits | None = None
    ) -> None:
        self.metrics = IngestMetrics(CollectorRegistry())
        self.journal = Journal(database)
        self.bad = BadMessages(database, SystemClock(), self.metrics)
        self.ingest = Ingest(
            journal=self.journal,
            registry=registry,
            bad=self.bad,
            broker=BrokerAddress("127.0.0.1", port),
            clock=SystemClock(),
            metrics=self.metrics,
            ack_interval_s=ack_interval_s,
            limits=limits or WriterLimits(max_backoff_s=0.2),
            timing=Timing(first_backoff_s=0.05, max_backoff_s=0.2),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.ingest.run())
        try:
            await self.until(lambda: self.ingest.why_not_ready() == "")
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def until(self, is_true: Callable[[], bool]) -> None:
        async with asyncio.timeout(40):
            while not await asyncio.to_thread(is_true):  # noqa: ASYNC110  # what is waited for happens in other processes
                await asyncio.sleep(0.02)

    def seqs(self, node: NodeDouble) -> list[int]:
        return [row.seq or 0 for row in self.journal.after(0, limit=100_000, topics=[Up.HEARTBEAT]) if row.node == node.id]


async def test_two_thousand_heartbeats_with_duplicates_and_gaps(database: Database, node: NodeDouble, mosquitto: Mosquitto) -> None:
    bench = Bench(database, Registry(node.id), mosquitto.port)
    chance = random.Random(7)
    lost = {seq for seq in range(2, 2000) if chance.random() < 0.01}
    async with bench.running():
        for seq in range(1, 2001):
            if seq in lost:
                continue
            payload = encode(node.heartbeat(seq))
            node.send(Up.HEARTBEAT, payload, qos=1)
            if chance.random() < 0.05:
                node.send(Up.HEARTBEAT, payload, qos=1)
        await bench.until(lambda: len(bench.seqs(node)) >= 2000 - len(lost))
        ack = await node.until(lambda ack: ack.through > 0 and len(ack.gaps) > 0)
        assert ack.stream == node.stream
        remaining = set(lost)
        while remaining:  # as the agent does: replay what is asked for, and no more
            ack = await node.until(lambda ack: any(first in lost for first, _ in ack.gaps))
            node.acks.clear()
            asked = sorted({n for first, last in ack.gaps for n in range(first, last + 1)} & remaining)
            node.send(Up.REPLAY, encode(Replay(1, [node.heartbeat(seq) for seq in asked[:64]])))
            remaining -= set(asked[:64])
        await node.until(lambda ack: ack.through == 2000 and ack.gaps == [])
    assert sorted(bench.seqs(node)) == list(range(1, 2001))
    late = {row.seq for row in bench.journal.after(0, limit=9999) if row.lane is Lane.REPLAY}
    assert late == lost
    (record,) = bench.journal.streams(node.id)
    assert (record.stored, record.evicted, record.through) == (2000, 0, 2000)


async def test_press_is_acknowledged_once_stored(database: Database, node: NodeDouble, mosquitto: Mosquitto) -> None:
    bench = Bench(database, Registry(node.id), mosquitto.port, ack_interval_s=3600)
    async with bench.running():
        press = node.press(1)
        node.send(Up.EVENT, encode(press))
        await node.until(lambda ack: press.event_id in ack.events)
        node.acks.clear()
        node.send(Up.EVENT, encode(press))
        await node.until(lambda ack: press.event_id in ack.events)
    assert len(bench.journal.after(0, limit=10, topics=[Up.EVENT])) == 1


async def test_birth_is_answered_for_each_stream_held(database: Database, node: NodeDouble, mosquitto: Mosquitto) -> None:
    bench = Bench(database, Registry(node.id), mosquitto.port, ack_interval_s=3600)
    older = StreamId("00000000000000aa")
    birth = Status(1, Online.ONLINE, SESSION, held=[Held(older, 5, 9), Held(node.stream, 1, 3)])
    async with bench.running():
        node.send(Up.STATUS, encode(birth))
        assert (await node.until(lambda ack: ack.stream == older)).through == 4
        assert (await node.until(lambda ack: ack.stream == node.stream)).through == 0


async def test_node_that_was_added_just_now_is_heard(database: Database, node: NodeDouble, mosquitto: Mosquitto) -> None:
    registry = Registry()
    bench = Bench(database, registry, mosquitto.port)
    async with bench.running():
        registry.add_later(node.id)
        node.send_and_wait(Up.EVENT, encode(node.press(1)))
        await node.until(lambda ack: len(ack.events) == 1)
    assert bench.bad.all() == []


async def test_bad_messages_do_not_stop_the_stream(database: Database, node: NodeDouble, mosquitto: Mosquitto) -> None:
    bench = Bench(database, Registry(node.id), mosquitto.port)
    other = ids.event_id(ids.new_node_id(), node.stream, 1)
    async with bench.running():
        node.send_and_wait(Up.HEARTBEAT, b"not json")
        node.send_and_wait(Up.HEARTBEAT, b" " * 70_000)
        node.send_and_wait(Up.EVENT, json.dumps(json.loads(encode(node.press(1))) | {"event_id": other}).encode())
        node.send_and_wait(Up.HEARTBEAT, encode(node.heartbeat(1)))
        reused = json.loads(encode(node.heartbeat(1)))
        reused["clock"]["mono_ms"] = 999
        node.send_and_wait(Up.HEARTBEAT, json.dumps(reused).encode())
        node.send_and_wait(Up.HEARTBEAT, encode(node.heartbeat(2)))
        await bench.until(lambda: bench.seqs(node) == [1, 2])
        await bench.until(lambda: len(bench.bad.all()) == 4)
    assert {complaint.reason.value for complaint in bench.bad.all()} == {"malformed", "oversize", "other_node", "seq_reused"}


async def test_broker_killed_and_started_again(database: Database, node: NodeDouble, mosquitto: Mosquitto) -> None:
    bench = Bench(database, Registry(node.id), mosquitto.port)
    async with bench.running():
        mosquitto.kill()
        await bench.until(lambda: not bench.ingest.mqtt.is_connected)
        assert "broker" in bench.ingest.why_not_ready()
        with pytest.raises(Transient):
            await bench.ingest.publish(node.id, Down.COMMAND, b"{}")
        mosquitto.start()
        await bench.until(lambda: bench.ingest.mqtt.is_connected)
        node.send(Up.EVENT, encode(node.press(1)))
        await bench.until(lambda: len(bench.journal.after(0, limit=10, topics=[Up.EVENT])) == 1)


async def test_persistent_session_keeps_events_while_the_server_is_down(database: Database, node: NodeDouble, mosquitto: Mosquitto) -> None:
    registry = Registry(node.id)
    async with Bench(database, registry, mosquitto.port).running():
        pass
    node.send_and_wait(Up.EVENT, encode(node.press(1)))
    bench = Bench(database, registry, mosquitto.port)
    async with bench.running():
        await node.until(lambda ack: len(ack.events) == 1)


async def test_full_queue_stops_reading_and_the_node_keeps_it(tmp_path: Path, node: NodeDouble, mosquitto: Mosquitto) -> None:
    database = Database(f"sqlite:///{tmp_path / 'fleet.db'}")
    metadata.create_all(database.engine)
    limits = WriterLimits(queue_messages=50, batch_messages=10, max_backoff_s=0.1)
    bench = Bench(database, Registry(node.id), mosquitto.port, ack_interval_s=0.2, limits=limits)
    async with bench.running():
        with away(database):
            for seq in range(1, 201):
                node.send(Up.HEARTBEAT, encode(node.heartbeat(seq)), qos=0)
            await bench.until(lambda: bench.ingest.writer.is_full)
            await bench.until(lambda: not bench.ingest.mqtt.is_connected)
            assert node.acks == []
        await bench.until(lambda: bench.ingest.mqtt.is_connected)
        node.send(Up.HEARTBEAT, encode(node.heartbeat(201)), qos=1)
        held = set(range(1, 202))
        while held:
            ack = await node.until(lambda ack: ack.through > 0)
            node.acks.clear()
            missing = {n for first, last in ack.gaps for n in range(first, last + 1)}
            held = {n for n in held if n > ack.through or n in missing}
            for seq in sorted(held)[:64]:
                node.send(Up.REPLAY, encode(Replay(1, [node.heartbeat(seq)])))
    assert sorted(bench.seqs(node)) == list(range(1, 202))


async def test_postgresql_down_and_back(postgres_url: str, node: NodeDouble, mosquitto: Mosquitto) -> None:
    """Nothing is acknowledged while the database is away; afterwards all of it is, without a restart of anything else."""
    del postgres_url  # says that PostgreSQL is here; this test needs one that it may stop
    cluster = Cluster(find_postgres())
    cluster.start()
    try:
        database = Database(cluster.url(cluster.create()))
        metadata.create_all(database.engine)
        bench = Bench(database, Registry(node.id), mosquitto.port, ack_interval_s=0.2)
        async with bench.running():
            node.send(Up.HEARTBEAT, encode(node.heartbeat(1)), qos=1)
            await node.until(lambda ack: ack.through == 1)
            await asyncio.to_thread(cluster._process.stop)
            node.acks.clear()
            for seq in range(2, 102):
                node.send(Up.HEARTBEAT, encode(node.heartbeat(seq)), qos=1)
            node.send(Up.EVENT, encode(node.press(1)))
            await bench.until(lambda: not bench.ingest.writer.is_storing)
            assert "journal" in bench.ingest.why_not_ready()
            assert node.acks == []
            await asyncio.to_thread(cluster._process.start, is_ready=cluster._is_ready)
            await node.until(lambda ack: ack.through == 101)
            await node.until(lambda ack: len(ack.events) == 1)
        assert bench.seqs(node) == list(range(1, 102))
        database.close()
    finally:
        cluster.close()
