"""`/api/v1`: what positions and nodes are now."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict

from firmware_agent.contract.vocabulary import Function, Kind
from fleet_server.access.guard import Guard, narrowed
from fleet_server.access.model import Permission, Principal
from fleet_server.paging import Cursor, Limit, Page, decode_cursor, page_of
from fleet_server.presence.layers import Layer
from fleet_server.presence.model import State
from fleet_server.presence.service import Presence

UnitQuery = Annotated[str | None, Query(max_length=200, description="Only this unit and those below, by path such as /bpp/n1/.")]
KindQuery = Annotated[Kind | None, Query(description="Only positions of this kind.")]


class _Out(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class FunctionOut(_Out):
    """One function of a position, now."""

    function: Function
    state: State
    cause: str
    since_ms: int | None
    observed_at_ms: int | None


class StateOut(_Out):
    """A position now: the worst of its functions."""

    position_id: str
    code: str
    kind: Kind
    unit_path: str
    zone_code: str
    state: State
    cause: str
    since_ms: int | None
    observed_at_ms: int | None
    functions: list[FunctionOut]
    node: str | None
    channel: str | None
    is_simulated: bool
    is_commissioned: bool


class LayerOut(_Out):
    """One layer; `is_ok` null: hidden by a broken layer before it."""

    layer: Layer
    is_ok: bool | None
    cause: str
    since_ms: int | None
    advice: str


class StateDetails(StateOut):
    """A position now, layer by layer from the server outwards."""

    layers: list[LayerOut]


class NodeStateOut(_Out):
    """A node now."""

    node: str
    serial: str
    unit_path: str
    is_online: bool
    cause: str
    since_ms: int | None
    session: str
    last_heartbeat_at_ms: int | None
    agent: str
    is_simulated: bool


def router(service: Presence, guard: Guard) -> APIRouter:
    """Return the routes, to be mounted under `/api/v1`."""
    api = APIRouter(tags=["states"])
    view = Annotated[Principal, Depends(guard.allow(Permission.VIEW))]

    @api.get("/states")
    def states(
        principal: view, unit: UnitQuery = None, kind: KindQuery = None, limit: Limit = 100, cursor: Cursor = None
    ) -> Page[StateOut]:
        """List what positions are now, by code."""
        after = decode_cursor("states", cursor, str) or ""
        rows = service.states(scope=narrowed(principal, unit), after=after, limit=limit + 1, kind=kind)
        return page_of(rows, limit=limit, listing="states", key=lambda row: row.code, show=StateOut.model_validate)

    @api.get("/states/nodes")
    def node_states(principal: view, unit: UnitQuery = None, limit: Limit = 100, cursor: Cursor = None) -> Page[NodeStateOut]:
        """List which nodes are online, by serial number."""
        after = decode_cursor("node-states", cursor, str) or ""
        rows = [row for row in service.nodes(scope=narrowed(principal, unit)) if row.serial > after]
        return page_of(rows[: limit + 1], limit=limit, listing="node-states", key=lambda row: row.serial, show=NodeStateOut.model_validate)

    @api.get("/positions/{code}/status")
    def status(principal: view, code: str) -> StateDetails:
        """Show what a position is now, and which layer is broken when it does not work."""
        found = service.position(code, scope=principal.scope)
        state = StateOut.model_validate(found.status)
        return StateDetails(**dict(state), layers=[LayerOut.model_validate(layer) for layer in found.layers])

    return api
