"""`/api/v1/presses`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from fleet_server.access.guard import Guard, narrowed
from fleet_server.access.model import Permission, Principal
from fleet_server.alarms.model import Press, PressState
from fleet_server.alarms.service import Alarms
from fleet_server.clock import Clock
from fleet_server.paging import Cursor, Limit, Page, decode_cursor, page_of


class _Stored(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    event_id: str
    node: str
    channel: str
    position_code: str | None
    unit_path: str
    occurred_at_ms: int
    received_at_ms: int
    latency_ms: int
    is_dated: bool
    is_drill: bool
    is_late: bool
    is_boot_asserted: bool
    is_simulated: bool
    state: PressState
    version: int
    acknowledged_by: str | None
    acknowledged_at_ms: int | None
    closed_by: str | None
    closed_at_ms: int | None


class PressOut(_Stored):
    """A press of a panic button, drill or not, with its place."""

    age_ms: int
    label_th: str = ""
    label_en: str = ""
    lat: float | None = None
    lon: float | None = None


class Expected(BaseModel):
    """What the caller saw."""

    model_config = ConfigDict(extra="forbid")

    expected_version: int | None = Field(default=None, ge=1, description="Refuse with 409 if the press is not at this version any more.")


def router(service: Alarms, guard: Guard, clock: Clock) -> APIRouter:
    """Return the routes, to be mounted under `/api/v1`."""
    routes = APIRouter(tags=["presses"])
    viewer = Depends(guard.allow(Permission.VIEW))
    answerer = Depends(guard.allow(Permission.ACKNOWLEDGE_PRESS))

    def show(press: Press) -> PressOut:
        place: dict[str, object] = {}
        if press.position is not None:
            place = {name: getattr(press.position, name) for name in ("label_th", "label_en", "lat", "lon")}
        stored = _Stored.model_validate(press).model_dump()
        return PressOut.model_validate({**stored, **place, "age_ms": press.age_ms(clock.now_ms())})

    @routes.get("/presses")
    def presses(
        principal: Annotated[Principal, viewer],
        unit: Annotated[str | None, Query(max_length=200)] = None,
        state: PressState | None = None,
        is_drill: bool | None = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Page[PressOut]:
        """List presses, the last raised first."""
        before = decode_cursor("presses", cursor, int)
        rows = service.recent(narrowed(principal, unit), state=state, is_drill=is_drill, before=before, limit=limit + 1)
        return page_of(rows, limit=limit, listing="presses", key=lambda row: row.number, show=show)

    @routes.get("/presses/{event_id}")
    def press(event_id: str, principal: Annotated[Principal, viewer]) -> PressOut:
        """Show a press."""
        return show(service.press(event_id, principal.scope))

    @routes.post("/presses/{event_id}:acknowledge")
    def acknowledge(event_id: str, principal: Annotated[Principal, answerer], expected: Expected | None = None) -> PressOut:
        """Take a press: the first to do so has it."""
        version = None if expected is None else expected.expected_version
        return show(service.acknowledge(event_id, principal, expected_version=version))

    @routes.post("/presses/{event_id}:close")
    def close(event_id: str, principal: Annotated[Principal, answerer], expected: Expected | None = None) -> PressOut:
        """Say that an acknowledged press is dealt with."""
        version = None if expected is None else expected.expected_version
        return show(service.close(event_id, principal, expected_version=version))

    return routes
