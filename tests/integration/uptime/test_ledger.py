"""The ledger on real databases: hours close, add up, follow late evidence, and come out the same when made again."""

import asyncio
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from sqlalchemy import Connection, delete, event

from firmware_agent.contract.ids import NodeId
from firmware_agent.contract.vocabulary import ClockQuality, Function, Kind, Verdict
from fleet_server.access.model import Scope
from fleet_server.errors import NotFound, Rejected, Transient
from fleet_server.exemptions.model import Exemption, ExemptionKind
from fleet_server.ingest.model import Lane, Row
from fleet_server.storage import StorageUnavailable
from fleet_server.uptime import ledger, store
from fleet_server.uptime.model import Parts
from fleet_server.uptime.service import Uptime, Usage
from fleet_server.uptime.store import LedgerRow
from tests.integration.uptime.world import HOUR, NODES, T0, World, evidence

GRACE = 120_000


def uptime_of(world: World) -> Uptime:
    return Uptime(world.database, world.journal, world.directory, world.exemptions, world.clock, grace_ms=GRACE, quiet_ms=0)


def settle(uptime: Uptime) -> None:
    for _ in range(1_000):
        if uptime.advance() and not uptime.backlog():
            return
    raise AssertionError("the ledger never came to rest")


def whole(world: World, uptime: Uptime, *, from_ms: int = T0, to_ms: int | None = None) -> Usage:
    (usage,) = uptime.usage(scope=Scope.ALL, from_ms=from_ms, to_ms=to_ms or world.clock.at_ms)
    return usage


def exempt(world: World, kind: ExemptionKind, from_ms: int, to_ms: int) -> Exemption:
    return world.exemptions.declare(
        "CAM-A", scope=Scope.ALL, kind=kind, from_ms=from_ms, to_ms=to_ms, reason="power cut", document="MEA 12/34", author="chief"
    )


def camera_beats(world: World, start: int, end: int, *, step: int = 20_000, **how: object) -> None:
    for at in range(start, end, step):
        world.beat([evidence("cam-a", at=at)], wall=at + 100, **how)  # type: ignore[arg-type]  # of beat


@pytest.fixture
def camera(world: World) -> str:
    world.add_node()
    return world.add_position("CAM-A")


def test_before_anything_came_all_is_unknown(world: World, camera: str) -> None:
    world.clock.at_ms = T0 + 1_000
    assert whole(world, uptime_of(world)).parts == Parts(unknown_ms=1_000)


def test_the_open_hour_is_counted_as_far_as_it_is_past(world: World, camera: str) -> None:
    camera_beats(world, T0, T0 + 60_000)
    world.clock.at_ms = T0 + 100_000
    uptime = uptime_of(world)
    assert whole(world, uptime).parts == Parts(working_ms=70_000, unknown_ms=30_000, observations=3)
    camera_beats(world, T0 + 100_000, T0 + 120_000)
    world.clock.at_ms = T0 + 125_000
    assert whole(world, uptime).parts == Parts(working_ms=95_000, unknown_ms=30_000, observations=4)


def test_an_hour_closes_after_its_grace_and_adds_up(world: World, camera: str) -> None:
    camera_beats(world, T0, T0 + HOUR)
    uptime = uptime_of(world)
    world.clock.at_ms = T0 + HOUR + GRACE - 1
    settle(uptime)
    assert uptime.hours("CAM-A", scope=Scope.ALL, from_ms=0, to_ms=T0 + 9 * HOUR) == []
    world.clock.at_ms = T0 + HOUR + GRACE
    settle(uptime)
    (row,) = uptime.hours("CAM-A", scope=Scope.ALL, from_ms=0, to_ms=T0 + 9 * HOUR)
    assert (row.hour_ms, row.function, row.parts) == (T0, "live", Parts(working_ms=HOUR, observations=180))
    assert whole(world, uptime, to_ms=T0 + HOUR).measures.strict == 1


def test_a_silent_position_has_rows_too(world: World, camera: str) -> None:
    world.add_position("CAM-B", node=None)
    camera_beats(world, T0, T0 + 20_000)
    uptime = uptime_of(world)
    world.clock.at_ms = T0 + 3 * HOUR
    settle(uptime)
    rows = uptime.hours("CAM-B", scope=Scope.ALL, from_ms=T0, to_ms=T0 + 9 * HOUR)
    assert [row.parts for row in rows] == [Parts(unknown_ms=HOUR), Parts(unknown_ms=HOUR)]


def test_late_evidence_repairs_a_closed_hour_and_is_printed_apart(world: World, camera: str) -> None:
    camera_beats(world, T0, T0 + 1_800_000)
    uptime = uptime_of(world)
    world.clock.at_ms = T0 + 2 * HOUR
    settle(uptime)
    before = whole(world, uptime, to_ms=T0 + HOUR).parts
    assert before == Parts(working_ms=1_810_000, unknown_ms=1_790_000, observations=90)
    camera_beats(world, T0 + 1_800_000, T0 + HOUR, lane=Lane.REPLAY, received=world.clock.at_ms)
    settle(uptime)
    after = whole(world, uptime, to_ms=T0 + HOUR).parts
    assert after == Parts(working_ms=HOUR, replayed_ms=1_790_000, observations=180)


def test_an_hour_that_is_being_replayed_is_folded_when_it_is_quiet(world: World, camera: str) -> None:
    camera_beats(world, T0, T0 + 20_000)
    uptime = Uptime(world.database, world.journal, world.directory, world.exemptions, world.clock, grace_ms=GRACE, quiet_ms=60_000)
    world.clock.at_ms = T0 + 2 * HOUR
    settle(uptime)
    for step in range(10):  # one message every 50 s
        world.clock.at_ms = T0 + 2 * HOUR + step * 50_000
        at = T0 + (step + 1) * 20_000
        world.beat([evidence("cam-a", at=at)], wall=at, lane=Lane.REPLAY, received=world.clock.at_ms)
        uptime.advance()
        assert (uptime.backlog(), uptime._ledger.backlog(is_all=True)) == (0, 1)  # it waits, and keeps nobody waiting
    assert whole(world, uptime, to_ms=T0 + HOUR).parts.working_ms == 30_000
    world.clock.at_ms += 60_000
    uptime.advance()
    assert uptime._ledger.backlog(is_all=True) == 0
    assert whole(world, uptime, to_ms=T0 + HOUR).parts.working_ms == 230_000
    for step in range(13):  # it never falls quiet: then after ten times that
        world.clock.at_ms += 50_000
        at = T0 + (step + 11) * 20_000
        world.beat([evidence("cam-a", at=at)], wall=at, lane=Lane.REPLAY, received=world.clock.at_ms)
        uptime.advance()
    assert whole(world, uptime, to_ms=T0 + HOUR).parts.working_ms > 400_000
    uptime.settle()
    assert uptime._ledger.backlog(is_all=True) == 0


def test_an_hour_that_was_closed_is_due_whatever_a_node_replays_into_it(world: World, camera: str) -> None:
    camera_beats(world, T0, T0 + 20_000)
    uptime = Uptime(world.database, world.journal, world.directory, world.exemptions, world.clock, grace_ms=GRACE, quiet_ms=60_000)
    uptime.advance()
    world.clock.at_ms = T0 + HOUR + GRACE
    uptime._ledger.close_hours()
    world.beat([evidence("cam-a", at=T0 + 40_000)], wall=T0 + 40_000, lane=Lane.REPLAY, received=world.clock.at_ms)
    uptime._follower.follow(world.clock.at_ms)
    assert uptime.backlog() == 1


def test_an_older_fold_never_overwrites_a_newer_one(world: World, camera: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rebuild runs beside the server: while one still folds, the other has evidence that came meanwhile."""
    camera_beats(world, T0, T0 + 600_000)
    world.clock.at_ms = T0 + 2 * HOUR
    slow, fast = uptime_of(world), uptime_of(world)
    fold = slow._ledger.fold

    def fold_slowly(positions: Iterable[str], run: range) -> list[LedgerRow]:
        rows = fold(positions, run)
        camera_beats(world, T0 + 600_000, T0 + 1_200_000, lane=Lane.REPLAY, received=world.clock.at_ms)
        settle(fast)
        return rows

    with monkeypatch.context() as patched:
        patched.setattr(slow._ledger, "fold", fold_slowly)
        slow.advance()
    assert whole(world, slow, to_ms=T0 + HOUR).parts.working_ms == 1_210_000
    settle(slow)
    assert whole(world, slow, to_ms=T0 + HOUR).parts.working_ms == 1_210_000


def test_two_that_fold_the_same_at_once_do_not_fall_over_each_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.add_node()
    for number in range(60):
        world.add_position(f"CAM-{number}")
    world.beat([evidence("cam-1", at=T0)], wall=T0)
    world.clock.at_ms = T0 + 30 * HOUR
    both, folded = [uptime_of(world), uptime_of(world)], threading.Barrier(2)
    both[0]._ledger.begin()
    both[0]._ledger.close_hours()
    for uptime in both:
        fold = uptime._ledger.fold

        def fold_together(positions: Iterable[str], run: range, fold: Any = fold) -> list[LedgerRow]:
            rows: list[LedgerRow] = fold(positions, run)
            with suppress(threading.BrokenBarrierError):
                folded.wait(5)
            return rows

        monkeypatch.setattr(uptime._ledger, "fold", fold_together)
    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(uptime._ledger.settle, is_all=True) for uptime in both]:
            assert done.result() > 0
    assert both[0]._ledger.backlog(is_all=True) == 0
    assert len(both[0].hours("CAM-7", scope=Scope.ALL, from_ms=T0, to_ms=T0 + 30 * HOUR)) == 29


def test_an_hour_that_is_not_folded_yet_costs_no_second_reading_of_the_day(
    world: World, camera: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera_beats(world, T0, T0 + 24 * HOUR, step=60_000)
    uptime = uptime_of(world)
    world.clock.at_ms = T0 + 25 * HOUR
    settle(uptime)
    before = whole(world, uptime).parts
    with world.database.write() as connection:
        connection.execute(delete(store.ledger).where(store.ledger.c.hour_ms == T0 + 22 * HOUR))
    read: list[int] = []
    of_node = world.journal.of_node

    def counted(node: NodeId, *, from_ms: int, to_ms: int) -> list[Row]:
        read.append(to_ms - from_ms)
        return of_node(node, from_ms=from_ms, to_ms=to_ms)

    monkeypatch.setattr(world.journal, "of_node", counted)
    assert _times(whole(world, uptime).parts) == _times(before)
    assert sum(read) < 3 * HOUR


def test_rows_that_could_not_all_be_taken_are_not_left_out(world: World, camera: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database goes away in the middle of a batch, just when a heartbeat wants to be dated by its boot."""
    world.beat([evidence("cam-a", at=T0)], wall=T0)
    uptime = uptime_of(world)
    world.clock.at_ms = T0 + 100_000
    assert whole(world, uptime).parts.working_ms == 30_000
    world.beat([evidence("cam-a", at=0)], wall=0, mono=5, received=T0 + 30_000, quality=ClockQuality.NONE, boot="boot-2")
    world.beat([evidence("cam-a", at=T0 + 60_000)], wall=T0 + 60_000)
    rows = world.journal.after(0, limit=9)
    with monkeypatch.context() as patched:
        patched.setattr(uptime._open, "_offset_of", away)
        with pytest.raises(Transient):
            uptime._open.feed(rows)
    world.beat([evidence("cam-a", at=T0 + 90_000)], wall=T0 + 90_000)
    uptime._open.feed(world.journal.after(rows[-1].id, limit=9))
    assert whole(world, uptime).parts.working_ms == 30_000 + 30_000 + 30_000 + 10_000


def away(*_: object) -> None:
    raise StorageUnavailable("away")


def _times(parts: Parts) -> Parts:
    return replace(parts, observations=0)


async def test_a_server_that_stops_does_not_fold_all_that_is_marked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for node in NODES:
        world.add_node(node)
        world.add_position(f"CAM-{node[-1]}", node=node)
        world.beat([evidence(f"cam-{node[-1]}", at=T0)], node=node, wall=T0)
    world.clock.at_ms = T0 + 2 * HOUR
    uptime, begun, ends = uptime_of(world), threading.Event(), threading.Event()
    folded: list[range] = []

    def fold_slowly(_positions: Iterable[str], run: range) -> list[LedgerRow]:
        folded.append(run)
        begun.set()
        assert ends.wait(60)
        return []

    monkeypatch.setattr(uptime._ledger, "fold", fold_slowly)
    running = asyncio.create_task(uptime.run())
    assert await asyncio.to_thread(begun.wait, 60)
    running.cancel()
    await asyncio.wait([running])
    ends.set()
    await asyncio.get_running_loop().shutdown_default_executor()
    assert len(folded) == 1
    assert uptime.backlog() == 2


def test_a_live_heartbeat_marks_no_closed_hour(world: World) -> None:
    world.add_node()
    world.add_position("LMP", Kind.STREET_LIGHT, functions=(Function.LIT,))
    uptime = uptime_of(world)
    for at in range(T0 + HOUR - 60_000, T0 + HOUR + 600_000, 60_000):
        world.beat([evidence("lmp", Function.LIT, at=at, ttl=150_000)], wall=at + 10_000)
        world.clock.at_ms = at + 10_060
        uptime._follower.follow(world.clock.at_ms)
        assert uptime.backlog() == 0
        settle(uptime)
    assert len(uptime.hours("LMP", scope=Scope.ALL, from_ms=T0, to_ms=T0 + 2 * HOUR)) == 1


def test_live_evidence_older_than_its_ttl_is_late(world: World, camera: str) -> None:
    world.beat([evidence("cam-a", at=T0, ttl=10_000)], wall=T0, received=T0 + 10_000)
    world.clock.at_ms = T0 + 10_000
    assert whole(world, uptime_of(world)).parts == Parts(working_ms=10_000, replayed_ms=10_000, observations=1)


def test_evidence_from_before_the_first_hour_widens_the_ledger_in_small_steps(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server restored without its journal hears of a week at once: messages must be stored all the while."""
    world.add_node()
    world.add_position("CAM-A", commissioned=T0 - 100 * HOUR)
    world.beat([evidence("cam-a", at=T0)], wall=T0)
    uptime = uptime_of(world)
    world.clock.at_ms = T0 + 2 * HOUR
    settle(uptime)
    marked = marks_by_transaction(world, monkeypatch)
    world.beat([evidence("cam-a", at=T0 - 50 * HOUR)], wall=T0 - 50 * HOUR, lane=Lane.REPLAY, received=world.clock.at_ms)
    settle(uptime)
    assert (sum(marked), max(marked)) == (50, 1)
    assert whole(world, uptime, from_ms=T0 - 51 * HOUR, to_ms=T0).parts == Parts(
        working_ms=30_000, replayed_ms=30_000, unknown_ms=51 * HOUR - 30_000, observations=1
    )
    grown = uptime.fingerprint()
    uptime.rebuild()
    assert uptime.fingerprint() == grown


def test_a_change_of_many_positions_is_marked_in_small_steps(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another supervision time in the settings folds the history of the whole fleet again: messages must be stored all the while."""
    world.add_node()
    names = [world.add_position(f"CAM-{number}") for number in range(9)]
    world.beat([evidence("cam-1", at=T0)], wall=T0)
    uptime = uptime_of(world)
    world.clock.at_ms = T0 + 25 * HOUR
    settle(uptime)
    for name in names:
        world.change(name, supervision_ms=30_000)
    marked = marks_by_transaction(world, monkeypatch)
    monkeypatch.setattr(ledger, "_MARKS", 2 * 24)
    settle(uptime)
    assert sum(marked) == 9 * 24
    assert max(marked) == 2 * 24
    (usage,) = uptime.usage(scope=Scope.ALL, from_ms=T0, to_ms=T0 + HOUR, position_ids=[names[1]])
    assert usage.parts.working_ms == 29_000


def test_the_newest_hour_is_folded_before_a_repair_of_the_past(world: World, camera: str) -> None:
    camera_beats(world, T0, T0 + 20_000)
    uptime = uptime_of(world)
    world.clock.at_ms = T0 + 9 * HOUR
    settle(uptime)
    world.change(camera, supervision_ms=30_000)
    world.clock.at_ms += HOUR
    uptime._ledger.sync_inputs()
    uptime._ledger.close_hours()
    assert uptime._ledger.settle(limit=1) == 1
    assert (uptime.backlog(), uptime.backlog(from_ms=T0 + 8 * HOUR)) == (8, 0)
    assert len(uptime.hours("CAM-A", scope=Scope.ALL, from_ms=T0 + 8 * HOUR, to_ms=T0 + 9 * HOUR)) == 1


def marks_by_transaction(world: World, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    marked, mark = [0], store.mark

    def counted(connection: Connection, wanted: Iterable[tuple[str, int]], **due: int) -> None:
        taken = list(wanted)
        marked[-1] += len(taken)
        mark(connection, taken, **due)

    monkeypatch.setattr(store, "mark", counted)
    event.listen(world.database.engine, "commit", lambda _: marked.append(0))
    return marked


def test_evidence_across_the_hour_counts_on_both_sides(world: World, camera: str) -> None:
    camera_beats(world, T0 + HOUR - 10_000, T0 + HOUR)
    uptime = uptime_of(world)
    world.clock.at_ms = T0 + 3 * HOUR
    settle(uptime)
    rows = uptime.hours("CAM-A", scope=Scope.ALL, from_ms=T0, to_ms=T0 + 2 * HOUR)
    assert [row.parts.working_ms for row in rows] == [10_000, 20_000]


def test_ttl_is_capped_below_the_supervision_time(world: World, camera: str) -> None:
    world.beat([evidence("cam-a", at=T0, ttl=3_600_000)], wall=T0)
    world.clock.at_ms = T0 + HOUR // 2
    assert whole(world, uptime_of(world)).parts.working_ms == 89_000


def test_evidence_that_was_stale_when_sent_proves_nothing(world: World, camera: str) -> None:
    world.beat([evidence("cam-a", at=T0, ttl=10_000)], wall=T0 + 10_000)
    world.clock.at_ms = T0 + 60_000
    assert whole(world, uptime_of(world)).parts.working_ms == 0


def test_a_swap_keeps_the_history_with_the_position(world: World, camera: str) -> None:
    world.add_node(NODES[1])
    camera_beats(world, T0, T0 + 600_000)
    world.install(camera, NODES[1], "cam-z", T0 + 600_000)
    for at in range(T0 + 500_000, T0 + 900_000, 20_000):  # before the swap this channel was nobody's
        world.beat([evidence("cam-z", at=at, verdict=Verdict.DEGRADED)], node=NODES[1], wall=at)
        world.beat([evidence("cam-a", at=at)], wall=at)  # after it, the old one is
    world.clock.at_ms = T0 + 900_000
    uptime = uptime_of(world)
    expected = Parts(working_ms=600_000, degraded_ms=300_000, observations=45)
    open_parts = whole(world, uptime).parts
    world.clock.at_ms = T0 + 2 * HOUR
    settle(uptime)
    closed = whole(world, uptime, to_ms=T0 + 900_000).parts
    for parts in (open_parts, closed):
        assert (parts.working_ms, parts.degraded_ms, parts.unknown_ms) == (expected.working_ms, expected.degraded_ms, 0)


def test_only_commissioned_time_counts(world: World, camera: str) -> None:
    world.change(camera, commissioned_at_ms=T0 + 10_000, retired_at_ms=T0 + 50_000)
    camera_beats(world, T0, T0 + 100_000)
    world.clock.at_ms = T0 + 100_000
    assert whole(world, uptime_of(world)).parts.commissioned_ms == 40_000
    world.change(camera, commissioned_at_ms=None, retired_at_ms=None)
    assert uptime_of(world).usage(scope=Scope.ALL, from_ms=T0, to_ms=T0 + 100_000) == []


def test_a_registry_change_in_the_past_folds_its_hours_again(world: World, camera: str) -> None:
    camera_beats(world, T0, T0 + HOUR)
    uptime = uptime_of(world)
    world.clock.at_ms = T0 + 2 * HOUR
    settle(uptime)
    world.change(camera, commissioned_at_ms=T0 + HOUR // 2)
    settle(uptime)
    (row,) = uptime.hours("CAM-A", scope=Scope.ALL, from_ms=T0, to_ms=T0 + HOUR)
    assert row.parts.commissioned_ms == HOUR // 2
    incremental = uptime.fingerprint()
    uptime.rebuild()
    assert uptime.fingerprint() == incremental


def test_a_position_is_its_worst_function_at_each_instant(world: World) -> None:
    world.add_node()
    world.add_position("CAM-A", functions=(Function.LIVE, Function.RECORDING))
    at = T0
    world.beat([evidence("cam-a", at=at), evidence("cam-a", Function.RECORDING, Verdict.FAILED, at=at, ttl=10_000)], wall=at)
    world.beat([evidence("cam-a", Function.RECORDING, at=at + 15_000)], wall=at + 15_000)
    uptime = uptime_of(world)
    for now in (T0 + 30_000, T0 + 2 * HOUR):
        world.clock.at_ms = now
        settle(uptime)
        expected = Parts(failed_ms=10_000, unknown_ms=5_000, working_ms=15_000, observations=3)
        assert whole(world, uptime, to_ms=T0 + 30_000).parts == expected
        live, recording = uptime.usage(scope=Scope.ALL, from_ms=T0, to_ms=T0 + 30_000, by_function=True)
        assert (live.function, live.parts.working_ms) == (Function.LIVE, 30_000)
        assert (recording.function, recording.parts.working_ms) == (Function.RECORDING, 15_000)


def test_without_a_trusted_clock_live_evidence_is_dated_by_receive_time_and_replay_proves_nothing(world: World, camera: str) -> None:
    world.beat([evidence("cam-a", at=5_000)], wall=5_100, mono=100, received=T0 + 10_100, quality=ClockQuality.NONE)
    world.beat([evidence("cam-a", at=65_000)], wall=65_100, mono=60_100, received=T0 + 99_000, quality=ClockQuality.NONE, lane=Lane.REPLAY)
    world.clock.at_ms = T0 + 100_000
    assert whole(world, uptime_of(world)).parts == Parts(working_ms=30_000, unknown_ms=70_000, observations=1)


def test_once_the_clock_of_a_boot_is_known_its_past_is_dated_too(world: World, camera: str) -> None:
    for at in range(0, 600_000, 20_000):
        world.beat(
            [evidence("cam-a", at=at)],
            wall=at,
            mono=at + 7,
            received=T0 + 3 * HOUR + at // 100,
            quality=ClockQuality.NONE,
            lane=Lane.REPLAY,
        )
    uptime = uptime_of(world)
    world.clock.at_ms = T0 + 5 * HOUR
    settle(uptime)
    assert whole(world, uptime).parts.working_ms == 0
    world.beat([], wall=T0 + 4 * HOUR, mono=4 * HOUR + 7, received=T0 + 4 * HOUR + 10)
    settle(uptime)
    assert whole(world, uptime, to_ms=T0 + HOUR).parts == Parts(
        working_ms=610_000, replayed_ms=610_000, unknown_ms=HOUR - 610_000, observations=30
    )
    incremental = uptime.fingerprint()
    uptime.rebuild()
    assert uptime.fingerprint() == incremental


def test_maintenance_overrides_all_and_an_excuse_only_what_did_not_work(world: World, camera: str) -> None:
    camera_beats(world, T0 + 600_000, T0 + 1_200_000)
    uptime = uptime_of(world)
    world.clock.at_ms = T0
    exempt(world, ExemptionKind.MAINTENANCE, T0 + 1_100_000, T0 + 1_300_000)
    world.clock.at_ms = T0 + 2 * HOUR
    settle(uptime)
    excuse = exempt(world, ExemptionKind.EXCUSED, T0, T0 + 900_000)
    settle(uptime)
    parts = whole(world, uptime, to_ms=T0 + HOUR).parts
    assert (parts.excused_ms, parts.maintenance_ms, parts.working_ms) == (600_000, 200_000, 500_000)
    assert parts.commissioned_ms == HOUR
    shorter = world.exemptions.move_end(excuse.id, T0 + 300_000, scope=Scope.ALL, by="chief")
    settle(uptime)
    assert whole(world, uptime, to_ms=T0 + HOUR).parts.excused_ms == 300_000
    world.exemptions.withdraw(shorter.id, scope=Scope.ALL, by="chief")
    settle(uptime)
    assert whole(world, uptime, to_ms=T0 + HOUR).parts.excused_ms == 0
    incremental = uptime.fingerprint()
    uptime.rebuild()
    assert uptime.fingerprint() == incremental


def test_nothing_outside_the_scope_is_shown_or_changed(world: World, camera: str) -> None:
    uptime, other = uptime_of(world), Scope("/bpp/n2/")
    world.clock.at_ms = T0 + 1_000
    assert uptime.usage(scope=other, from_ms=T0, to_ms=T0 + 1_000) == []
    with pytest.raises(NotFound):
        uptime.hours("CAM-A", scope=other, from_ms=T0, to_ms=T0 + 1)
    with pytest.raises(Rejected, match="start before it ends"):
        uptime.usage(scope=Scope.ALL, from_ms=T0, to_ms=T0)


def test_hours_that_straddle_an_open_and_a_closed_one_add_up_at_each_moment(world: World, camera: str) -> None:
    camera_beats(world, T0, T0 + HOUR + 600_000, step=25_000)
    uptime = uptime_of(world)
    seen = []
    for now in (T0 + HOUR + 500_000, T0 + HOUR + 500_001):
        world.clock.at_ms = now
        seen.append(whole(world, uptime, from_ms=T0 + 1_234_567, to_ms=T0 + HOUR + 500_000).parts)
        settle(uptime)
    assert seen[0] == seen[1]
    assert seen[0].commissioned_ms == HOUR + 500_000 - 1_234_567


def test_a_summary_shows_the_worst_beside_the_pool(world: World, camera: str) -> None:
    world.add_position("CAM-DEAD", node=None)
    camera_beats(world, T0, T0 + 100_000)
    world.clock.at_ms = T0 + 100_000
    summary = uptime_of(world).summary(scope=Scope.ALL, from_ms=T0, to_ms=T0 + 100_000)
    assert (summary.positions, summary.at_target, summary.share_at_target) == (2, 1, Fraction(1, 2))
    assert summary.pooled == Parts(working_ms=100_000, unknown_ms=100_000, observations=5)
    assert [usage.code for usage in summary.worst] == ["CAM-DEAD"]


def test_a_restart_goes_on_where_it_was(world: World, camera: str) -> None:
    camera_beats(world, T0, T0 + HOUR)
    world.clock.at_ms = T0 + 2 * HOUR
    settle(uptime_of(world))
    camera_beats(world, T0 + HOUR, T0 + 2 * HOUR, lane=Lane.REPLAY, received=T0 + 2 * HOUR)
    world.clock.at_ms = T0 + 3 * HOUR
    again = uptime_of(world)
    settle(again)
    assert whole(world, again, to_ms=T0 + 2 * HOUR).parts.working_ms == 2 * HOUR
    incremental = again.fingerprint()
    again.rebuild()
    assert again.fingerprint() == incremental


def test_a_button_and_a_lamp_on_one_node_are_judged_by_their_own_supervision(world: World) -> None:
    world.add_node()
    world.add_position("BTN", Kind.PANIC_BUTTON, functions=(Function.PRESS,))
    world.add_position("LMP", Kind.STREET_LIGHT, functions=(Function.LIT,))
    world.beat([evidence("btn", Function.PRESS, at=T0, ttl=10**7), evidence("lmp", Function.LIT, at=T0, ttl=10**7)], wall=T0)
    world.clock.at_ms = T0 + HOUR
    button, lamp = uptime_of(world).usage(scope=Scope.ALL, from_ms=T0, to_ms=T0 + HOUR)
    assert (button.parts.working_ms, lamp.parts.working_ms) == (59_000, 899_000)
