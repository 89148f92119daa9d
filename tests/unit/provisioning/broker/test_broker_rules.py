"""Who may say and hear what."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_agent.contract.ids import NodeId
from firmware_agent.contract.topics import ALL_UP, RETAINED, Down, Up, down, down_filter, up
from provisioning.broker.embedded.packets import Connect, Will
from provisioning.broker.embedded.rules import Identity, may_publish, may_receive, may_retain, may_subscribe, objection

A = NodeId("0a" * 4 + "-0000-4000-8000-" + "0a" * 6)
B = NodeId("0b" * 4 + "-0000-4000-8000-" + "0b" * 6)
NODE = Identity(A, is_service=False)
CORE = Identity("svc-core", is_service=True)
PROBE = Identity("svc-probe", is_service=True)
FAKE_CORE = Identity("svc-core", is_service=False)


@pytest.mark.parametrize("message", list(Up))
def test_a_node_publishes_its_own_and_no_other(message: Up) -> None:
    assert may_publish(NODE, up(A, message))
    assert not may_publish(NODE, up(B, message))
    assert not may_receive(NODE, up(A, message))
    assert may_publish(CORE, up(B, message))
    assert may_receive(CORE, up(B, message))
    assert not may_publish(PROBE, up(B, message))


@pytest.mark.parametrize("message", list(Up))
def test_of_a_node_the_status_alone_is_kept(message: Up) -> None:
    assert may_retain(NODE, up(A, message)) is (message in RETAINED)
    assert not may_retain(NODE, up(B, message))
    assert may_retain(CORE, down(B, Down.DESIRED))


@pytest.mark.parametrize("message", list(Down))
def test_a_node_receives_its_own_and_no_other(message: Down) -> None:
    assert may_receive(NODE, down(A, message))
    assert not may_receive(NODE, down(B, message))
    assert not may_publish(NODE, down(A, message))
    assert may_publish(CORE, down(A, message))
    assert not may_receive(PROBE, down(A, message))


@pytest.mark.parametrize("topic_filter", [down_filter(A), down(A, Down.ACK), f"ssz/1/{A}/down/+"])
def test_a_node_subscribes_to_its_own(topic_filter: str) -> None:
    assert may_subscribe(NODE, topic_filter)


@pytest.mark.parametrize(
    "topic_filter",
    [
        "#",
        "+",
        ALL_UP,
        "ssz/1/+/down/#",
        f"ssz/1/{A}/#",
        f"ssz/1/{A}/+/ack",
        down_filter(B),
        "$SYS/#",
        f"ssz/1/{A}/down",
        "",
        f"ssz/1/{A}/down/1",
    ],
)
def test_a_node_subscribes_to_nothing_else(topic_filter: str) -> None:
    assert not may_subscribe(NODE, topic_filter)
    assert not may_subscribe(PROBE, topic_filter)
    assert not may_subscribe(FAKE_CORE, topic_filter)


def test_the_server_subscribes_inside_the_wire_only() -> None:
    assert may_subscribe(CORE, ALL_UP)
    assert may_subscribe(CORE, "ssz/1/#")
    assert not may_subscribe(CORE, "#")
    assert not may_subscribe(CORE, "ssz/+/x")


levels = st.sampled_from(["ssz", "1", A, B, "up", "down", "ack", "event", "", "$SYS"])
topics = st.lists(levels, min_size=1, max_size=6).map("/".join)


@given(st.lists(levels | st.just("+"), min_size=1, max_size=6), st.booleans(), topics)
def test_what_a_subscription_can_match_may_be_received(parts: list[str], ends_with_all: bool, topic: str) -> None:
    topic_filter = "/".join([*parts, "#"] if ends_with_all else parts)
    for who in (NODE, CORE, PROBE):
        if may_subscribe(who, topic_filter) and matches(topic, topic_filter) and topic.count("/") >= topic_filter.count("/"):
            assert may_receive(who, topic)


def connect(**changes: object) -> Connect:
    values: dict[str, object] = {"client_id": A, "username": None, "is_clean": True, "keep_alive_s": 30, "will": None, **changes}
    return Connect(**values)  # type: ignore[arg-type]  # each test changes one field


@pytest.mark.parametrize(
    "changes", [{}, {"client_id": ""}, {"username": A}, {"username": ""}, {"will": Will(up(A, Up.STATUS), b"", 1, True)}]
)
def test_a_node_connects_as_itself(changes: dict[str, object]) -> None:
    assert objection(NODE, connect(**changes)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": B},
        {"client_id": "svc-core"},
        {"client_id": A.upper()},
        {"username": B},
        {"username": "svc-core"},
        {"will": Will(up(B, Up.STATUS), b"", 1, True)},
        {"will": Will(up(A, Up.EVENT), b"", 1, True)},
        {"will": Will(down(A, Down.COMMAND), b"", 1, True)},
        {"will": Will(up(A, Up.STATUS), b"", 2, True)},
    ],
)
def test_a_node_connects_as_nobody_else(changes: dict[str, object]) -> None:
    assert objection(NODE, connect(**changes)) is not None


def matches(topic: str, topic_filter: str) -> bool:
    """MQTT 3.1.1 §4.7."""
    left, right = topic.split("/"), topic_filter.split("/")
    for i, level in enumerate(right):
        if level == "#":
            return True
        if i >= len(left) or level not in ("+", left[i]):
            return False
    return len(left) == len(right)
