"""The hot path judges every message and never raises."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from firmware_agent.contract.ids import Channel, NodeId
from firmware_agent.contract.topics import Down, Up, down, up
from fleet_server.ingest.bad_messages import BadMessages, Complaint
from fleet_server.ingest.metrics import IngestMetrics
from fleet_server.ingest.model import Lane
from fleet_server.ingest.receiver import Received, Receiver
from fleet_server.storage import Database, StorageUnavailable
from tests.outage import away

GOLDEN = Path(__file__).parents[3] / "contract" / "golden"
NODE = NodeId("0b5e9a34-5c1d-4f0e-9c67-3c2f5d1a7e10")
STRANGER = NodeId("99999999-5c1d-4f0e-9c67-3c2f5d1a7e10")
WALL_MS = 1_795_485_600_250


class HeldClock:
    def now_ms(self) -> int:
        return WALL_MS + 40

    def mono_s(self) -> float:
        return 0.0


class Snapshot:
    def __init__(self, *nodes: NodeId, version: int = 1, channels: frozenset[str] | None = None) -> None:
        self.version = version
        self.nodes: Mapping[NodeId, object] = dict.fromkeys(nodes, "node")
        self._channels = channels

    def position_at(self, node: NodeId, channel: Channel, at_ms: int) -> object | None:
        assert at_ms > 0
        return "position" if self._channels is None or channel in self._channels else None


class Bench:
    def __init__(self, path: Path) -> None:
        self.database = Database(f"sqlite:///{path}")
        self.database.create_all()
        self.bad = BadMessages(self.database, HeldClock(), IngestMetrics(CollectorRegistry()))
        self.metrics = IngestMetrics(CollectorRegistry())
        self.receiver = Receiver(Snapshot(NODE), HeldClock(), self.bad, self.metrics)

    def receive(self, kind: Up, payload: bytes, *, node: NodeId = NODE, **how: bool) -> Received | None:
        return self.receiver.receive(up(node, kind), payload, **how)

    def complaints(self) -> dict[str, Complaint]:
        self.bad.flush()
        return {complaint.reason.value: complaint for complaint in self.bad.all()}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "fleet.db")


def golden(name: str, **changes: Any) -> bytes:
    return json.dumps(json.loads((GOLDEN / f"{name}.json").read_text()) | changes).encode()


def golden_clock(**changes: Any) -> dict[str, Any]:
    clock: dict[str, Any] = json.loads(golden("heartbeat"))["clock"]
    return clock | changes


def test_heartbeat_becomes_one_entry(bench: Bench) -> None:
    received = bench.receive(Up.HEARTBEAT, golden("heartbeat"))
    assert received is not None
    (entry,) = received.entries
    assert (entry.lane, entry.topic, entry.seq, entry.floor) == (Lane.LIVE, Up.HEARTBEAT, 412, 409)
    assert (entry.at_ms, entry.mono_ms, entry.received_at_ms) == (WALL_MS, 86_412_250, WALL_MS + 40)
    assert entry.payload == golden("heartbeat")
    assert bench.complaints() == {}


def test_replay_becomes_one_entry_for_each_heartbeat_literally(bench: Bench) -> None:
    payload = (GOLDEN / "replay.json").read_bytes()
    received = bench.receive(Up.REPLAY, payload)
    assert received is not None
    assert [(e.lane, e.topic, e.seq) for e in received.entries] == [(Lane.REPLAY, Up.HEARTBEAT, 388), (Lane.REPLAY, Up.HEARTBEAT, 389)]
    assert all(entry.payload in payload for entry in received.entries)


def test_bad_heartbeat_in_a_replay_does_not_keep_the_others_out(bench: Bench) -> None:
    replay = json.loads(golden("replay"))
    replay["heartbeats"].insert(1, {"v": 1, "seq": "no"})
    received = bench.receive(Up.REPLAY, json.dumps(replay).encode())
    assert received is not None
    assert [entry.seq for entry in received.entries] == [388, 389]
    assert bench.complaints()["malformed"].count == 1


def test_event_is_acknowledged_by_its_id(bench: Bench) -> None:
    received = bench.receive(Up.EVENT, golden("event-press"))
    assert received is not None
    assert received.events == (f"{NODE}:6f1c2a9b0d3e4f58:17",)
    assert received.entries[0].seq == 17


def test_birth_says_what_is_held(bench: Bench) -> None:
    received = bench.receive(Up.STATUS, golden("status-birth"))
    assert received is not None
    assert received.held == (("6f1c2a9b0d3e4f58", 409),)
    will = bench.receive(Up.STATUS, golden("status-will"))
    assert will is not None
    assert (will.held, will.entries[0].at_ms) == ((), None)


@pytest.mark.parametrize(("kind", "name"), [(Up.REPORTED, "reported"), (Up.RESULT, "result")])
def test_reports_are_stored(bench: Bench, kind: Up, name: str) -> None:
    received = bench.receive(kind, golden(name))
    assert received is not None
    assert received.entries[0].topic is kind


def test_retained_message_tells_what_was(bench: Bench) -> None:
    received = bench.receive(Up.STATUS, golden("status-birth"), is_retained=True)
    assert received is not None
    assert received.entries[0].lane is Lane.REPLAY


@pytest.mark.parametrize(
    ("kind", "payload", "reason"),
    [
        (Up.HEARTBEAT, b"\xff{", "malformed"),
        (Up.HEARTBEAT, b" " * 70_000, "oversize"),
        (Up.REPLAY, b" " * 70_000, "oversize"),
        (Up.REPLAY, b'{"v":1,"heartbeats":[]}', "malformed"),
        (Up.REPLAY, b'{"v":1,"heartbeats":[1,{}]}', "malformed"),
        (Up.REPLAY, b'{"v":2,"heartbeats":[{}]}', "malformed"),
        (Up.EVENT, golden("event-press", event_id=f"{STRANGER}:6f1c2a9b0d3e4f58:17"), "other_node"),
        (Up.STATUS, b"{}", "malformed"),
        (Up.STATUS, golden("status-birth", agent="1.0\0"), "malformed"),
        (Up.STATUS, b'{"later":' + b"[" * 30_000, "malformed"),
        (Up.REPLAY, b'{"later":' + b"[" * 30_000, "malformed"),
    ],
)
def test_bad_message_is_refused_counted_and_sampled(bench: Bench, kind: Up, payload: bytes, reason: str) -> None:
    assert bench.receive(kind, payload) is None
    complaint = bench.complaints()[reason]
    assert complaint.node == NODE
    assert complaint.count >= 1
    assert complaint.sample
    assert len(complaint.sample) <= 2048


@pytest.mark.parametrize(
    "topic", ["", "ssz/1", f"ssz/1/{NODE}/up/other", down(NODE, Down.ACK), f"ssz/2/{NODE}/up/event", "ssz/1/x/up/event"]
)
def test_message_on_no_topic_of_ours_is_counted(bench: Bench, topic: str) -> None:
    assert bench.receiver.receive(topic, b"{}") is None
    assert bench.complaints()["bad_topic"].node == ""


def test_unknown_node_is_looked_at_once_more(bench: Bench) -> None:
    assert bench.receive(Up.EVENT, golden("event-press"), node=STRANGER) is None
    assert len(bench.receiver.strangers) == 1
    assert bench.complaints() == {}
    assert bench.receive(Up.EVENT, golden("event-press"), node=STRANGER, is_second_look=True) is None
    assert bench.complaints()["unknown_node"].node == STRANGER


def test_node_that_was_added_is_believed(bench: Bench) -> None:
    bench.receiver.learn(Snapshot(NODE, STRANGER, version=2))
    assert bench.receive(Up.HEARTBEAT, golden("heartbeat"), node=STRANGER) is not None


def test_unknown_channel_is_told_and_the_rest_is_used(bench: Bench) -> None:
    bench.receiver.learn(Snapshot(NODE, version=2, channels=frozenset({"cam-1", "cam-2", "lamp-1", "air-1"})))
    assert bench.receive(Up.HEARTBEAT, golden("heartbeat")) is not None
    assert bench.receive(Up.HEARTBEAT, golden("heartbeat")) is not None
    complaint = bench.complaints()["unknown_channel"]
    assert (complaint.count, complaint.detail) == (2, "nothing is installed on 'btn-1'")
    bench.receiver.learn(Snapshot(NODE, version=3))
    bench.receive(Up.HEARTBEAT, golden("heartbeat"))
    assert bench.complaints()["unknown_channel"].count == 2


def test_message_from_the_future_is_stored_without_a_date(bench: Bench) -> None:
    received = bench.receive(Up.HEARTBEAT, golden("heartbeat", clock=golden_clock(wall_ms=4_070_908_800_000)))
    assert received is not None
    assert received.entries[0].at_ms is None
    assert bench.complaints()["from_the_future"].count == 1


def test_node_without_a_clock_is_no_complaint(bench: Bench) -> None:
    received = bench.receive(Up.HEARTBEAT, golden("heartbeat", clock=golden_clock(wall_ms=1000, quality="none")))
    assert received is not None
    assert received.entries[0].at_ms is None
    assert bench.complaints() == {}


def test_counts_wait_while_the_database_is_away(bench: Bench) -> None:
    bench.receive(Up.STATUS, b"x")
    with away(bench.database), pytest.raises(StorageUnavailable):
        bench.bad.flush()
    bench.receive(Up.STATUS, b"y")
    complaint = bench.complaints()["malformed"]
    assert (complaint.count, complaint.sample) == (2, b"y")


def test_detail_is_fit_for_every_database(bench: Bench) -> None:
    bench.receiver.receive("ssz/\0/\ud800", b"")
    assert bench.complaints()["bad_topic"].topic == "ssz/\\0/\\ud800"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    kind=st.sampled_from(list(Up)),
    payload=st.one_of(
        st.binary(max_size=200),
        _json.map(lambda value: json.dumps(value).encode()),
        st.tuples(
            st.sampled_from(["heartbeat", "replay", "event-press", "status-birth", "reported", "result"]), st.text(max_size=9), _json
        ).map(lambda change: golden(change[0], **{change[1]: change[2]})),
        st.tuples(st.sampled_from(["heartbeat", "replay", "event-press"]), st.integers(0, 2000)).map(lambda cut: golden(cut[0])[: cut[1]]),
    ),
)
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_garbage_never_raises(bench: Bench, kind: Up, payload: bytes) -> None:
    bench.receive(kind, payload)
    assert "internal" not in bench.complaints()


@given(topic=st.text(max_size=80))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_topic_raises(bench: Bench, topic: str) -> None:
    assert bench.receiver.receive(topic, b"{}") is None
