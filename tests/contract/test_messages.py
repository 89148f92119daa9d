"""Decoding believes nothing that the contract does not allow."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_agent.contract import ids, topics
from firmware_agent.contract import messages as m

GOLDEN = Path(__file__).parent / "golden"


def changed(name: str, **fields: Any) -> bytes:
    return json.dumps(json.loads((GOLDEN / f"{name}.json").read_text()) | fields).encode()


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (b"", "JSON|truncated"),
        (b"\xff\xfe", "malformed|utf|invalid"),
        (b"[]", "Expected `object`"),
        (b"{" * 5000, "malformed|depth|expected"),
        (b" " * (m.MAX_MESSAGE_BYTES + 1), "over the limit"),
        (changed("heartbeat", v=2), "`int` <= 1"),
        (changed("heartbeat", cause="a\0b"), "null character"),
        (b'{"later":' + b"[" * 30_000, "recursion"),
        (changed("heartbeat", seq=0), "seq"),
        (changed("heartbeat", seq=-1), "seq"),
        (changed("heartbeat", seq="412"), "Expected `int`"),
        (changed("heartbeat", seq=2**60), "seq"),
        (changed("heartbeat", floor=413), "floor 413 above seq 412"),
        (changed("heartbeat", stream="not hex"), "stream"),
        (changed("heartbeat", evidence=[{}] * 600), "evidence"),
        (changed("heartbeat", clock={"wall_ms": -1, "mono_ms": 0, "boot": "b", "quality": "ntp"}), "wall_ms"),
        (changed("heartbeat", clock={"wall_ms": 1, "mono_ms": 0, "boot": "b", "quality": "atomic"}), "quality"),
    ],
)
def test_bad_heartbeat_is_refused_with_a_reason(payload: bytes, says: str) -> None:
    with pytest.raises(m.BadMessage, match=f"(?i){says}"):
        m.decode(m.Heartbeat, payload)


@pytest.mark.parametrize("text", ["", "x:y:1", f"{'a' * 36}:{'b' * 16}:1", f"{ids.new_node_id()}:{ids.new_stream()}:0"])
def test_bad_event_id_is_refused(text: str) -> None:
    with pytest.raises(m.BadMessage):
        m.decode(m.Event, changed("event-press", event_id=text))


@given(st.binary(max_size=300))
def test_garbage_is_never_more_than_a_bad_message(payload: bytes) -> None:
    kinds: list[type[m.Message]] = [m.Heartbeat, m.Replay, m.Status, m.Event, m.Reported, m.Result]
    for kind in kinds:
        with pytest.raises(m.BadMessage):
            m.decode(kind, payload)


@given(st.integers(min_value=1, max_value=2**53 - 1))
def test_event_id_comes_apart_as_it_was_made(n: int) -> None:
    node, stream = ids.new_node_id(), ids.new_stream()
    assert ids.parse_event_id(ids.event_id(node, stream, n)) == (node, stream, n)


def test_topics_are_these() -> None:
    node = ids.parse_node_id("0b5e9a34-5c1d-4f0e-9c67-3c2f5d1a7e10")
    assert [topics.up(node, kind) for kind in topics.Up] == [
        "ssz/1/0b5e9a34-5c1d-4f0e-9c67-3c2f5d1a7e10/up/status",
        "ssz/1/0b5e9a34-5c1d-4f0e-9c67-3c2f5d1a7e10/up/heartbeat",
        "ssz/1/0b5e9a34-5c1d-4f0e-9c67-3c2f5d1a7e10/up/replay",
        "ssz/1/0b5e9a34-5c1d-4f0e-9c67-3c2f5d1a7e10/up/event",
        "ssz/1/0b5e9a34-5c1d-4f0e-9c67-3c2f5d1a7e10/up/reported",
        "ssz/1/0b5e9a34-5c1d-4f0e-9c67-3c2f5d1a7e10/up/result",
    ]
    assert [topics.down(node, kind) for kind in topics.Down] == [
        "ssz/1/0b5e9a34-5c1d-4f0e-9c67-3c2f5d1a7e10/down/ack",
        "ssz/1/0b5e9a34-5c1d-4f0e-9c67-3c2f5d1a7e10/down/desired",
        "ssz/1/0b5e9a34-5c1d-4f0e-9c67-3c2f5d1a7e10/down/command",
    ]


@pytest.mark.parametrize("kind", [*topics.Up, *topics.Down])
def test_topic_comes_apart_as_it_was_made(kind: topics.Up | topics.Down) -> None:
    node = ids.new_node_id()
    topic = topics.up(node, kind) if isinstance(kind, topics.Up) else topics.down(node, kind)
    assert topics.parse(topic) == (node, kind)


@given(st.one_of(st.text(max_size=80), st.just("ssz/2/0b5e9a34-5c1d-4f0e-9c67-3c2f5d1a7e10/up/event"), st.just("ssz/1/+/up/event")))
def test_other_topics_are_refused(topic: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        topics.parse(topic)


@pytest.mark.parametrize("n", [1, 9, 10, 2**53 - 1])
def test_first_and_last_event_of_a_stream_are_understood(n: int) -> None:
    text = ids.event_id(ids.new_node_id(), ids.new_stream(), n)
    assert m.decode(m.Event, changed("event-press", event_id=text)).event_id == text
    assert m.decode(m.Ack, changed("ack", events=[text])).events == [text]
