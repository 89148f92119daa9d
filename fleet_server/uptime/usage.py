"""Parts of any span: whole closed hours from the ledger, the rest folded from the journal or from the open hours."""

from collections.abc import Mapping, Sequence

from fleet_server.exemptions.service import Exemptions
from fleet_server.presence.exempted import overlays_of
from fleet_server.presence.model import Overlay
from fleet_server.registry.model import PositionRef
from fleet_server.storage import Database
from fleet_server.uptime import store
from fleet_server.uptime.fold import Key, position_parts
from fleet_server.uptime.ledger import Ledger
from fleet_server.uptime.model import HOUR_MS, NOTHING, WHOLE, Parts, Span, Trail, clip, hour_of
from fleet_server.uptime.open_hours import OpenHours

ByPosition = dict[str, dict[str, Parts]]
"""By position and function."""


class UsageReader:
    """Adds up; stores nothing."""

    def __init__(self, database: Database, ledger: Ledger, exemptions: Exemptions, open_hours: OpenHours) -> None:
        self._database = database
        self._ledger = ledger
        self._exemptions = exemptions
        self._open = open_hours

    def parts(self, refs: Sequence[PositionRef], span: Span) -> ByPosition:
        """Return parts by position and function: from the ledger where its hours are whole, else folded from the journal."""
        parts: ByPosition = {ref.id: {} for ref in refs}
        started_ms, closed_ms = self._ledger.state() or (span.from_ms, span.from_ms)
        exempted = self._exemptions.between(from_ms=span.from_ms, to_ms=span.to_ms, positions=[ref.id for ref in refs])
        overlays = {name: overlays_of(mine) for name, mine in exempted.items()}
        for piece in _cut(span, started_ms):
            self._fold_into(parts, refs, piece, overlays, {})
        first_ms, last_ms = -(-max(span.from_ms, started_ms) // HOUR_MS) * HOUR_MS, hour_of(min(span.to_ms, closed_ms))
        if first_ms >= last_ms:
            return self._folded(parts, refs, Span(max(span.from_ms, started_ms), span.to_ms), closed_ms, overlays)
        self._folded(parts, refs, Span(max(span.from_ms, started_ms), first_ms), closed_ms, overlays)
        self._summed(parts, refs, Span(first_ms, last_ms), overlays)
        return self._folded(parts, refs, Span(last_ms, span.to_ms), closed_ms, overlays)

    def _summed(self, parts: ByPosition, refs: Sequence[PositionRef], span: Span, overlays: Mapping[str, Sequence[Overlay]]) -> None:
        """Add whole closed hours. Where rows of a position are missing, halves are tried; a missing hour is folded from the journal."""
        with self._database.read() as connection:
            sums = store.sums(connection, [ref.id for ref in refs], from_ms=span.from_ms, to_ms=span.to_ms)
        missing: list[PositionRef] = []
        for ref in refs:
            life = clip(span, ref.commissioned_at_ms, ref.retired_at_ms)
            mine = {name: sums.get((ref.id, name), NOTHING) for name in names_of(ref)}
            if any(got.commissioned_ms != life.to_ms - life.from_ms for got in mine.values()):
                missing.append(ref)
            else:
                _add(parts[ref.id], mine)
        middle_ms = hour_of((span.from_ms + span.to_ms) // 2)
        if missing and span.from_ms < middle_ms:
            self._summed(parts, missing, Span(span.from_ms, middle_ms), overlays)
            self._summed(parts, missing, Span(middle_ms, span.to_ms), overlays)
        elif missing:
            self._fold_into(parts, missing, span, overlays, self._ledger.trails([ref.id for ref in missing], span))

    def _folded(
        self,
        parts: ByPosition,
        refs: Sequence[PositionRef],
        span: Span,
        closed_ms: int,
        overlays: Mapping[str, Sequence[Overlay]],
    ) -> ByPosition:
        """Add a span that is not of whole closed hours, folded from the journal (closed part) or from the open hours."""
        past, recent = Span(span.from_ms, min(span.to_ms, closed_ms)), Span(max(span.from_ms, closed_ms), span.to_ms)
        if past.from_ms < past.to_ms:
            self._fold_into(parts, refs, past, overlays, self._ledger.trails([ref.id for ref in refs], past))
        if recent.from_ms < recent.to_ms:
            wiring = self._ledger.wiring()
            mounts = [m for ref in refs for m in wiring.by_position.get(ref.id, ())]
            nodes = sorted({m.node for m in mounts if m.from_ms < recent.to_ms and recent.from_ms < m.to_ms})
            with self._open.trails(nodes, from_ms=closed_ms, wiring=wiring) as found:
                self._fold_into(parts, refs, recent, overlays, found)
        return parts

    def _fold_into(
        self,
        parts: ByPosition,
        refs: Sequence[PositionRef],
        span: Span,
        overlays: Mapping[str, Sequence[Overlay]],
        found: Mapping[Key, Trail],
    ) -> None:
        for ref in refs:
            _add(parts[ref.id], position_parts(ref, found, span, overlays.get(ref.id, ())))


def _cut(span: Span, started_ms: int) -> list[Span]:
    """Return the part of a span from before the ledger's first hour: nothing was watched then."""
    end_ms = min(span.to_ms, started_ms)
    return [Span(span.from_ms, end_ms)] if span.from_ms < end_ms else []


def names_of(ref: PositionRef) -> list[str]:
    """Return the names of a position's rows: its functions, and the whole where it has more than one."""
    names = [function.value for function in ref.functions]
    return [*names, WHOLE] if len(names) > 1 else names


def _add(mine: dict[str, Parts], more: Mapping[str, Parts]) -> None:
    for name, parts in more.items():
        mine[name] = mine.get(name, NOTHING) + parts
