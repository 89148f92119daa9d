"""The ledger: closes hours, folds what is asked for, and can be made again from the journal, byte for byte.

An hour is closed once, `grace_ms` after its end; from then on it is folded again whenever something arrives that touches it.
Closing and every later reason set marks; one job folds what is marked. So a row is always what the journal, the registry and
the exemptions say together, whatever the order in which they said it. Whoever copied a row elsewhere is told when it changes.
"""

import hashlib
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from firmware_agent.contract.ids import BootId, NodeId
from fleet_server.clock import Clock
from fleet_server.exemptions.model import Exemption, Version
from fleet_server.exemptions.service import Exemptions
from fleet_server.ingest.journal import Journal
from fleet_server.presence.exempted import overlays_of
from fleet_server.presence.wiring import FOREVER_MS, Wiring
from fleet_server.registry.model import Directory, PositionRef
from fleet_server.storage import Database
from fleet_server.storage.database import serialise
from fleet_server.uptime import store
from fleet_server.uptime.fold import Key, ledger_rows, node_reach_ms, trails
from fleet_server.uptime.model import HOUR_MS, PART_NAMES, Span, Trail, clip, hour_of, hours, runs
from fleet_server.uptime.store import Dirty, LedgerRow

_log = logging.getLogger(__name__)

GRACE_MS: Final = 120_000
MAX_EARLIER_MS: Final = 35 * 86_400_000
"""How far before the server's first message the ledger may begin; more than any outbox holds."""
RUN_HOURS: Final = 24
"""Hours folded from one reading of the journal."""
_MARKS: Final = 20_000
_LOCK: Final = 7_309

Progress = Callable[[int, int], None]
"""Told how many hours of positions are folded, and of how many."""

Refolded = Callable[[Connection, Set[tuple[str, int]]], None]
"""Told, in the transaction that writes them, which hours are new or differ from what stood there: position and start (ms)."""


class Ledger:
    """Hourly rows of all commissioned positions, silent ones too."""

    def __init__(
        self,
        database: Database,
        journal: Journal,
        directory: Callable[[], Directory],
        exemptions: Exemptions,
        clock: Clock,
        *,
        refolded: Refolded,
        grace_ms: int = GRACE_MS,
    ) -> None:
        """An hour is closed `grace_ms` after its end."""
        self._database = database
        self._journal = journal
        self._directory = directory
        self._exemptions = exemptions
        self._clock = clock
        self._refolded = refolded
        self._grace_ms = grace_ms
        self._wiring: Wiring | None = None
        self._synced: tuple[int, Version] | None = None
        self._origin_ms: int | None = None
        self._offsets: dict[tuple[NodeId, BootId], int] = {}

    # ---- what it is made from ---------------------------------------------------------------------------------------

    def wiring(self) -> Wiring:
        """Return the index of the registry as it is now."""
        directory = self._directory()
        if self._wiring is None or self._wiring.directory.version != directory.version:
            self._wiring = Wiring(directory)
        return self._wiring

    def offset_of(self, node: NodeId, boot: BootId | None) -> int | None:
        """Return the offset of a boot, None while the journal does not know it."""
        if boot is None:
            return None
        offset = self._offsets.get((node, boot))
        if offset is None and (offset := self._journal.boot_offset(node, boot)) is not None:
            if len(self._offsets) > 50_000:
                self._offsets.clear()
            self._offsets[node, boot] = offset
        return offset

    def fold(self, positions: Iterable[str], run: range) -> list[LedgerRow]:
        """Fold a run of hours of positions from the journal, without storing anything."""
        wiring = self.wiring()
        refs = [wiring.directory.positions[name] for name in sorted(positions) if name in wiring.directory.positions]
        span = Span(run[0], run[-1] + HOUR_MS)
        found = self.trails([ref.id for ref in refs], span)
        exempted = self._exemptions.between(from_ms=span.from_ms, to_ms=span.to_ms, positions=[ref.id for ref in refs])
        return ledger_rows(refs, run, found, {name: overlays_of(mine) for name, mine in exempted.items()})

    def trails(self, positions: Iterable[str], span: Span) -> dict[Key, Trail]:
        """Read from the journal what can speak of these positions in a span."""
        wiring = self.wiring()
        mounts = [mount for name in positions for mount in wiring.by_position.get(name, ())]
        nodes = {mount.node for mount in mounts if mount.from_ms < span.to_ms and span.from_ms < mount.to_ms}
        rows = []
        for node in sorted(nodes):
            reach_ms = node_reach_ms(wiring, node)
            rows += self._journal.of_node(node, from_ms=span.from_ms - reach_ms, to_ms=span.to_ms + reach_ms)
        return trails(rows, wiring, self.offset_of)

    # ---- closing and marking ----------------------------------------------------------------------------------------

    def state(self) -> tuple[int, int] | None:
        """Return the first hour and the end of the last closed one, None before the journal holds anything."""
        with self._database.read() as connection:
            return store.state(connection)

    def begin(self) -> None:
        """Start the ledger at the hour of the journal's first message, once there is one."""
        if self.state() is None and (origin_ms := self.origin_ms()) is not None:
            with self._database.write() as connection:
                store.set_state(connection, started_ms=origin_ms, closed_ms=origin_ms)

    def origin_ms(self) -> int | None:
        """Return the hour in which the journal's first message came, None before."""
        if self._origin_ms is None and (first := self._journal.after(0, limit=1)):
            self._origin_ms = hour_of(first[0].received_at_ms)
        return self._origin_ms

    def widen(self, to_ms: int) -> None:
        """Let the ledger start earlier, hour by hour: nodes had evidence from before the server first heard of them."""
        wiring = self.wiring()
        while (state := self.state()) is not None and to_ms < state[0]:
            with self._writing() as connection:
                started_ms, closed_ms = store.state(connection) or state
                store.mark(connection, _subjects_of_hour(wiring, started_ms - HOUR_MS))
                store.set_state(connection, started_ms=started_ms - HOUR_MS, closed_ms=closed_ms)

    def close_hours(self) -> int:
        """Close the hours that are over, each in a transaction of its own; return how many."""
        closed = 0
        while self._is_over(self.state()):
            wiring = self.wiring()
            with self._writing() as connection:
                state = store.state(connection)
                if state is None or not self._is_over(state):  # another process was first
                    continue
                started_ms, hour_ms = state
                store.mark(connection, _subjects_of_hour(wiring, hour_ms))
                store.set_state(connection, started_ms=started_ms, closed_ms=hour_ms + HOUR_MS)
            closed += 1
        return closed

    def _is_over(self, state: tuple[int, int] | None) -> bool:
        """Whether the hour after the last closed one can be closed."""
        return state is not None and state[1] + HOUR_MS + self._grace_ms <= self._clock.now_ms()

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """Yield a transaction in which no other process writes hours, such as a rebuild beside the running server."""
        with self._database.write() as connection:
            serialise(connection, _LOCK)
            yield connection

    def sync_inputs(self) -> None:
        """Mark closed hours of positions of which registry or exemptions say something else than what they were folded from."""
        wiring, state = self.wiring(), self.state()
        versions = (wiring.directory.version, self._exemptions.calendar().version)
        if state is None or self._synced == versions:
            return
        started_ms, closed_ms = state
        exempted = self._exemptions.between(from_ms=0, to_ms=FOREVER_MS)
        now = {ref.id: _inputs(ref, wiring, exempted.get(ref.id, ())) for ref in wiring.directory.positions.values()}
        with self._database.write() as connection:
            before = store.inputs(connection)
            store.forget_positions(connection, before.keys() - now.keys())
        changed = [name for name, inputs in now.items() if before.get(name) != inputs]
        at_once = max(1, _MARKS // max(1, len(hours(started_ms, closed_ms))))
        for start in range(0, len(changed), at_once):
            some = {name: now[name] for name in changed[start : start + at_once]}
            with self._database.write() as connection:
                for name, inputs in some.items():
                    for span in _differences(before.get(name), inputs):
                        touched = hours(max(started_ms, span.from_ms), min(closed_ms, span.to_ms))
                        store.mark(connection, [(f"position:{name}", hour_ms) for hour_ms in touched])
                store.save_inputs(connection, some)
        self._synced = versions

    # ---- folding ----------------------------------------------------------------------------------------------------

    def settle(self, *, limit: int = _MARKS, is_all: bool = False, stopping: threading.Event | None = None) -> int:
        """Fold what is due (or all that is marked), newest first, at most `limit` marks; return how many it had.

        Once `stopping` is set it leaves the rest.
        """
        with self._database.read() as connection:
            marks = store.dirty(connection, limit=limit, now_ms=None if is_all else self._clock.now_ms())
        for positions, run, mine in _jobs(marks, self.wiring()):
            if stopping is not None and stopping.is_set():
                break
            rows = self.fold(positions, run) if positions else []
            with self._writing() as connection:
                if store.stand(connection, mine):  # else there was news meanwhile, or another process was first
                    self._refolded(connection, store.replace_hours(connection, positions, run, rows))
                    store.done(connection, mine)
        return len(marks)

    def backlog(self, *, from_ms: int = 0, is_all: bool = False) -> int:
        """Return how many marks of hours from `from_ms` on are due, or wait at all."""
        with self._database.read() as connection:
            return store.dirty_count(connection, from_ms=from_ms, now_ms=None if is_all else self._clock.now_ms())

    def rebuild(self, progress: Progress | None = None) -> int:
        """Drop the ledger and fold it again from the journal; return the number of rows.

        The result is what stood there before, byte for byte, unless something of its inputs was never folded in.
        """
        with self._writing() as connection:
            state = store.state(connection)
            store.clear(connection)
            if state is not None:
                store.set_state(connection, started_ms=state[0], closed_ms=state[0])
        self._synced = None
        self.begin()
        self.sync_inputs()
        self.close_hours()
        total, done = self.backlog(is_all=True), 0
        while folded := self.settle(limit=2_000, is_all=True):
            done += folded
            if progress is not None:
                progress(done, max(done, total))
        return sum(1 for _ in self._all_rows())

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) of all rows in their order: equal ledgers have equal fingerprints."""
        digest = hashlib.sha256()
        for row in self._all_rows():
            numbers = [getattr(row.parts, name) for name in PART_NAMES]
            digest.update(msgspec.json.encode([row.position_id, row.function, row.hour_ms, row.unit_path, *numbers]) + b"\n")
        return digest.hexdigest()

    def _all_rows(self) -> Iterator[LedgerRow]:
        """Yield all rows in their order, in many short transactions: a long one would keep the database from tidying up."""
        last: LedgerRow | None = None
        while True:
            with self._database.read() as connection:
                rows = store.rows_after(connection, last)
            if not rows:
                return
            yield from rows
            last = rows[-1]


def _subjects_of_hour(wiring: Wiring, hour_ms: int) -> list[tuple[str, int]]:
    """Return the marks that fold an hour of all commissioned positions: by node, and alone where no node served."""
    end_ms = hour_ms + HOUR_MS
    served: set[str] = set()
    subjects: list[tuple[str, int]] = []
    for node, mounts in wiring.nodes.items():
        if positions := mounts.positions(hour_ms, end_ms):
            served |= positions
            subjects.append((f"node:{node}", hour_ms))
    for ref in wiring.directory.positions.values():
        life = clip(Span(hour_ms, end_ms), ref.commissioned_at_ms, ref.retired_at_ms)
        if ref.id not in served and life.from_ms < life.to_ms:
            subjects.append((f"position:{ref.id}", hour_ms))
    return subjects


def _jobs(marks: list[Dirty], wiring: Wiring) -> list[tuple[set[str], range, list[Dirty]]]:
    """Group marks so that one reading of the journal serves many: by node, in unbroken runs of hours."""
    wanted: dict[NodeId | None, dict[int, tuple[set[str], list[Dirty]]]] = {}
    for mark in marks:
        subject, _, name = mark.subject.partition(":")
        span = Span(mark.hour_ms, mark.hour_ms + HOUR_MS)
        if subject == "node":
            node: NodeId | None = NodeId(name)
            positions = wiring.node(NodeId(name)).positions(*span)
        else:
            node = next((m.node for m in wiring.by_position.get(name, ()) if m.from_ms < span.to_ms and span.from_ms < m.to_ms), None)
            positions = {name}
        names, mine = wanted.setdefault(node, {}).setdefault(mark.hour_ms, (set(), []))
        names |= positions
        mine.append(mark)
    jobs: list[tuple[set[str], range, list[Dirty]]] = []
    for by_hour in wanted.values():
        for run in runs(by_hour, RUN_HOURS):
            positions = {name for hour_ms in run for name in by_hour[hour_ms][0]}
            jobs.append((positions, run, [mark for hour_ms in run for mark in by_hour[hour_ms][1]]))
    return jobs


def _inputs(ref: PositionRef, wiring: Wiring, exemptions: Sequence[Exemption]) -> dict[str, Any]:
    return {
        "unit_path": ref.unit_path,
        "functions": [function.value for function in ref.functions],
        "supervision_ms": ref.supervision_ms,
        "commissioned_at_ms": ref.commissioned_at_ms,
        "retired_at_ms": ref.retired_at_ms,
        "mounts": [[m.node, m.channel, m.from_ms, m.to_ms] for m in sorted(wiring.by_position.get(ref.id, ()), key=lambda m: m.from_ms)],
        "exemptions": sorted([exemption.kind.value, exemption.from_ms, exemption.to_ms] for exemption in exemptions),
    }


def _differences(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> list[Span]:
    """Return in which spans two versions of a position's inputs can give different hours."""
    old, new = ({tuple(exemption) for exemption in version.get("exemptions", ())} for version in (before or {}, now))
    return [Span(_first_difference_ms(before, now), FOREVER_MS), *(Span(from_ms, to_ms) for _, from_ms, to_ms in old ^ new)]


def _first_difference_ms(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> int:
    """Return from when on two versions of a position's registry entries can give different hours."""
    if before is None or any(before[name] != now[name] for name in ("unit_path", "functions", "supervision_ms")):
        return _life(now, before)[0]
    edges: list[int] = []
    if before["commissioned_at_ms"] != now["commissioned_at_ms"]:
        edges.append(_life(now, before)[0])
    if before["retired_at_ms"] != now["retired_at_ms"]:
        edges += [at_ms for at_ms in (before["retired_at_ms"], now["retired_at_ms"]) if at_ms is not None]
    old, new = {tuple(mount) for mount in before["mounts"]}, {tuple(mount) for mount in now["mounts"]}
    for node, channel, from_ms, to_ms in old ^ new:
        is_same_start = any((node, channel, from_ms) == mount[:3] for mount in (old if (node, channel, from_ms, to_ms) in new else new))
        edges.append(to_ms if is_same_start else from_ms)
    return min(edges, default=FOREVER_MS)


def _life(*versions: Mapping[str, Any] | None) -> tuple[int, int]:
    """Return the longest commissioned life that any of the versions gives."""
    begins = [v["commissioned_at_ms"] for v in versions if v is not None and v["commissioned_at_ms"] is not None]
    ends = [v["retired_at_ms"] for v in versions if v is not None]
    return min(begins, default=FOREVER_MS), FOREVER_MS if None in ends else max(ends, default=0)
