"""The snapshot finds by installation history."""

from hypothesis import given
from hypothesis import strategies as st

from firmware_agent.contract.ids import Channel, NodeId
from firmware_agent.contract.vocabulary import Kind
from fleet_server.registry.model import Directory, InstallationRef, NodeRef, PositionRef, default_functions

NODE = NodeId("0b5e9a34-5c1d-4f0e-9c67-3c2f5d1a7e10")
CAM = Channel("cam-1")


def position(name: str) -> PositionRef:
    return PositionRef(
        id=name,
        code=name.upper(),
        kind=Kind.CAMERA,
        functions=default_functions(Kind.CAMERA),
        unit_path="/bpp/",
        zone_code="Z",
        innovation_type="cctv",
        supervision_ms=90_000,
        commissioned_at_ms=0,
    )


def installed(name: str, from_ms: int, to_ms: int | None, channel: Channel = CAM) -> InstallationRef:
    return InstallationRef(position_id=name, node=NODE, channel=channel, from_ms=from_ms, to_ms=to_ms)


def test_channel_serves_whoever_it_served_then() -> None:
    directory = Directory(3, positions=[position("a"), position("b")], installations=[installed("b", 200, None), installed("a", 100, 150)])
    answers = {at: directory.position_at(NODE, CAM, at) for at in (99, 100, 149, 150, 199, 200, 10**15)}
    assert {at: None if p is None else p.id for at, p in answers.items()} == {
        99: None,
        100: "a",
        149: "a",
        150: None,
        199: None,
        200: "b",
        10**15: "b",
    }
    assert directory.channel_of("a", 120) == (NODE, CAM)
    assert directory.channel_of("a", 150) is None
    assert [i.position_id for i in directory.channels(NODE)] == ["b"]
    assert [i.position_id for i in directory.history(NODE, CAM)] == ["a", "b"]


def test_unknown_things_are_none_or_nothing() -> None:
    empty = Directory(0)
    assert empty.position_at(NODE, CAM, 5) is None
    assert empty.channel_of("a", 5) is None
    assert empty.installations("a") == empty.channels(NODE) == empty.history(NODE, CAM) == ()
    assert empty.position_of_code("A") is None
    assert empty.node_of_serial("S") is None


def test_finds_by_code_and_serial() -> None:
    node = NodeRef(NODE, "SSZ-1", "/bpp/")
    directory = Directory(1, nodes=[node], positions=[position("a")])
    assert directory.node_of_serial("SSZ-1") is node
    assert directory.position_of_code("A") == position("a")


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), max_size=12), st.integers(0, 700))
def test_look_up_equals_scan(steps: list[tuple[int, int]], at_ms: int) -> None:
    history: list[InstallationRef] = []
    clock = 0
    for number, (gap, length) in enumerate(steps):
        history.append(installed(str(number), clock + gap, clock + gap + length))
        clock += gap + length
    directory = Directory(1, positions=[position(str(n)) for n in range(len(steps))], installations=history)
    scanned = next((i.position_id for i in history if i.covers(at_ms)), None)
    found = directory.position_at(NODE, CAM, at_ms)
    assert (None if found is None else found.id) == scanned
