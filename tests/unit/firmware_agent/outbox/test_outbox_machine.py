"""The outbox against a server that loses, repeats and acknowledges as it likes, and a machine that dies as it likes."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from firmware_agent.contract import messages
from firmware_agent.contract.ids import BootId, EventId, NodeId, StreamId
from firmware_agent.contract.messages import VERSION, Ack, Heartbeat, Replay
from firmware_agent.outbox.model import Limits, stored_spans, wanted_spans
from firmware_agent.outbox.store import Store
from tests.unit.firmware_agent.drafts import WALL_MS, heartbeat, press

NODE = NodeId("0b5e9a34-5c1d-4f0e-9c67-3c2f5d1a7e10")
CAP = 192 * 1024


class OutboxMachine(RuleBasedStateMachine):
    """`made` is what ever left `put_heartbeat`, `server` what the server has stored."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.boot = 1
        self.made: dict[tuple[StreamId, int], bytes] = {}
        self.on_card: set[tuple[StreamId, int]] = set()
        self.server: set[tuple[StreamId, int]] = set()
        self.events: set[EventId] = set()
        self.server_events: set[EventId] = set()
        self.acked_events: set[EventId] = set()
        self.snapshot: set[tuple[StreamId, int]] | None = None

    @initialize()
    def begin(self) -> None:
        self.open()

    def open(self) -> None:
        limits = Limits(max_bytes=CAP, ballast_bytes=0)
        self.store = Store(self.folder / "outbox.db", node=NODE, boot=BootId(f"boot-{self.boot}"), limits=limits)

    def teardown(self) -> None:
        self.store._db.close()
        shutil.rmtree(self.folder)

    @rule(count=st.integers(1, 40), padding=st.sampled_from([0, 2000]), reaches=st.booleans())
    def beat(self, count: int, padding: int, reaches: bool) -> None:
        for i in range(count):
            stored = self.store.put_heartbeat(heartbeat(WALL_MS + len(self.made), padding=padding))
            key = (stored.stream, stored.seq)
            assert key not in self.made, "a number was used twice"
            self.made[key] = stored.body
            self.on_card.add(key)
            decoded = messages.decode(Heartbeat, stored.body)
            assert decoded.floor <= decoded.seq
            if reaches and i % 3:
                self.server.add(key)

    @rule(reaches=st.booleans())
    def press(self, reaches: bool) -> None:
        event = self.store.put_event(press())
        assert event.event_id not in self.events, "an id was used twice"
        self.events.add(event.event_id)
        self.snapshot = None  # an event is on the card for sure, so the card cannot go back behind it
        if reaches:
            self.server_events.add(event.event_id)

    @rule(arrives=st.booleans(), at_most=st.integers(1, 16))
    def acknowledge(self, arrives: bool, at_most: int) -> None:
        """The server says what it has, each stream by itself, gaps cut at `at_most`; the ack itself may be lost."""
        for stream in sorted({stream for stream, _ in self.server}):
            ack = self.ack_of(stream, at_most)
            if arrives:
                self.store.apply(ack)
        if arrives:
            self.acked_events |= self.server_events
            self.store.apply(Ack(VERSION, events=sorted(self.server_events)[:256]))

    @rule(at_most=st.integers(1, 16))
    def replay(self, at_most: int) -> None:
        """What the server asks for reaches it, as far as it is still held."""
        for stream in sorted({stream for stream, _ in self.made}):
            ack = self.ack_of(stream, at_most)
            top = max(seq for of, seq in self.made if of == stream)
            batch = self.store.batch(stream, wanted_spans(ack.through, ack.gaps, top=top))
            if batch is None:
                continue
            for again in messages.decode(Replay, batch.body).heartbeats:
                assert messages.encode(again) == self.made[stream, again.seq]
                self.server.add((stream, again.seq))
        self.server_events |= {event.event_id for event in self.store.events()}

    def ack_of(self, stream: StreamId, at_most: int) -> Ack:
        have = sorted(seq for of, seq in self.server if of == stream)
        through = 0
        gaps: list[tuple[int, int]] = []
        for seq in have:
            if seq > through + 1:
                if len(gaps) == at_most:
                    break
                gaps.append((through + 1, seq - 1))
            through = seq
        return Ack(VERSION, stream, through, gaps)

    @rule(is_clean=st.booleans(), is_reboot=st.booleans())
    def restart(self, is_clean: bool, is_reboot: bool) -> None:
        if is_clean:
            self.store.close()
        else:
            self.store._db.close()
        self.boot += is_reboot
        self.open()

    @rule()
    def take_snapshot(self) -> None:
        for name in ("outbox.db", "outbox.db-wal"):
            (self.folder / f"{name}.snapshot").write_bytes((self.folder / name).read_bytes() if (self.folder / name).exists() else b"")
        self.snapshot = self.card()

    @precondition(lambda self: self.snapshot is not None)
    @rule()
    def power_cut(self) -> None:
        """The last commits of heartbeats are lost with the power; the machine boots anew."""
        self.store._db.close()
        for name in ("outbox.db", "outbox.db-wal"):
            (self.folder / name).write_bytes((self.folder / f"{name}.snapshot").read_bytes())
        assert self.snapshot is not None
        self.on_card = set(self.made) - (set(self.made) - self.snapshot)
        self.snapshot = None
        self.boot += 1
        self.open()

    def card(self) -> set[tuple[StreamId, int]]:
        found: set[tuple[StreamId, int]] = set()
        for count in self.store.counts().streams:
            low = 1
            while (batch := self.store.batch(count.stream, [(low, 10**9)])) is not None:
                found |= {(count.stream, seq) for a, b in batch.spans for seq in range(a, b + 1)}
                low = batch.spans[-1][1] + 1
        return found

    @invariant()
    def nothing_unstored_is_forgotten(self) -> None:
        """Unless it was evicted, which takes the oldest and is counted."""
        held = self.card()
        counts = {count.stream: count for count in self.store.counts().streams}
        for stream, count in counts.items():
            assert count.held == len([1 for of, _ in held if of == stream])
            assert count.made == count.acked + count.held + count.evicted
        gone = self.on_card - held - self.server
        assert len(gone) <= self.store.counts().evicted
        if gone and held:
            order = [count.stream for count in self.store.counts().streams]
            oldest = min((order.index(stream), seq) for stream, seq in held)
            assert all(stream not in order or (order.index(stream), seq) < oldest for stream, seq in gone)

    @invariant()
    def no_event_is_lost(self) -> None:
        assert self.events == self.acked_events | {event.event_id for event in self.store.events()}

    @invariant()
    def floor_is_right(self) -> None:
        held = self.card()
        for listed in self.store.held():
            seqs = [seq for stream, seq in held if stream == listed.stream]
            assert (listed.floor, listed.top) == (min(seqs), max(seqs))

    @invariant()
    def it_is_bounded(self) -> None:
        assert self.store._pages("page_count") * self.store._pages("page_size") <= CAP + 1024 * 1024


OutboxMachine.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
TestOutbox = OutboxMachine.TestCase


def test_model_of_the_server_is_sound() -> None:
    assert stored_spans(5, [(2, 3)]) == [(1, 1), (4, 5)]
