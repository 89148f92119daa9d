"""Events at once; heartbeats within 5 s of a birth or a new gap, else at most once a minute."""

import asyncio
import json

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from firmware_agent.contract.ids import EventId, NodeId, StreamId
from firmware_agent.contract.messages import Ack
from firmware_agent.contract.topics import Down
from fleet_server.clock import SystemClock
from fleet_server.errors import Transient
from fleet_server.ingest.acks import Acknowledger, Schedule
from fleet_server.ingest.journal import Appended
from fleet_server.ingest.metrics import IngestMetrics
from fleet_server.ingest.model import StreamRecord
from fleet_server.ingest.writer import Committed

NODE = NodeId("0b5e9a34-5c1d-4f0e-9c67-3c2f5d1a7e10")
STREAM = StreamId("6f1c2a9b0d3e4f58")
KEY = (NODE, STREAM)


def record(through: int, *gaps: tuple[int, int]) -> StreamRecord:
    return StreamRecord(STREAM, through=through, gaps=gaps, stored=through, top=through)


def test_unbroken_stream_is_acknowledged_once_in_an_interval() -> None:
    schedule = Schedule(60)
    sent = []
    for second in range(300):
        schedule.stored(KEY, record(second + 1), has_new_gap=False, now_s=second)
        sent += [(second, ack.through) for _, ack in schedule.take_due(second)]
    assert sent == [(60, 61), (120, 121), (180, 181), (240, 241)]


def test_silent_stream_is_not_acknowledged_again() -> None:
    schedule = Schedule(60)
    schedule.stored(KEY, record(1), has_new_gap=False, now_s=0)
    assert len(schedule.take_due(60)) == 1
    assert schedule.take_due(1000) == []


def test_birth_is_answered_at_once() -> None:
    schedule = Schedule(60)
    schedule.stored(KEY, record(1), has_new_gap=False, now_s=0)
    schedule.born(KEY, record(7), now_s=3)
    assert schedule.take_due(3) == [(NODE, Ack(v=1, stream=STREAM, through=7))]


def test_new_gap_is_told_within_five_seconds() -> None:
    schedule = Schedule(60)
    schedule.stored(KEY, record(1), has_new_gap=False, now_s=0)
    schedule.stored(KEY, record(5, (2, 4)), has_new_gap=True, now_s=10)
    schedule.stored(KEY, record(6, (2, 4)), has_new_gap=False, now_s=10.5)
    assert schedule.take_due(10.9) == []
    assert schedule.take_due(11.0) == [(NODE, Ack(v=1, stream=STREAM, through=6, gaps=[(2, 4)]))]


def test_gap_that_was_only_late_is_not_asked_for() -> None:
    schedule = Schedule(60)
    schedule.stored(KEY, record(5, (2, 4)), has_new_gap=True, now_s=0)
    schedule.stored(KEY, record(5), has_new_gap=False, now_s=0.5)
    assert schedule.take_due(2) == [(NODE, Ack(v=1, stream=STREAM, through=5))]


def test_next_gaps_are_asked_for_as_soon_as_the_first_have_come() -> None:
    gaps = [(n, n) for n in range(2, 80, 2)]
    schedule = Schedule(60)
    schedule.stored(KEY, record(80, *gaps), has_new_gap=True, now_s=0)
    ((_, first),) = schedule.take_due(1)
    assert first.gaps == gaps[:16]
    schedule.stored(KEY, record(80, *gaps[15:]), has_new_gap=False, now_s=2)
    assert schedule.take_due(2) == []
    schedule.stored(KEY, record(80, *gaps[16:]), has_new_gap=False, now_s=3)
    ((_, second),) = schedule.take_due(3)
    assert second.gaps == gaps[16:32]


def test_what_could_not_be_sent_is_sent_soon() -> None:
    schedule = Schedule(60)
    schedule.born(KEY, record(7), now_s=0)
    ((node, ack),) = schedule.take_due(0)
    schedule.failed(node, ack, now_s=0)
    assert schedule.take_due(0.5) == []
    assert schedule.take_due(1) == [(NODE, ack)]


def test_streams_of_old_are_forgotten() -> None:
    schedule = Schedule(1)
    schedule.born(KEY, record(7), now_s=0)
    schedule.take_due(0)
    schedule.take_due(11)
    assert schedule._streams == {}


@given(st.lists(st.tuples(st.floats(0.1, 20), st.booleans()), max_size=60))
def test_what_was_stored_is_acknowledged_in_the_end(steps: list[tuple[float, bool]]) -> None:
    schedule = Schedule(60)
    now_s, through, told = 0.0, 0, 0
    for wait_s, has_gap in steps:
        now_s += wait_s
        through += 1
        schedule.stored(KEY, record(through), has_new_gap=has_gap, now_s=now_s)
        for _, ack in schedule.take_due(now_s):
            told = ack.through
    for _, ack in schedule.take_due(now_s + 60):
        told = ack.through
    assert told == through


class BusyDownlink:
    """A broker that takes acknowledgements of events, the second time, and is never done with those of streams."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.is_busy = asyncio.Event()
        self.is_done = asyncio.Event()
        self._has_refused = False

    async def publish(self, node: NodeId, message: Down, payload: bytes, *, retain: bool = False) -> None:
        ack = json.loads(payload)
        if "stream" in ack:
            self.is_busy.set()
            await asyncio.Event().wait()
        if not self._has_refused:
            self._has_refused = True
            raise Transient("not now")
        self.events += ack["events"]
        self.is_done.set()


async def test_event_waits_for_no_stream_and_is_tried_again() -> None:
    downlink = BusyDownlink()
    acknowledger = Acknowledger(downlink, SystemClock(), IngestMetrics(CollectorRegistry()), interval_s=0.1)
    event = EventId(f"{NODE}/{STREAM}/7")
    running = asyncio.create_task(acknowledger.run())
    try:
        async with asyncio.timeout(20):
            acknowledger.committed(Committed(Appended(streams={KEY: record(9)}, born={KEY}), {}))
            await downlink.is_busy.wait()
            acknowledger.committed(Committed(Appended(), {NODE: [event, event]}))
            await downlink.is_done.wait()
    finally:
        running.cancel()
    assert downlink.events == [event]
