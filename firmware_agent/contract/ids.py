"""Names on the wire: who speaks, in which stream, about which channel."""

import re
import secrets
import uuid
from typing import NamedTuple, NewType

NodeId = NewType("NodeId", str)
"""Lower-case UUID; the certificate's CN, the broker's user name and the client id."""

StreamId = NewType("StreamId", str)
"""16 hex digits, made with the outbox; renewed whenever a sequence number could be used twice."""

SessionId = NewType("SessionId", str)
"""16 hex digits, made at each connection; an "offline" counts for its own session only."""

BootId = NewType("BootId", str)
"""The kernel's boot id (UUID) or a stand-in; the monotonic clock restarts with it."""

Channel = NewType("Channel", str)
"""The node's own name of one wired device, such as `cam-1`; 1 to 32 of `a-z 0-9 - _`."""

EventId = NewType("EventId", str)
"""`{node}:{stream}:{n}`; unique for ever, with no clock in it."""

CommandId = NewType("CommandId", str)
"""UUID made by the server."""

_NODE = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_STREAM = re.compile(r"[0-9a-f]{16}")
_CHANNEL = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


class EventKey(NamedTuple):
    """The three parts of an `EventId`."""

    node: NodeId
    stream: StreamId
    n: int


def parse_node_id(text: str) -> NodeId:
    """Return `text` as a node id.

    Raises:
        ValueError: it is not a lower-case UUID.
    """
    if not _NODE.fullmatch(text):
        raise ValueError(f"not a node id (lower-case UUID): {text!r}")
    return NodeId(text)


def parse_channel(text: str) -> Channel:
    """Return `text` as a channel name.

    Raises:
        ValueError: it is not 1 to 32 of `a-z 0-9 - _`, starting with a letter or digit.
    """
    if not _CHANNEL.fullmatch(text):
        raise ValueError(f"not a channel name (1 to 32 of a-z 0-9 - _): {text!r}")
    return Channel(text)


def new_node_id() -> NodeId:
    """Return a random node id (UUID version 4)."""
    return NodeId(str(uuid.uuid4()))


def new_stream() -> StreamId:
    """Return a random stream id (64 bits)."""
    return StreamId(secrets.token_hex(8))


def new_session() -> SessionId:
    """Return a random session id (64 bits)."""
    return SessionId(secrets.token_hex(8))


def event_id(node: NodeId, stream: StreamId, n: int) -> EventId:
    """Return the id of the `n`-th event (from 1) of `stream`."""
    return EventId(f"{node}:{stream}:{n}")


def parse_event_id(text: str) -> EventKey:
    """Split an event id.

    Raises:
        ValueError: it is not `{node}:{stream}:{n}` with n ≥ 1.
    """
    node, _, rest = text.partition(":")
    stream, _, n = rest.partition(":")
    if not (_NODE.fullmatch(node) and _STREAM.fullmatch(stream) and n.isascii() and n.isdigit() and 0 < len(n) <= 16 and int(n) >= 1):
        raise ValueError(f"not an event id (node:stream:n): {text!r}")
    return EventKey(NodeId(node), StreamId(stream), int(n))
