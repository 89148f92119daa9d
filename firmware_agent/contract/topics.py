"""Topics of the wire, MQTT 3.1.1: `ssz/1/{node}/up/…` from a node, `ssz/1/{node}/down/…` to it."""

from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from firmware_agent.contract.ids import NodeId, parse_node_id

PREFIX: Final = "ssz/1"
"""The root and the major version of the wire."""


class Up(StrEnum):
    """What a node publishes; the last level of its topic."""

    STATUS = "status"
    HEARTBEAT = "heartbeat"
    REPLAY = "replay"
    EVENT = "event"
    REPORTED = "reported"
    RESULT = "result"


class Down(StrEnum):
    """What the server publishes to a node; the last level of its topic."""

    ACK = "ack"
    DESIRED = "desired"
    COMMAND = "command"


QOS: Final = MappingProxyType(
    {
        Up.STATUS: 1,
        Up.HEARTBEAT: 0,
        Up.REPLAY: 1,
        Up.EVENT: 1,
        Up.REPORTED: 1,
        Up.RESULT: 1,
        Down.ACK: 1,
        Down.DESIRED: 1,
        Down.COMMAND: 1,
    }
)

RETAINED: Final = frozenset({Up.STATUS, Down.DESIRED})


class Address(NamedTuple):
    """What a topic says: whose it is, and what is on it."""

    node: NodeId
    message: Up | Down


def up(node: NodeId, message: Up) -> str:
    """Return the topic on which `node` publishes `message`."""
    return f"{PREFIX}/{node}/up/{message}"


def down(node: NodeId, message: Down) -> str:
    """Return the topic on which `node` receives `message`."""
    return f"{PREFIX}/{node}/down/{message}"


ALL_UP: Final = f"{PREFIX}/+/up/#"
"""The server's subscription."""


def down_filter(node: NodeId) -> str:
    """Return the one subscription of a node."""
    return f"{PREFIX}/{node}/down/#"


def parse(topic: str) -> Address:
    """Say whose topic this is and what it carries.

    Raises:
        ValueError: it is no topic of this wire.
    """
    parts = topic.split("/")
    if len(parts) != 5 or f"{parts[0]}/{parts[1]}" != PREFIX:
        raise ValueError(f"not a topic of {PREFIX}: {topic[:120]!r}")
    node = parse_node_id(parts[2])
    match parts[3]:
        case "up":
            return Address(node, Up(parts[4]))
        case "down":
            return Address(node, Down(parts[4]))
        case _:
            raise ValueError(f"neither up nor down: {topic[:120]!r}")
