"""`/api/v1`: uptime of positions and units."""

from fractions import Fraction
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from firmware_agent.contract.vocabulary import Function, Kind
from fleet_server.access.guard import Guard, narrowed
from fleet_server.access.model import Permission, Principal
from fleet_server.clock import Clock
from fleet_server.paging import Cursor, Limit, Page, decode_cursor, page_of
from fleet_server.uptime.model import Parts, Span, measures, percent, without_replay
from fleet_server.uptime.service import Summary, Uptime, Usage

DAY_MS: Final = 86_400_000
_MAX_MS: Final = 253_402_300_799_999

UnitQuery = Annotated[str | None, Query(max_length=200, description="Only this unit and those below, by path such as /bpp/n1/.")]
FromQuery = Annotated[int | None, Query(ge=0, le=_MAX_MS, description="Start, ms since 1970 UTC. Default: one day before the end.")]
ToQuery = Annotated[int | None, Query(ge=0, le=_MAX_MS, description="End, ms since 1970 UTC; never beyond now. Default: now.")]


class PartsOut(BaseModel):
    """Milliseconds by state; the first six add up to `commissioned_ms`."""

    working_ms: int
    degraded_ms: int
    failed_ms: int
    unknown_ms: int
    maintenance_ms: int
    excused_ms: int
    commissioned_ms: int
    replayed_ms: int = Field(description="The part of `working_ms` that only late evidence proves.")
    observations: int


class MeasuresOut(BaseModel):
    """Percentages, cut to four places; null where no time is left to judge."""

    strict_percent: str | None
    strict_without_replay_percent: str | None = Field(description="Under the ruling that time proven only by late evidence does not count.")
    contract_percent: str | None
    low_percent: str | None
    high_percent: str | None
    coverage_percent: str | None
    is_sufficient: bool = Field(description='Whether coverage reaches 95 %; below, read "insufficient evidence".')


class UsageOut(BaseModel):
    """What a position, or one of its functions, was over a span."""

    position_id: str
    code: str
    kind: Kind
    function: Function | None = Field(description="Null: the position as a whole, by its worst function at each instant.")
    parts: PartsOut
    measures: MeasuresOut


class PositionUptimeOut(BaseModel):
    """Uptime of one position; `whole` is null when it was not commissioned in the span."""

    from_ms: int
    to_ms: int
    whole: UsageOut | None
    functions: list[UsageOut]


class SummaryOut(BaseModel):
    """A unit: the pool, and how its positions lie. A mean alone would hide the dead ones."""

    positions: int
    pooled: PartsOut
    measures: MeasuresOut
    target_percent: str
    at_target: int
    worst: list[UsageOut]


class UnitUptimeOut(BaseModel):
    """Uptime of a unit, with one page of its positions by code."""

    from_ms: int
    to_ms: int
    summary: SummaryOut
    positions: Page[UsageOut]


def router(service: Uptime, guard: Guard, clock: Clock) -> APIRouter:
    """Return the routes, to be mounted under `/api/v1`."""
    api = APIRouter(tags=["uptime"])
    view = Annotated[Principal, Depends(guard.allow(Permission.VIEW))]

    @api.get("/positions/{code}/uptime")
    def position_uptime(principal: view, code: str, from_ms: FromQuery = None, to_ms: ToQuery = None) -> PositionUptimeOut:
        """Show how long a position was in which state, as a whole and by function."""
        ref, span = service.find(code, scope=principal.scope), _span(clock, from_ms, to_ms)
        whole = service.usage(scope=principal.scope, from_ms=span.from_ms, to_ms=span.to_ms, position_ids=[ref.id])
        functions = service.usage(scope=principal.scope, from_ms=span.from_ms, to_ms=span.to_ms, position_ids=[ref.id], by_function=True)
        return PositionUptimeOut(
            from_ms=span.from_ms,
            to_ms=span.to_ms,
            whole=_usage(whole[0]) if whole else None,
            functions=[_usage(usage) for usage in functions],
        )

    @api.get("/uptime")
    def unit_uptime(
        principal: view,
        unit: UnitQuery = None,
        from_ms: FromQuery = None,
        to_ms: ToQuery = None,
        target_percent: Annotated[int, Query(ge=0, le=100)] = 95,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> UnitUptimeOut:
        """Show how long the positions of a unit were in which state."""
        after, span = decode_cursor("uptime", cursor, str) or "", _span(clock, from_ms, to_ms)
        summary = service.summary(
            scope=narrowed(principal, unit), from_ms=span.from_ms, to_ms=span.to_ms, target=Fraction(target_percent, 100)
        )
        rows = [usage for usage in summary.usages if usage.code > after][: limit + 1]
        page = page_of(rows, limit=limit, listing="uptime", key=lambda usage: usage.code, show=_usage)
        return UnitUptimeOut(from_ms=span.from_ms, to_ms=span.to_ms, summary=_summary(summary), positions=page)

    return api


def _span(clock: Clock, from_ms: int | None, to_ms: int | None) -> Span:
    now_ms = clock.now_ms()
    end_ms = now_ms if to_ms is None else min(to_ms, now_ms)
    return Span(max(0, end_ms - DAY_MS) if from_ms is None else from_ms, end_ms)


def _parts(parts: Parts) -> PartsOut:
    return PartsOut(
        working_ms=parts.working_ms,
        degraded_ms=parts.degraded_ms,
        failed_ms=parts.failed_ms,
        unknown_ms=parts.unknown_ms,
        maintenance_ms=parts.maintenance_ms,
        excused_ms=parts.excused_ms,
        commissioned_ms=parts.commissioned_ms,
        replayed_ms=parts.replayed_ms,
        observations=parts.observations,
    )


def _measures(parts: Parts) -> MeasuresOut:
    found = measures(parts)
    return MeasuresOut(
        strict_percent=percent(found.strict),
        strict_without_replay_percent=percent(measures(without_replay(parts)).strict),
        contract_percent=percent(found.contract),
        low_percent=percent(found.low),
        high_percent=percent(found.high),
        coverage_percent=percent(found.coverage),
        is_sufficient=found.is_sufficient,
    )


def _usage(usage: Usage) -> UsageOut:
    return UsageOut(
        position_id=usage.position_id,
        code=usage.code,
        kind=usage.kind,
        function=usage.function,
        parts=_parts(usage.parts),
        measures=_measures(usage.parts),
    )


def _summary(summary: Summary) -> SummaryOut:
    return SummaryOut(
        positions=summary.positions,
        pooled=_parts(summary.pooled),
        measures=_measures(summary.pooled),
        target_percent=percent(summary.target, 2) or "",
        at_target=summary.at_target,
        worst=[_usage(usage) for usage in summary.worst],
    )
