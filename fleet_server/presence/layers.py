"""Layered status: which layer between server and scene is broken, since when, and what to do. Pure.

Advice is a key; the console holds the words. A broken layer hides what lies behind it: nothing is said of those.
"""

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from firmware_agent.contract.ids import Channel, NodeId
from firmware_agent.contract.vocabulary import Kind
from fleet_server.presence.model import FunctionState, State


class Layer(StrEnum):
    """From the server outwards."""

    SERVER = "server"
    LINK = "link"
    AGENT = "agent"
    DEVICE = "device"
    FUNCTION = "function"


class Cause(StrEnum):
    """Why the server itself calls something unknown or offline; nodes have words of their own."""

    SERVER_BLIND = "server_blind"
    NOT_INSTALLED = "not_installed"
    NEVER_SEEN = "never_seen"
    NODE_OFFLINE = "node_offline"
    AGENT_SILENT = "agent_silent"
    NO_EVIDENCE = "no_evidence"


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A node as the server sees it now."""

    node: NodeId
    serial: str
    unit_path: str
    is_online: bool
    cause: str
    """Why it is not online: `never_seen`, `node_offline` (broker or node said so) or `agent_silent`."""
    since_ms: int | None
    session: str
    last_heartbeat_at_ms: int | None
    """Receive time of the newest live heartbeat."""
    agent: str
    is_simulated: bool


@dataclass(frozen=True, slots=True)
class PositionStatus:
    """A position as the server sees it now: the worst of its functions."""

    position_id: str
    code: str
    kind: Kind
    unit_path: str
    zone_code: str
    state: State
    cause: str
    since_ms: int | None
    """Since when it is in this state, None when it never was seen in any."""
    observed_at_ms: int | None
    functions: tuple[FunctionState, ...]
    node: NodeId | None
    channel: Channel | None
    is_simulated: bool
    is_commissioned: bool


@dataclass(frozen=True, slots=True)
class LayerStatus:
    """One layer. `is_ok` is None where a broken layer before it hides it, or nothing is known yet."""

    layer: Layer
    is_ok: bool | None
    cause: str = ""
    since_ms: int | None = None
    advice: str = ""


ADVICE: Final = MappingProxyType(
    {
        Cause.SERVER_BLIND.value: "wait_for_server",
        Cause.NOT_INSTALLED.value: "install_device",
        Cause.NEVER_SEEN.value: "enrol_node",
        Cause.NODE_OFFLINE.value: "check_node_power_and_link",
        Cause.AGENT_SILENT.value: "restart_agent",
        Cause.NO_EVIDENCE.value: "check_agent_configuration",
    }
)
_DEVICE_CAUSES: Final = (
    "refused",
    "timeout",
    "unreachable",
    "no_route",
    "connect",
    "dns",
    "tls",
    "modbus",
    "bus",
    "no_answer",
    "no_power",
    "wire",
    "line",
    "open_circuit",
    "short_circuit",
    "gpio",
    "driver",
    "http_401",
    "http_403",
    "rtsp_401",
    "auth",
)
"""Beginnings of causes that mean that the device itself is not reached."""

_DEVICE_ADVICE: Final = MappingProxyType(
    {
        Kind.CAMERA: "check_camera_power_and_cable",
        Kind.PANIC_BUTTON: "check_button_wiring",
        Kind.STREET_LIGHT: "check_lamp_controller",
        Kind.SENSOR: "check_sensor_cable",
    }
)
_FUNCTION_ADVICE: Final = MappingProxyType(
    {
        Kind.CAMERA: "look_at_camera_picture",
        Kind.PANIC_BUTTON: "test_button",
        Kind.STREET_LIGHT: "replace_lamp_or_check_supply",
        Kind.SENSOR: "check_sensor_reading",
    }
)


def layers(position: PositionStatus, node: NodeStatus | None) -> list[LayerStatus]:
    """Say of each layer whether it works, ascending from the server; the first broken one carries the advice."""
    verdicts = [_server(position), _link(position, node), _agent(position, node), _device(position), _function(position)]
    broken = next((index for index, verdict in enumerate(verdicts) if verdict.is_ok is False), len(verdicts))
    return verdicts[: broken + 1] + [LayerStatus(verdict.layer, None) for verdict in verdicts[broken + 1 :]]


def _server(position: PositionStatus) -> LayerStatus:
    if position.cause == Cause.SERVER_BLIND:
        return _broken(Layer.SERVER, Cause.SERVER_BLIND, position.since_ms)
    return LayerStatus(Layer.SERVER, is_ok=True)


def _link(position: PositionStatus, node: NodeStatus | None) -> LayerStatus:
    if position.node is None or node is None:
        return _broken(Layer.LINK, Cause.NOT_INSTALLED, None)
    if node.cause in (Cause.NODE_OFFLINE, Cause.NEVER_SEEN):
        return _broken(Layer.LINK, Cause(node.cause), node.since_ms)
    return LayerStatus(Layer.LINK, is_ok=True, since_ms=node.since_ms if node.is_online else None)


def _agent(position: PositionStatus, node: NodeStatus | None) -> LayerStatus:
    if node is not None and node.cause == Cause.AGENT_SILENT:
        return _broken(Layer.AGENT, Cause.AGENT_SILENT, node.since_ms)
    if position.state is State.UNKNOWN and position.cause in (Cause.NO_EVIDENCE, Cause.NEVER_SEEN):
        return _broken(Layer.AGENT, Cause.NO_EVIDENCE, position.since_ms)
    return LayerStatus(Layer.AGENT, is_ok=True)


def _device(position: PositionStatus) -> LayerStatus:
    if position.state is State.WORKING or not position.cause.startswith(_DEVICE_CAUSES):
        return LayerStatus(Layer.DEVICE, is_ok=True)
    return LayerStatus(Layer.DEVICE, False, position.cause, position.since_ms, _DEVICE_ADVICE[position.kind])


def _function(position: PositionStatus) -> LayerStatus:
    if position.state is State.WORKING:
        return LayerStatus(Layer.FUNCTION, True, "", position.since_ms)
    return LayerStatus(Layer.FUNCTION, False, position.cause, position.since_ms, _FUNCTION_ADVICE[position.kind])


def _broken(layer: Layer, cause: Cause, since_ms: int | None) -> LayerStatus:
    return LayerStatus(layer, False, cause.value, since_ms, ADVICE[cause.value])
