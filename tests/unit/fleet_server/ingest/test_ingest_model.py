"""The bookkeeping of streams: what is acknowledged, what is asked for again, and that it never stands still."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from firmware_agent.contract.ids import BootId, StreamId
from firmware_agent.contract.messages import MAX_GAPS, Ack, Clock
from firmware_agent.contract.vocabulary import ClockQuality
from fleet_server.ingest.model import MAX_SPANS, StreamRecord, ack_of, advance, dated, is_from_the_future

STREAM = StreamId("6f1c2a9b0d3e4f58")


def fed(*seqs: int, floor: int = 1, record: StreamRecord | None = None) -> StreamRecord:
    record = record or StreamRecord(STREAM)
    for seq in seqs:
        record = advance(record, seq=seq, floor=min(floor, seq))
    return record


def test_unbroken_stream_is_acknowledged_to_its_end() -> None:
    assert fed(1, 2, 3) == StreamRecord(STREAM, through=3, stored=3, top=3)


def test_hole_is_a_gap_until_it_is_filled() -> None:
    record = fed(1, 2, 5)
    assert ack_of(record) == Ack(v=1, stream=STREAM, through=5, gaps=[(3, 4)])
    assert fed(4, record=record).gaps == ((3, 3),)
    assert fed(4, 3, record=record).gaps == ()


def test_filling_the_middle_splits_a_gap() -> None:
    assert fed(1, 9, 5).gaps == ((2, 4), (6, 8))


def test_eviction_closes_the_gap_and_is_counted() -> None:
    record = fed(1, 2, 9)
    assert record.gaps == ((3, 8),)
    record = advance(record, seq=10, floor=6)
    assert (record.gaps, record.evicted, record.floor) == (((6, 8),), 3, 6)


def test_server_restored_empty_asks_for_what_is_held_only() -> None:
    record = fed(520, floor=500)
    assert ack_of(record) == Ack(v=1, stream=STREAM, through=520, gaps=[(500, 519)])
    assert record.evicted == 499


def test_server_restored_from_an_older_backup_asks_for_the_rest() -> None:
    record = advance(StreamRecord(STREAM, through=300, stored=300, top=300), seq=520, floor=500)
    assert (record.gaps, record.evicted) == (((500, 519),), 199)


def test_older_floor_of_a_replayed_heartbeat_changes_nothing() -> None:
    record = advance(fed(1, 9), seq=10, floor=6)
    assert advance(record, seq=7, floor=2).floor == 6


def test_evicted_heartbeat_that_was_only_late_is_taken_back() -> None:
    record = advance(fed(1, 5), seq=6, floor=6)
    assert record.evicted == 3
    late = advance(record, seq=3, floor=3)
    assert (late.evicted, late.stored, late.through) == (2, 4, 6)


def test_duplicate_changes_nothing() -> None:
    record = fed(1, 2, 5)
    assert advance(record, seq=2, floor=1, is_new=False) == record


def test_more_gaps_than_a_message_carries_acknowledges_less() -> None:
    record = fed(*range(1, 100, 2))
    ack = ack_of(record)
    assert len(ack.gaps) == MAX_GAPS
    assert ack.through == 33
    assert ack.gaps[0] == (2, 2)
    assert ack.gaps[-1] == (32, 32)


def test_memory_of_gaps_is_bounded() -> None:
    record = fed(*range(1, 4 * MAX_SPANS, 2))
    assert len(record.gaps) == MAX_SPANS
    assert record.is_coarse
    assert record.through == 2 * MAX_SPANS + 1


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), max_size=80))
def test_record_says_exactly_what_is_stored(said: list[tuple[int, int]]) -> None:
    """Whatever the order: `through` minus gaps minus evicted is what was stored, and gaps are tidy."""
    record = StreamRecord(STREAM)
    stored: set[int] = set()
    for seq, floor in said:
        is_new = seq not in stored
        if not is_new:
            assert not record.is_surely_new(seq)
        record = advance(record, seq=seq, floor=min(floor, seq), is_new=is_new)
        stored.add(seq)
        missing = {n for first, last in record.gaps for n in range(first, last + 1)}
        assert not missing & stored
        assert all(n in stored or n in missing or n < record.floor for n in range(1, record.through + 1))
        assert record.through - len(missing) - record.evicted == record.stored == len(stored)
        assert list(record.gaps) == sorted(record.gaps)
        assert all(before[1] + 1 < after[0] for before, after in zip(record.gaps, record.gaps[1:], strict=False))


class Node:
    """An outbox as the wire describes it: forgets what is acknowledged, evicts its oldest, replays what is asked for."""

    def __init__(self) -> None:
        self.made = 0
        self.held: set[int] = set()
        self.evicted: set[int] = set()

    @property
    def floor(self) -> int:
        return min(self.held, default=self.made + 1)

    def make(self) -> tuple[int, int]:
        self.made += 1
        self.held.add(self.made)
        return self.made, self.floor

    def evict(self, count: int) -> None:
        for seq in sorted(self.held)[:count]:
            self.held.discard(seq)
            self.evicted.add(seq)

    def take(self, ack: Ack) -> list[int]:
        missing = {n for first, last in ack.gaps for n in range(first, last + 1)}
        self.held = {n for n in self.held if n > ack.through or n in missing}
        return sorted(self.held)


class Server:
    """Journal and record, which can be set back to an older backup or to nothing."""

    def __init__(self) -> None:
        self.stored: set[int] = set()
        self.record = StreamRecord(STREAM)
        self.ever: set[int] = set()

    def store(self, seq: int, floor: int) -> None:
        self.record = advance(self.record, seq=seq, floor=floor, is_new=seq not in self.stored)
        self.stored.add(seq)
        self.ever.add(seq)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("live"), st.booleans()),
        st.tuples(st.just("evict"), st.integers(1, 4)),
        st.tuples(st.just("ack"), st.booleans()),
        st.tuples(st.just("backup"), st.just(0)),
        st.tuples(st.just("restore"), st.booleans()),
    ),
    max_size=120,
)


@given(STEPS)
@settings(max_examples=300)
def test_acknowledgement_never_stands_still(steps: list[tuple[str, int | bool]]) -> None:
    """After any history, a few rounds of fair delivery leave nothing held and nothing lost but what was evicted."""
    node, server = Node(), Server()
    backup: tuple[set[int], StreamRecord] = (set(), StreamRecord(STREAM))
    for what, how in steps:
        if what == "live":
            seq, floor = node.make()
            if how:
                server.store(seq, floor)
        elif what == "evict":
            node.evict(int(how))
        elif what == "ack" and how:
            for seq in node.take(ack_of(server.record)):
                server.store(seq, node.floor)
        elif what == "backup":
            backup = (set(server.stored), server.record)
        elif what == "restore":
            server.stored, server.record = (set(backup[0]), backup[1]) if how else (set(), StreamRecord(STREAM))
    for _ in range(node.made // MAX_GAPS + 3):
        server.record = server.record.raised(node.floor)  # the birth says it
        for seq in node.take(ack_of(server.record)):
            server.store(seq, node.floor)
    assert node.held == set()
    assert server.ever | node.evicted == set(range(1, node.made + 1))
    assert server.record.through == node.made


def clock(wall_ms: int, quality: ClockQuality = ClockQuality.NTP) -> Clock:
    return Clock(wall_ms=wall_ms, mono_ms=1, boot=BootId("b"), quality=quality)


@pytest.mark.parametrize(
    ("wall_ms", "quality", "at_ms"),
    [
        (1_000_000, ClockQuality.NTP, 1_000_000),
        (1_000_000, ClockQuality.RTC, 1_000_000),
        (1_000_000, ClockQuality.HOLDOVER, None),
        (1_000_000, ClockQuality.NONE, None),
        (1_060_000, ClockQuality.NTP, 1_060_000),
        (1_060_001, ClockQuality.NTP, None),
        (0, ClockQuality.NTP, 0),
    ],
)
def test_only_a_believable_clock_dates(wall_ms: int, quality: ClockQuality, at_ms: int | None) -> None:
    assert dated(clock(wall_ms, quality), 1_000_000) == at_ms


def test_only_a_trusted_clock_can_be_from_the_future() -> None:
    assert is_from_the_future(clock(1_060_001), 1_000_000)
    assert not is_from_the_future(clock(9_000_000, ClockQuality.NONE), 1_000_000)


def test_record_below_its_floor_is_through() -> None:
    assert replace(StreamRecord(STREAM), floor=1).raised(10).through == 9
