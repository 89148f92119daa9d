"""Uptime: keeps the ledger, and answers how long positions were in which state over any span."""

import asyncio
import logging
import random
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from firmware_agent.contract.vocabulary import Function, Kind
from fleet_server.access.model import Scope
from fleet_server.clock import Clock
from fleet_server.errors import NotFound, Rejected, Transient
from fleet_server.exemptions.service import Exemptions
from fleet_server.ingest.journal import Journal
from fleet_server.presence.exempted import overlays_of
from fleet_server.presence.model import Segment
from fleet_server.registry.model import Directory, PositionRef
from fleet_server.storage import Database
from fleet_server.uptime import store
from fleet_server.uptime.fold import states
from fleet_server.uptime.follow import BATCH, QUIET_MS, Follower
from fleet_server.uptime.ledger import GRACE_MS, Ledger, Progress, Refolded
from fleet_server.uptime.model import (
    NOTHING,
    Measures,
    Parts,
    Span,
    clip,
    measures,
    total,
)
from fleet_server.uptime.open_hours import OpenHours
from fleet_server.uptime.store import LedgerRow
from fleet_server.uptime.usage import UsageReader, names_of

_log = logging.getLogger(__name__)

MAX_TIMELINE_MS: Final = 8 * 86_400_000
_TICK_S: Final = 1.0
_SETTLE_AT_ONCE: Final = 2_000


@dataclass(frozen=True, slots=True)
class Usage:
    """What a position, or one function of it, was over a span of commissioned time."""

    position_id: str
    code: str
    kind: Kind
    unit_path: str
    function: Function | None
    """None: the position as a whole, by its worst function at each instant."""
    parts: Parts

    @property
    def measures(self) -> Measures:
        """Availability, bounds and coverage."""
        return measures(self.parts)


@dataclass(frozen=True, slots=True)
class Summary:
    """A whole scope: pooled, and how the single positions lie. A mean alone would hide the dead ones."""

    positions: int
    """With any commissioned time in the span."""
    pooled: Parts
    at_target: int
    """Positions whose strict availability reaches the target."""
    target: Fraction
    usages: tuple[Usage, ...]
    """Each position, by code."""
    worst: tuple[Usage, ...]
    """The worst twentieth, at least one, by strict availability."""

    @property
    def share_at_target(self) -> Fraction | None:
        """Share of the positions at target."""
        return Fraction(self.at_target, self.positions) if self.positions else None


class Uptime:
    """The ledger of closed hours and the fold of the open ones.

    One process runs `run()`; any process may ask.
    """

    def __init__(
        self,
        database: Database,
        journal: Journal,
        directory: Callable[[], Directory],
        exemptions: Exemptions,
        clock: Clock,
        *,
        grace_ms: int = GRACE_MS,
        quiet_ms: int = QUIET_MS,
        refolded: Refolded = lambda _connection, _hours: None,
    ) -> None:
        """`directory` returns the registry's snapshot of now; `refolded` is told of hours that changed.

        An hour is closed `grace_ms` after its end. Once late evidence touched it, it is folded again when nothing more has
        come for `quiet_ms`, at the latest after ten times that.
        """
        self._database = database
        self._clock = clock
        self._directory = directory
        self._exemptions = exemptions
        self._journal = journal
        self._ledger = Ledger(database, journal, directory, exemptions, clock, grace_ms=grace_ms, refolded=refolded)
        self._follower = Follower(database, journal, self._ledger, quiet_ms=quiet_ms)
        self._open = OpenHours(journal, self._ledger.offset_of)
        self._reader = UsageReader(database, self._ledger, exemptions, self._open)

    # ---- keeping up -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Follow the journal and fold what it touches, until cancelled."""
        stopping = threading.Event()
        try:
            while True:
                await self._keep_up(stopping)
        finally:
            stopping.set()  # the thread that folds hears of no cancellation

    async def _keep_up(self, stopping: threading.Event) -> None:
        try:
            if await self._database.run(self.advance, stopping):
                with suppress(TimeoutError):
                    async with asyncio.timeout(_TICK_S):
                        await self._journal.wait_beyond(self._follower.cursor)
                        await asyncio.sleep(_TICK_S / 2)  # let a few more come: nothing here is urgent
        except Transient as error:
            _log.warning("the ledger waits: %s", error)
            await asyncio.sleep(random.uniform(0.5, 2.0))

    def advance(self, stopping: threading.Event | None = None) -> bool:
        """Read one batch of the journal, close hours that are over, fold some of what is marked; return whether all is done.

        Once `stopping` is set it leaves the rest for the next time.

        Raises:
            StorageUnavailable: nothing is lost; call again.
        """
        rows = self._follower.follow(self._clock.now_ms())
        self._open.feed(rows)
        if len(rows) == BATCH:
            return False
        self._ledger.begin()
        self._ledger.sync_inputs()
        self._ledger.close_hours()
        return self._ledger.settle(limit=_SETTLE_AT_ONCE, stopping=stopping) < _SETTLE_AT_ONCE

    def rebuild(self, progress: Progress | None = None) -> int:
        """Drop the ledger and make it again from the journal; return its number of rows. See `fingerprint`."""
        while self._follower.follow(self._clock.now_ms()):
            pass
        self._open.forget()
        return self._ledger.rebuild(progress)

    def settle(self) -> None:
        """Bring the ledger to rest: read all of the journal, close what is over, and fold all that is marked, due or not."""
        while not self.advance():
            pass
        while self._ledger.settle(is_all=True):
            pass

    def fingerprint(self) -> str:
        """Return the SHA-256 of all ledger rows in order."""
        return self._ledger.fingerprint()

    def closed_ms(self) -> int:
        """Return the end of the newest closed hour, 0 while there is none."""
        state = self._ledger.state()
        return 0 if state is None or state[0] == state[1] else state[1]

    def backlog(self, *, from_ms: int = 0) -> int:
        """Return how many hours from `from_ms` on are due to be folded: those just closed are, those still being replayed are not."""
        return self._ledger.backlog(from_ms=from_ms)

    # ---- answering --------------------------------------------------------------------------------------------------

    def usage(
        self,
        *,
        scope: Scope,
        from_ms: int,
        to_ms: int,
        position_ids: Iterable[str] | None = None,
        by_function: bool = False,
    ) -> list[Usage]:
        """Return what the positions of a scope were over `[from_ms, to_ms)`, as far as it is past, by code.

        The parts of each add up to its commissioned time in that span, to the millisecond; one without any is left out.

        Raises:
            Rejected: the span is empty or turned around.
        """
        if from_ms >= to_ms:
            raise Rejected("The span must start before it ends.")
        directory = self._directory()
        ids = None if position_ids is None else set(position_ids)
        refs = [p for p in directory.positions.values() if scope.contains(p.unit_path) and (ids is None or p.id in ids)]
        span = Span(from_ms, min(to_ms, self._clock.now_ms()))
        if span.from_ms >= span.to_ms or not refs:
            return []
        parts = self._reader.parts(sorted(refs, key=lambda p: p.code), span)
        return [usage for ref in sorted(refs, key=lambda p: p.code) for usage in _usages(ref, parts[ref.id], by_function=by_function)]

    def summary(self, *, scope: Scope, from_ms: int, to_ms: int, target: Fraction = Fraction(95, 100)) -> Summary:
        """Return the pooled uptime of a scope and how its positions lie around `target`.

        Raises:
            Rejected: the span is empty or turned around.
        """
        usages = self.usage(scope=scope, from_ms=from_ms, to_ms=to_ms)
        judged = sorted((u.measures.strict, u.code, u) for u in usages if u.measures.strict is not None)
        return Summary(
            positions=len(usages),
            pooled=total(u.parts for u in usages),
            at_target=sum(strict >= target for strict, _, _ in judged),
            target=target,
            usages=tuple(usages),
            worst=tuple(u for _, _, u in judged[: max(1, len(judged) // 20)]),
        )

    def timeline(self, code: str, *, scope: Scope, from_ms: int, to_ms: int) -> list[Segment]:
        """Return the states of a position over the commissioned part of `[from_ms, to_ms)` that is past, ascending.

        Raises:
            NotFound: no such position in this scope.
            Rejected: the span is longer than `MAX_TIMELINE_MS`: it is folded from the journal itself.
        """
        if to_ms - from_ms > MAX_TIMELINE_MS:
            raise Rejected("A timeline shows at most 8 days.")
        ref = self.find(code, scope=scope)
        span = clip(Span(from_ms, min(to_ms, self._clock.now_ms())), ref.commissioned_at_ms, ref.retired_at_ms)
        if span.from_ms >= span.to_ms:
            return []
        found = self._ledger.trails([ref.id], span)
        exemptions = self._exemptions.between(from_ms=span.from_ms, to_ms=span.to_ms, positions=[ref.id])
        return states(ref, found, span, overlays_of(exemptions.get(ref.id, ())))

    def hours(self, code: str, *, scope: Scope, from_ms: int, to_ms: int) -> list[LedgerRow]:
        """Return the closed hours of a position that start in `[from_ms, to_ms)`.

        Raises:
            NotFound: no such position in this scope.
        """
        ref = self.find(code, scope=scope)
        with self._database.read() as connection:
            return store.hours_of(connection, ref.id, from_ms=from_ms, to_ms=to_ms)

    def find(self, code: str, *, scope: Scope) -> PositionRef:
        """Return the position of that code, retired ones too.

        Raises:
            NotFound: no such position in this scope.
        """
        ref = self._directory().position_of_code(code)
        if ref is None or not scope.contains(ref.unit_path):
            raise NotFound(f"There is no position {code!r}.")
        return ref


def _usages(ref: PositionRef, parts: Mapping[str, Parts], *, by_function: bool) -> list[Usage]:
    names = names_of(ref)
    wanted: list[tuple[Function | None, str]] = (
        [(function, function.value) for function in ref.functions] if by_function else [(None, names[-1])]
    )
    return [
        Usage(ref.id, ref.code, ref.kind, ref.unit_path, function, parts[name])
        for function, name in wanted
        if parts.get(name, NOTHING).commissioned_ms
    ]
