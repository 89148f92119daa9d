"""What the journal holds, and the bookkeeping of streams that acknowledgements are made of. Pure."""

from bisect import bisect_right
from enum import IntEnum, StrEnum
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from firmware_agent.contract.ids import BootId, NodeId, StreamId
from firmware_agent.contract.messages import MAX_GAPS, VERSION, Ack, Clock, Heartbeat, decode
from firmware_agent.contract.topics import Up

FUTURE_TOLERANCE_MS: Final = 60_000
"""A trusted clock further ahead than this of our receive time dates nothing."""

MAX_SPANS: Final = 1024
"""Gaps remembered of one stream. A node that makes more replays some heartbeats twice; nothing is lost."""

Span = tuple[int, int]
"""Inclusive sequence numbers."""

StreamKey = tuple[NodeId, StreamId]


class Lane(IntEnum):
    """How a message arrived: as it happened, or again and late."""

    LIVE = 0
    REPLAY = 1


class Reason(StrEnum):
    """What was wrong with a message."""

    BAD_TOPIC = "bad_topic"
    OVERSIZE = "oversize"
    MALFORMED = "malformed"
    UNKNOWN_NODE = "unknown_node"
    OTHER_NODE = "other_node"
    """An event whose id names another node than the topic."""
    UNKNOWN_CHANNEL = "unknown_channel"
    """Evidence or an event of a channel where nothing is installed; the message is stored, the rest of it is used."""
    SEQ_REUSED = "seq_reused"
    """The number was used for another message before; the first one stays."""
    FROM_THE_FUTURE = "from_the_future"
    """A trusted clock ahead of ours; the message is stored without a date."""
    UNSTORABLE = "unstorable"
    """The database refuses a value of it."""
    OVERFLOW = "overflow"
    """No room while the database was away; the node keeps it and sends it again."""
    INTERNAL = "internal"
    """A defect of ours, found by this message."""


class Entry(NamedTuple):
    """One message to be stored. A replayed heartbeat is an entry of its own: `Up.HEARTBEAT` in the replay lane."""

    received_at_ms: int
    node: NodeId
    lane: Lane
    topic: Up
    payload: bytes
    """JSON as received."""
    stream: StreamId | None = None
    """With `seq`: of heartbeats and events only."""
    seq: int | None = None
    """Number in the stream; of an event the `n` of its id, which counts apart from heartbeats."""
    floor: int | None = None
    """Of heartbeats only."""
    at_ms: int | None = None
    """When the node made it, if its clock may be believed."""
    mono_ms: int | None = None
    boot: BootId | None = None
    heartbeat: Heartbeat | None = None
    """What `payload` says, where it has been decoded."""


class Row(Struct, frozen=True, gc=False):
    """One message of the journal. `id` counts up in the order of commits, with holes."""

    id: int
    received_at_ms: int
    node: NodeId
    lane: Lane
    topic: Up
    stream: StreamId | None
    seq: int | None
    at_ms: int | None
    boot: BootId | None
    payload: bytes
    decoded: Heartbeat | None = None
    """What `payload` says, where somebody has decoded it already."""

    def heartbeat(self) -> Heartbeat:
        """Return the heartbeat that this row holds.

        Raises:
            BadMessage: it was stored by a server that was more tolerant.
        """
        return decode(Heartbeat, self.payload) if self.decoded is None else self.decoded


class StreamRecord(Struct, frozen=True, gc=False):
    """What is known of one stream of heartbeats.

    Everything up to `through` is stored, or lies in a gap, or lay below `floor` when it was missing (then it is gone for
    ever: evicted). Gaps ascend, do not touch, and lie in `[floor, through)`.
    """

    stream: StreamId
    through: int = 0
    floor: int = 1
    gaps: tuple[Span, ...] = ()
    stored: int = 0
    """Heartbeats in the journal."""
    evicted: int = 0
    """Heartbeats that the node gave up before they arrived here."""
    top: int = 0
    """The highest sequence number ever stored."""
    is_coarse: bool = False
    """More than `MAX_SPANS` gaps were seen: some of what lies in gaps or above `through` may be stored."""

    def is_surely_new(self, seq: int) -> bool:
        """Whether `seq` cannot be in the journal yet; if False it may be, or it is."""
        return seq > self.top or (not self.is_coarse and self._gap_of(seq) is not None)

    def _gap_of(self, seq: int) -> int | None:
        index = bisect_right(self.gaps, (seq, 1 << 60)) - 1
        return index if index >= 0 and self.gaps[index][1] >= seq else None

    def raised(self, floor: int) -> "StreamRecord":
        """Return the record once the node holds nothing below `floor`; what is missing there is evicted."""
        if floor <= self.floor:
            return self
        lost = max(0, floor - 1 - self.through)
        kept: list[Span] = []
        for first, last in self.gaps:
            lost += max(0, min(last, floor - 1) - first + 1)
            if last >= floor:
                kept.append((max(first, floor), last))
        return replace(self, floor=floor, gaps=tuple(kept), through=max(self.through, floor - 1), evicted=self.evicted + lost)

    def with_stored(self, seq: int, *, is_new: bool) -> "StreamRecord":
        """Return the record once `seq` is in the journal; `is_new` says that it was not there before."""
        through, gaps, evicted = self.through, self.gaps, self.evicted
        if seq > through:
            if seq > through + 1:
                gaps = (*gaps, (through + 1, seq - 1))
            through = seq
        elif (index := self._gap_of(seq)) is not None:
            first, last = gaps[index]
            around = [span for span in ((first, seq - 1), (seq + 1, last)) if span[0] <= span[1]]
            gaps = (*gaps[:index], *around, *gaps[index + 1 :])
        elif is_new and seq < self.floor:
            evicted = max(0, evicted - 1)
        is_coarse = self.is_coarse
        if len(gaps) > MAX_SPANS:
            through, gaps, is_coarse = gaps[MAX_SPANS][0] - 1, gaps[:MAX_SPANS], True
        return StreamRecord(self.stream, through, self.floor, gaps, self.stored + is_new, evicted, max(self.top, seq), is_coarse)


def advance(record: StreamRecord, *, seq: int, floor: int, is_new: bool = True) -> StreamRecord:
    """Return the record after heartbeat `seq`, which said `floor`, is in the journal."""
    return record.raised(floor).with_stored(seq, is_new=is_new)


def ack_of(record: StreamRecord) -> Ack:
    """Return the acknowledgement of a stream.

    With more gaps than a message may carry it acknowledges less, never more: the node then sends some of it twice.
    """
    if len(record.gaps) <= MAX_GAPS:
        return Ack(v=VERSION, stream=record.stream, through=record.through, gaps=list(record.gaps))
    return Ack(v=VERSION, stream=record.stream, through=record.gaps[MAX_GAPS][0] - 1, gaps=list(record.gaps[:MAX_GAPS]))


def dated(clock: Clock, received_at_ms: int) -> int | None:
    """Return when the node read its clock, if that may be believed; None from the future or of an untrusted clock."""
    if not clock.quality.is_trusted or is_from_the_future(clock, received_at_ms):
        return None
    return clock.wall_ms


def is_from_the_future(clock: Clock, received_at_ms: int) -> bool:
    """Whether a clock that calls itself trusted is ahead of ours by more than can be believed."""
    return clock.quality.is_trusted and clock.wall_ms > received_at_ms + FUTURE_TOLERANCE_MS
