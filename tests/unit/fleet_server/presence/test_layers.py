"""Which layer is broken, and what to do: one case for each layer."""

from dataclasses import replace

import pytest

from firmware_agent.contract.ids import Channel, NodeId
from firmware_agent.contract.vocabulary import Kind
from fleet_server.presence.layers import ADVICE, Cause, Layer, NodeStatus, PositionStatus, layers
from fleet_server.presence.model import State

NODE = NodeStatus(NodeId("n"), "SN", "/s/", True, "", 100, "s1", 500, "0.1.0", False)
POSITION = PositionStatus(
    position_id="p",
    code="CAM-A",
    kind=Kind.CAMERA,
    unit_path="/s/",
    zone_code="Z",
    state=State.WORKING,
    cause="",
    since_ms=200,
    observed_at_ms=400,
    functions=(),
    node=NODE.node,
    channel=Channel("cam-1"),
    is_simulated=False,
    is_commissioned=True,
)


def broken(position: PositionStatus, node: NodeStatus | None) -> tuple[Layer, str, int | None, str] | None:
    found = layers(position, node)
    assert [status.layer for status in found] == list(Layer)
    first = next((index for index, status in enumerate(found) if status.is_ok is False), None)
    if first is None:
        assert all(status.is_ok for status in found)
        return None
    assert all(status.is_ok for status in found[:first])
    assert all(status.is_ok is None and not status.advice for status in found[first + 1 :])
    return found[first].layer, found[first].cause, found[first].since_ms, found[first].advice


def test_all_layers_of_a_working_position_are_well() -> None:
    assert broken(POSITION, NODE) is None


@pytest.mark.parametrize(
    ("position", "node", "expected"),
    [
        ({"cause": Cause.SERVER_BLIND.value, "state": State.UNKNOWN}, {}, (Layer.SERVER, "server_blind", 200, "wait_for_server")),
        ({"node": None, "state": State.UNKNOWN, "cause": "not_installed"}, {}, (Layer.LINK, "not_installed", None, "install_device")),
        (
            {},
            {"cause": "node_offline", "is_online": False, "since_ms": 300},
            (Layer.LINK, "node_offline", 300, "check_node_power_and_link"),
        ),
        (
            {"state": State.UNKNOWN, "cause": "never_seen"},
            {"cause": "never_seen", "since_ms": None},
            (Layer.LINK, "never_seen", None, "enrol_node"),
        ),
        ({"state": State.UNKNOWN, "cause": "agent_silent"}, {"cause": "agent_silent"}, (Layer.AGENT, "agent_silent", 100, "restart_agent")),
        ({"state": State.UNKNOWN, "cause": "no_evidence"}, {}, (Layer.AGENT, "no_evidence", 200, "check_agent_configuration")),
        ({"state": State.FAILED, "cause": "unreachable"}, {}, (Layer.DEVICE, "unreachable", 200, "check_camera_power_and_cable")),
        ({"state": State.FAILED, "cause": "frozen"}, {}, (Layer.FUNCTION, "frozen", 200, "look_at_camera_picture")),
        (
            {"state": State.DEGRADED, "cause": "lamp_power_too_low", "kind": Kind.STREET_LIGHT},
            {},
            (Layer.FUNCTION, "lamp_power_too_low", 200, "replace_lamp_or_check_supply"),
        ),
    ],
)
def test_the_first_broken_layer_says_since_when_and_what_to_do(
    position: dict[str, object], node: dict[str, object], expected: tuple[Layer, str, int | None, str]
) -> None:
    assert broken(replace(POSITION, **position), replace(NODE, **node)) == expected  # type: ignore[arg-type]  # real field names


def test_every_cause_of_the_server_has_advice() -> None:
    assert set(ADVICE) == {cause.value for cause in Cause}
