"""The messages of the wire as typed values, and the one way to encode and decode them.

JSON, UTF-8. Decoding is strict on types and ranges, tolerant of unknown fields (a newer agent may say more) and bounded in
size. Fields with a default may be missing (an older agent says less). Wall times are integer milliseconds since
1970-01-01 UTC (`…_at_ms`, `wall_ms`), monotonic times integer milliseconds since boot (`mono_ms`).

A literal example of each message stands in `tests/contract/golden/` and in `docs/wire.md`.
"""

from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from firmware_agent.contract.ids import BootId, Channel, CommandId, EventId, NodeId, SessionId, StreamId, parse_event_id
from firmware_agent.contract.vocabulary import (
    Action,
    ClockQuality,
    EventType,
    Function,
    Kind,
    Online,
    ResultStatus,
    Verdict,
)

VERSION: Final = 1
MAX_MESSAGE_BYTES: Final = 65_536
"""No message of the wire is larger; a broker refuses packets over 128 KiB."""
MAX_EVIDENCE: Final = 512
MAX_HELD: Final = 16
MAX_GAPS: Final = 16
MAX_REPLAYED: Final = 64

_MAX_MS: Final = 253_402_300_799_999
_MAX_COUNT: Final = 2**53 - 1

Milliseconds = Annotated[int, Meta(ge=0, le=_MAX_MS)]
Count = Annotated[int, Meta(ge=0, le=_MAX_COUNT)]
Sequence = Annotated[int, Meta(ge=1, le=_MAX_COUNT)]
Version = Annotated[int, Meta(ge=1, le=1)]
ShortText = Annotated[str, Meta(max_length=64)]
Text = Annotated[str, Meta(max_length=256)]
StreamText = Annotated[StreamId, Meta(pattern=r"^[0-9a-f]{16}$")]
SessionText = Annotated[SessionId, Meta(min_length=1, max_length=64)]
BootText = Annotated[BootId, Meta(min_length=1, max_length=64)]
ChannelText = Annotated[Channel, Meta(min_length=1, max_length=32)]
CommandText = Annotated[CommandId, Meta(min_length=1, max_length=64)]
EventText = Annotated[EventId, Meta(min_length=55, max_length=72)]
TtlMs = Annotated[int, Meta(ge=1, le=86_400_000)]
Metrics = Annotated[dict[Annotated[str, Meta(min_length=1, max_length=32)], float], Meta(max_length=8)]


class Clock(Struct, frozen=True, gc=False):
    """Both clocks of a node, read at one instant; `…_at_ms` of the same message are in the frame of `wall_ms`."""

    wall_ms: Milliseconds
    mono_ms: Milliseconds
    boot: BootText
    quality: ClockQuality


class Evidence(Struct, frozen=True, gc=False, omit_defaults=True):
    """A statement about one function of one channel; it proves `[observed_at_ms, observed_at_ms + ttl_ms)` and no more."""

    channel: ChannelText
    function: Function
    verdict: Verdict
    observed_at_ms: Milliseconds
    ttl_ms: TtlMs
    """2.5 × the interval of this check; the server caps it."""
    cause: ShortText = ""
    """Short machine word for a verdict that is not `working`, such as `http_401` or `lamp_failure`."""
    metrics: Metrics = {}


class Health(Struct, frozen=True, gc=False, omit_defaults=True):
    """How the node itself is. A figure that this machine cannot give is absent."""

    cpu_percent: float | None = None
    memory_percent: float | None = None
    disk_free_mb: float | None = None
    temperature_c: float | None = None
    is_throttled: bool | None = None
    uptime_s: float | None = None
    outbox_heartbeats: Count = 0
    outbox_events: Count = 0
    clock_offset_ms: float | None = None


class Heartbeat(Struct, frozen=True, gc=False, omit_defaults=True):
    """A node's periodic message (`up/heartbeat`, and inside `up/replay`)."""

    v: Version
    session: SessionText
    stream: StreamText
    seq: Sequence
    floor: Sequence
    """The lowest `seq` of this stream that the node still holds; what is below it is gone."""
    clock: Clock
    evidence: Annotated[list[Evidence], Meta(max_length=MAX_EVIDENCE)]
    health: Health = Health()


class Replay(Struct, frozen=True, gc=False):
    """Heartbeats again, ascending by `seq`, late (`up/replay`)."""

    v: Version
    heartbeats: Annotated[list[Heartbeat], Meta(min_length=1, max_length=MAX_REPLAYED)]


class Held(Struct, frozen=True, gc=False):
    """What the outbox holds of one stream."""

    stream: StreamText
    floor: Sequence
    top: Sequence


class Status(Struct, frozen=True, gc=False, omit_defaults=True):
    """Birth and will (`up/status`, retained). A will carries no clock: nobody knows when it is sent."""

    v: Version
    status: Online
    session: SessionText
    agent: ShortText = ""
    """Version of the agent."""
    is_simulated: bool = False
    clock: Clock | None = None
    held: Annotated[list[Held], Meta(max_length=MAX_HELD)] = []
    events_held: Count = 0


class Event(Struct, frozen=True, gc=False, omit_defaults=True):
    """Something that happened at a device (`up/event`); sent again until the server acknowledges its id."""

    v: Version
    event_id: EventText
    session: SessionText
    channel: ChannelText
    type: EventType
    occurred_at_ms: Milliseconds
    """The moment itself, such as the edge of the contact, in the frame of `clock`."""
    clock: Clock
    """Read when the event was stored on the node."""
    is_drill: bool = False
    is_boot_asserted: bool = False
    """The contact was closed already when the agent started: the press may be older than it looks."""
    cause: ShortText = ""


class Ack(Struct, frozen=True, gc=False, omit_defaults=True):
    """What the server has stored (`down/ack`): all of `stream` up to `through` but the gaps, and these events."""

    v: Version
    stream: StreamText | None = None
    through: Count = 0
    gaps: Annotated[list[tuple[Sequence, Sequence]], Meta(max_length=MAX_GAPS)] = []
    """Inclusive spans of missing `seq`, ascending."""
    events: Annotated[list[EventText], Meta(max_length=256)] = []


class ReportedChannel(Struct, frozen=True, gc=False, omit_defaults=True):
    """One channel as the node runs it."""

    channel: ChannelText
    kind: Kind
    driver: ShortText
    functions: list[Function]
    is_simulated: bool = False
    model: ShortText = ""
    serial: ShortText = ""
    error: Text = ""


class Reported(Struct, frozen=True, gc=False, omit_defaults=True):
    """Configuration in force on the node (`up/reported`), after each start and each change of the desired one."""

    v: Version
    session: SessionText
    channels: Annotated[list[ReportedChannel], Meta(max_length=MAX_EVIDENCE)]
    desired_version: Count = 0
    """0: none was ever received."""
    heartbeat_interval_s: float = 0.0
    error: Text = ""
    """Why the desired configuration of that version was refused; the one before it stays in force."""


class Desired(Struct, frozen=True, gc=False, omit_defaults=True):
    """Configuration the server wants (`down/desired`, retained). Absent fields leave the node's own setting."""

    v: Version
    version: Sequence
    heartbeat_interval_s: Annotated[float, Meta(ge=0.5, le=300)] | None = None
    channels: dict[ChannelText, dict[str, Any]] = {}
    """Settings of a driver by channel, merged over the node's own file."""


class Command(Struct, frozen=True, gc=False, omit_defaults=True):
    """One act on one channel (`down/command`). Idempotent by `command_id`; not begun after `expires_at_ms`."""

    v: Version
    command_id: CommandText
    channel: ChannelText
    action: Action
    issued_at_ms: Milliseconds
    expires_at_ms: Milliseconds
    args: dict[str, Any] = {}


class Result(Struct, frozen=True, gc=False, omit_defaults=True):
    """How a command ended (`up/result`)."""

    v: Version
    command_id: CommandText
    session: SessionText
    channel: ChannelText
    status: ResultStatus
    clock: Clock
    message: Text = ""
    measured: Metrics = {}
    """What proves it, such as `power_w` after a lamp was lit."""


Message = Heartbeat | Replay | Status | Event | Ack | Reported | Desired | Command | Result

M = TypeVar("M", bound=Heartbeat | Replay | Status | Event | Ack | Reported | Desired | Command | Result)

_NUL: Final = b"\\u0000"
"""As JSON must write it; PostgreSQL can keep no text that has one."""

_encoder = msgspec.json.Encoder()
_decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind) for kind in (Heartbeat, Replay, Status, Event, Ack, Reported, Desired, Command, Result)
}


class BadMessage(ValueError):
    """A message that does not follow the contract; nothing of it is believed."""


def encode(message: Message) -> bytes:
    """Return `message` as JSON, without white space."""
    return _encoder.encode(message)


def decode(kind: type[M], payload: bytes) -> M:
    """Read one message of the given kind.

    Raises:
        BadMessage: too large, not JSON, or not of this shape; its text names the field and the bound.
    """
    if len(payload) > MAX_MESSAGE_BYTES:
        raise BadMessage(f"{len(payload)} bytes, over the limit of {MAX_MESSAGE_BYTES}")
    if _NUL in payload:
        raise BadMessage("a text with a null character")
    try:
        message: M = _decoders[kind].decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(str(error)) from error
    _check(message)
    return message


def _check(message: Message) -> None:
    """What types cannot say: relations between fields."""
    match message:
        case Heartbeat():
            _check_heartbeat(message)
        case Replay(heartbeats=heartbeats):
            for heartbeat in heartbeats:
                _check_heartbeat(heartbeat)
        case Event(event_id=text):
            try:
                parse_event_id(text)
            except ValueError as error:
                raise BadMessage(str(error)) from error
        case _:
            pass


def _check_heartbeat(heartbeat: Heartbeat) -> None:
    if heartbeat.floor > heartbeat.seq:
        raise BadMessage(f"floor {heartbeat.floor} above seq {heartbeat.seq}")


def owner(event: Event) -> NodeId:
    """Return the node that made the event, as its id says."""
    return parse_event_id(event.event_id).node
