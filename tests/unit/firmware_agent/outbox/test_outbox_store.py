"""The outbox: sad paths first."""

import sqlite3
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from firmware_agent.contract import messages
from firmware_agent.contract.ids import EventId, StreamId, parse_event_id
from firmware_agent.contract.messages import VERSION, Ack, Event, Heartbeat, Replay
from firmware_agent.contract.vocabulary import ClockQuality
from firmware_agent.outbox.model import Limits, StorageFailed
from firmware_agent.outbox.store import Store
from tests.unit.firmware_agent.drafts import WALL_MS, heartbeat, press
from tests.unit.firmware_agent.outbox.damage import NoCommit, spoil

SMALL = Limits(max_bytes=256 * 1024, ballast_bytes=0)


def crash(store: Store) -> None:
    """End as by kill -9: without the mark of a clean end."""
    store._db.close()


def seqs(store: Store, stream: StreamId, low: int = 1, high: int = 10_000) -> list[int]:
    found: list[int] = []
    while (batch := store.batch(stream, [(low, high)])) is not None:
        found += [h.seq for h in messages.decode(Replay, batch.body).heartbeats]
        low = found[-1] + 1
    return found


def test_heartbeats_count_from_one_and_carry_the_floor(open_store: Any) -> None:
    store = open_store()
    stored = [store.put_heartbeat(heartbeat()) for _ in range(3)]
    decoded = [messages.decode(Heartbeat, s.body) for s in stored]
    assert [(h.seq, h.floor, h.stream) for h in decoded] == [(1, 1, store.stream), (2, 1, store.stream), (3, 1, store.stream)]


def test_nobody_else_on_the_node_may_read_it(open_store: Any, tmp_path: Path) -> None:
    (tmp_path / "outbox.db").touch(mode=0o644)
    open_store().remember("", "desired", '{"cam-1":{"password":"secret"}}')
    assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {"outbox.db": 0o600, "outbox.db-wal": 0o600}


def test_killed_process_goes_on_with_the_same_stream(open_store: Any) -> None:
    store = open_store()
    store.put_heartbeat(heartbeat())
    crash(store)
    again = open_store()
    assert again.stream == store.stream
    assert again.put_heartbeat(heartbeat()).seq == 2


def test_new_boot_begins_a_new_stream_and_still_holds_the_old(open_store: Any) -> None:
    store = open_store()
    store.put_heartbeat(heartbeat())
    crash(store)
    again = open_store("boot-2")
    again.put_heartbeat(heartbeat())
    assert again.stream != store.stream
    assert [(h.stream, h.floor, h.top) for h in again.held()] == [(store.stream, 1, 1), (again.stream, 1, 1)]


def test_card_in_another_machine_begins_a_new_stream(open_store: Any) -> None:
    store = open_store()
    store.close()
    assert open_store(hardware="pi-2").stream != store.stream


def test_restored_copy_begins_a_new_stream_even_in_the_same_boot(open_store: Any, tmp_path: Path) -> None:
    store = open_store()
    store.close()
    copy = tmp_path / "copy.db"
    copy.write_bytes((tmp_path / "outbox.db").read_bytes())
    copy.replace(tmp_path / "outbox.db")
    assert open_store().stream != store.stream


def test_acknowledgement_forgets_all_but_the_gaps(open_store: Any) -> None:
    store = open_store()
    for _ in range(10):
        store.put_heartbeat(heartbeat())
    assert not store.apply(Ack(VERSION, store.stream, 8, [(3, 4), (6, 6)]))
    assert seqs(store, store.stream) == [3, 4, 6, 9, 10]
    assert messages.decode(Heartbeat, store.put_heartbeat(heartbeat()).body).floor == 3
    count = store.counts().streams[-1]
    assert (count.made, count.acked, count.held, count.evicted) == (11, 5, 6, 0)


def test_acknowledgement_of_a_strange_stream_does_nothing(open_store: Any) -> None:
    store = open_store()
    store.put_heartbeat(heartbeat())
    assert not store.apply(Ack(VERSION, StreamId("f" * 16), 100))
    assert seqs(store, store.stream) == [1]


def test_acknowledgement_of_what_was_never_made_is_not_believed(open_store: Any) -> None:
    """A cloned card uses our stream: believing the other's numbers would drop our evidence."""
    store = open_store()
    store.put_heartbeat(heartbeat())
    before = store.stream
    assert store.apply(Ack(VERSION, before, 7))
    assert store.stream != before
    assert seqs(store, before) == [1]


def test_stream_that_cannot_be_renewed_now_goes_on(open_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store()
    store.put_heartbeat(heartbeat())
    before = store.stream
    with monkeypatch.context() as patch:
        patch.setattr(store, "_db", NoCommit(store._db))
        with pytest.raises(StorageFailed):
            store.apply(Ack(VERSION, before, 7))
    assert store.put_heartbeat(heartbeat()).seq == 2
    assert store.apply(Ack(VERSION, before, 7))
    assert store.stream != before


def test_event_ids_count_in_their_stream_and_are_never_used_again(open_store: Any) -> None:
    store = open_store()
    first = store.put_event(press())
    assert parse_event_id(first.event_id).n == 1
    store.apply(Ack(VERSION, events=[first.event_id]))
    crash(store)
    assert parse_event_id(open_store().put_event(press()).event_id).n == 2


def test_event_stays_until_its_own_acknowledgement(open_store: Any) -> None:
    store = open_store()
    one, two = store.put_event(press()), store.put_event(press())
    store.apply(Ack(VERSION, store.stream, 0, events=[two.event_id, two.event_id, EventId("x" * 56)]))
    assert [e.event_id for e in store.events()] == [one.event_id]
    store.apply(Ack(VERSION, events=[two.event_id]))
    counts = store.counts()
    assert (counts.events_made, counts.events_acked, counts.events_held) == (2, 1, 1)


def test_oldest_heartbeats_make_room_and_are_counted(open_store: Any) -> None:
    store = open_store(limits=SMALL)
    for _ in range(400):
        store.put_heartbeat(heartbeat(padding=1000))
    count = store.counts().streams[-1]
    held = seqs(store, store.stream)
    assert count.evicted > 0
    assert held == list(range(count.evicted + 1, 401))
    assert store._pages("page_count") * store._pages("page_size") <= SMALL.max_bytes
    assert store.held()[0].floor == held[0]


def test_seven_days_of_forty_devices_fit(open_store: Any) -> None:
    """What is promised by default, at ten seconds; the bodies are those of devices that tell four numbers each."""
    store, count = open_store(), 200
    numbers = {"rtt_ms": 13.2, "fps": 15.0, "kbps": 912.5, "luma": 108.03}
    draft = heartbeat()
    evidence = [msgspec.structs.replace(draft.evidence[0], channel=f"cam-{n}", metrics=numbers) for n in range(40)]
    for _ in range(count):
        store.put_heartbeat(msgspec.structs.replace(draft, evidence=evidence))
    each = store._pages("page_count") * store._pages("page_size") / count
    assert each * 7 * 8_640 < Limits().max_bytes


def test_event_gets_in_when_heartbeats_fill_everything(open_store: Any) -> None:
    store = open_store(limits=SMALL)
    for _ in range(400):
        store.put_heartbeat(heartbeat(padding=1000))
    made = [store.put_event(press()).event_id for _ in range(200)]
    assert [e.event_id for e in store.events()] == made


def test_events_alone_may_pass_the_cap(open_store: Any) -> None:
    store = open_store(limits=Limits(max_bytes=128 * 1024, ballast_bytes=0))
    made = [store.put_event(press()).event_id for _ in range(600)]
    assert [e.event_id for e in store.events()] == made
    assert store.put_heartbeat(heartbeat()).seq == 1


def test_old_heartbeats_are_evicted_slowly(open_store: Any) -> None:
    """A clock that jumps ahead by a year must not empty the outbox at once."""
    store = open_store()
    for _ in range(100):
        store.put_heartbeat(heartbeat(WALL_MS))
    store.put_heartbeat(heartbeat(WALL_MS + 366 * 86_400_000))
    assert store.counts().streams[-1].evicted == 2


def test_untrusted_clock_evicts_nothing_by_age(open_store: Any) -> None:
    store = open_store()
    store.put_heartbeat(heartbeat(WALL_MS))
    store.put_heartbeat(heartbeat(WALL_MS + 366 * 86_400_000, quality=ClockQuality.NONE))
    assert store.counts().streams[-1].evicted == 0


def test_replay_is_literally_what_was_sent(open_store: Any) -> None:
    store = open_store()
    bodies = [store.put_heartbeat(heartbeat()).body for _ in range(3)]
    store.apply(Ack(VERSION, store.stream, 1))
    batch = store.batch(store.stream, [(1, 99)])
    assert batch is not None
    assert batch.body == b'{"v":1,"heartbeats":[' + bodies[1] + b"," + bodies[2] + b"]}"
    assert batch.spans == ((2, 3),)


def test_replay_messages_keep_the_bounds_of_the_wire(open_store: Any) -> None:
    store = open_store()
    for i in range(200):
        store.put_heartbeat(heartbeat(padding=100 * (i % 20)))
    assert seqs(store, store.stream) == list(range(1, 201))  # decoding checks size and number


def test_birth_lists_at_most_sixteen_streams_with_the_current(open_store: Any) -> None:
    for boot in range(20):
        store = open_store(f"boot-{boot}")
        store.put_heartbeat(heartbeat())
        crash(store)
    again = open_store("boot-19")
    held = again.held()
    assert len(held) == 16
    assert held[-1].stream == again.stream


def test_books_of_finished_streams_are_dropped_in_the_end(open_store: Any) -> None:
    for boot in range(20):
        store = open_store(f"boot-{boot}")
        store.put_heartbeat(heartbeat())
        store.apply(Ack(VERSION, store.stream, 1))
        crash(store)
    assert len(open_store("boot-20").counts().streams) <= 9


@pytest.mark.parametrize("damage", [b"", b"this is no database" * 1000])
def test_damaged_file_is_moved_aside(open_store: Any, tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "outbox.db").write_bytes(damage)
    store = open_store()
    assert store.put_heartbeat(heartbeat()).seq == 1
    assert (tmp_path / "outbox.db-damaged").exists() == bool(damage)


def test_events_are_rescued_from_a_damaged_file(open_store: Any, tmp_path: Path) -> None:
    store = open_store()
    saved = store.put_event(press())
    store.close()
    spoil(tmp_path / "outbox.db")
    again = open_store("boot-2")
    assert [e.event_id for e in again.events()] == [saved.event_id]
    assert again.put_heartbeat(heartbeat()).seq == 1
    assert sorted(each.name for each in tmp_path.iterdir()) == ["outbox.db", "outbox.db-damaged", "outbox.db-wal"]


def test_rescue_that_was_ended_half_way_is_begun_again(open_store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store()
    saved = store.put_event(press())
    store.close()
    spoil(tmp_path / "outbox.db")
    for end in (Path.hardlink_to, Path.replace):

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Path, end.__name__, killed)
            with pytest.raises(KeyboardInterrupt):
                open_store("boot-2")
    assert [e.event_id for e in open_store("boot-2").events()] == [saved.event_id]


def test_second_agent_is_refused(open_store: Any, tmp_path: Path) -> None:
    open_store()
    db = sqlite3.connect(tmp_path / "outbox.db", timeout=0)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        db.execute("SELECT * FROM meta")
    db.close()


def test_unwritable_outbox_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises((StorageFailed, OSError)):
        Store(tmp_path / "file" / "outbox.db", node="n", boot="b")  # type: ignore[arg-type]  # never looked at


def test_memory_survives_and_forgets(open_store: Any) -> None:
    store = open_store()
    store.remember("btn-1", "drilled_at", "5")
    store.remember("", "x", "1")
    store.remember("", "x", None)
    crash(store)
    assert open_store().memory() == {("btn-1", "drilled_at"): "5"}


def test_last_256_results_are_kept(open_store: Any) -> None:
    store = open_store()
    for i in range(300):
        store.put_result(f"c{i}", b"{}")
    assert list(store.results()) == [f"c{i}" for i in range(44, 300)]


def test_stored_event_is_complete(open_store: Any) -> None:
    store = open_store()
    stored = store.put_event(press())
    event = messages.decode(Event, stored.body)
    assert event.event_id == stored.event_id
    assert event.occurred_at_ms == WALL_MS
