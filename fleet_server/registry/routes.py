"""`/api/v1`: units, zones, positions, nodes, imports."""

import asyncio
from datetime import date
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from firmware_agent.contract.ids import Channel, parse_channel
from firmware_agent.contract.vocabulary import Function, Kind
from fleet_server.access.guard import Guard, narrowed
from fleet_server.access.model import Permission, Principal
from fleet_server.errors import Rejected
from fleet_server.paging import Cursor, Limit, Page, decode_cursor, page_of
from fleet_server.registry.csv_cells import ImportKind, free_text
from fleet_server.registry.model import Level
from fleet_server.registry.service import Registry

MAX_FILE_BYTES: Final = 32 * 1024 * 1024
"""Of an import; who serves these routes sees to it."""
UnitQuery = Annotated[str | None, Query(max_length=200, description="Only this unit and those below, by path such as /bpp/n1/.")]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Text = Annotated[str, Field(max_length=64), AfterValidator(free_text)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewNode(_Body):
    """A node to make known; its claim code is made with `/claims`."""

    serial: Name
    """As on its label."""
    unit: Annotated[str, Field(max_length=200)]
    """Path of its station, such as `/bpp/n1/lumpini/`."""
    label: Text = ""
    is_simulated: bool = False
    """For ever: no simulated node ever becomes a real one."""


class NewInstallation(_Body):
    """Hardware that is to serve a position from now on; what served it before stays in its history."""

    node: Name
    """Its id or serial number."""
    channel: Annotated[Channel, AfterValidator(parse_channel)]
    device_serial: Text = ""
    device_model: Text = ""


class _Out(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class UnitOut(_Out):
    """A unit."""

    path: str
    code: str
    level: Level
    name_th: str
    name_en: str


class ZoneOut(_Out):
    """A zone."""

    code: str
    name_th: str
    name_en: str
    area_km2: float | None
    lead_unit_path: str
    stations: list[str]


class InstallationOut(_Out):
    """Hardware that served a position; `to_ms` null: it still does."""

    node: str
    channel: str
    from_ms: int
    to_ms: int | None
    device_serial: str
    device_model: str


class PositionOut(_Out):
    """A position."""

    id: str
    code: str
    kind: Kind
    functions: list[Function]
    unit_path: str
    zone_code: str
    label_th: str
    label_en: str
    lat: float
    lon: float
    innovation_type: str | None
    supervision_ms: int
    commissioned_at_ms: int | None
    retired_at_ms: int | None
    owner: str
    funder: str
    maintainer: str
    warranty_until: date | None


class PositionDetails(PositionOut):
    """A position with all hardware that ever served it, oldest first."""

    installations: list[InstallationOut]


class NodeOut(_Out):
    """A node."""

    id: str
    serial: str
    unit_path: str
    is_simulated: bool
    label: str


class ChannelOut(_Out):
    """What a channel of a node serves now."""

    channel: str
    position: str


class NodeDetails(NodeOut):
    """A node with what it serves now."""

    channels: list[ChannelOut]


class FaultOut(_Out):
    """A fault or a warning; rows count from 1, the heading."""

    row: int
    column: str
    message: str


class ReportOut(_Out):
    """What a file did, or would do; with an error nothing was written."""

    kind: ImportKind
    is_dry_run: bool
    rows: int
    created: int
    updated: int
    unchanged: int
    errors: list[FaultOut]
    warnings: list[FaultOut]


def router(service: Registry, guard: Guard) -> APIRouter:
    """Return the routes, to be mounted under `/api/v1`."""
    routes = APIRouter(tags=["registry"])
    _add_places(routes, service, guard)
    _add_positions(routes, service, guard)
    _add_position_acts(routes, service, guard)
    _add_nodes(routes, service, guard)
    _add_imports(routes, service, guard)
    return routes


def _add_places(routes: APIRouter, service: Registry, guard: Guard) -> None:
    viewer = Depends(guard.allow(Permission.VIEW))

    @routes.get("/units")
    def units(principal: Annotated[Principal, viewer], unit: UnitQuery = None, limit: Limit = 100, cursor: Cursor = None) -> Page[UnitOut]:
        """List units by path."""
        after = decode_cursor("units", cursor, str) or ""
        rows = sorted((row for row in service.units(narrowed(principal, unit)) if row.path > after), key=lambda row: row.path)
        return page_of(rows, limit=limit, listing="units", key=lambda row: row.path, show=UnitOut.model_validate)

    @routes.get("/zones")
    def zones(principal: Annotated[Principal, viewer], unit: UnitQuery = None, limit: Limit = 100, cursor: Cursor = None) -> Page[ZoneOut]:
        """List zones by code."""
        after = decode_cursor("zones", cursor, str) or ""
        rows = sorted((row for row in service.zones(narrowed(principal, unit)) if row.code > after), key=lambda row: row.code)
        return page_of(rows, limit=limit, listing="zones", key=lambda row: row.code, show=ZoneOut.model_validate)


def _add_positions(routes: APIRouter, service: Registry, guard: Guard) -> None:
    viewer = Depends(guard.allow(Permission.VIEW))

    @routes.get("/positions")
    def positions(
        principal: Annotated[Principal, viewer],
        unit: UnitQuery = None,
        kind: Kind | None = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Page[PositionOut]:
        """List positions by code."""
        after = decode_cursor("positions", cursor, str)
        rows = service.positions(narrowed(principal, unit), kind=kind, after=after, limit=limit + 1)
        return page_of(rows, limit=limit, listing="positions", key=lambda row: row.code, show=PositionOut.model_validate)

    @routes.get("/positions/{code}")
    def position(code: str, principal: Annotated[Principal, viewer]) -> PositionDetails:
        """Show a position with its hardware, past and present."""
        return _details(service, code, principal)


def _add_position_acts(routes: APIRouter, service: Registry, guard: Guard) -> None:
    editor = Depends(guard.allow(Permission.EDIT_REGISTRY))

    @routes.post("/positions/{code}:install")
    def install(code: str, wish: NewInstallation, principal: Annotated[Principal, editor]) -> PositionDetails:
        """Let a node's channel serve the position from now on: its first hardware, or a swap."""
        service.install(
            code,
            wish.node,
            wish.channel,
            actor=principal.actor,
            scope=principal.scope,
            device_serial=wish.device_serial,
            device_model=wish.device_model,
        )
        return _details(service, code, principal)

    @routes.post("/positions/{code}:retire")
    def retire(code: str, principal: Annotated[Principal, editor]) -> PositionDetails:
        """End a position for ever: its hardware leaves it, its history stays, its time stops counting."""
        service.retire(code, actor=principal.actor, scope=principal.scope)
        return _details(service, code, principal)


def _details(service: Registry, code: str, principal: Principal) -> PositionDetails:
    found = service.position(code, principal.scope)
    installations = [InstallationOut.model_validate(row) for row in service.directory().installations(found.id)]
    return PositionDetails(**PositionOut.model_validate(found).model_dump(), installations=installations)


def _add_nodes(routes: APIRouter, service: Registry, guard: Guard) -> None:
    viewer = Depends(guard.allow(Permission.VIEW))
    editor = Depends(guard.allow(Permission.EDIT_REGISTRY))

    @routes.post("/nodes", status_code=201)
    def add_node(new: NewNode, principal: Annotated[Principal, editor], response: Response) -> NodeDetails:
        """Make a node known."""
        node = service.add_node(
            new.serial, new.unit, actor=principal.actor, is_simulated=new.is_simulated, label=new.label, scope=principal.scope
        )
        response.headers["Location"] = f"/api/v1/nodes/{node}"
        return NodeDetails(**NodeOut.model_validate(service.node(node, principal.scope)).model_dump(), channels=[])

    @routes.get("/nodes")
    def nodes(principal: Annotated[Principal, viewer], unit: UnitQuery = None, limit: Limit = 100, cursor: Cursor = None) -> Page[NodeOut]:
        """List nodes by serial number."""
        after = decode_cursor("nodes", cursor, str)
        rows = service.nodes(narrowed(principal, unit), after=after, limit=limit + 1)
        return page_of(rows, limit=limit, listing="nodes", key=lambda row: row.serial, show=NodeOut.model_validate)

    @routes.get("/nodes/{name}")
    def node(name: str, principal: Annotated[Principal, viewer]) -> NodeDetails:
        """Show a node, by id or serial number, with what it serves."""
        found = service.node(name, principal.scope)
        directory = service.directory()
        channels = [
            ChannelOut(channel=row.channel, position=directory.positions[row.position_id].code)
            for row in directory.channels(found.id)
            if row.position_id in directory.positions and principal.scope.contains(directory.positions[row.position_id].unit_path)
        ]
        return NodeDetails(**NodeOut.model_validate(found).model_dump(), channels=channels)


def _add_imports(routes: APIRouter, service: Registry, guard: Guard) -> None:
    editor = Depends(guard.allow(Permission.EDIT_REGISTRY))

    @routes.post(
        "/imports/{kind}", openapi_extra={"requestBody": {"required": True, "content": {"text/csv": {"schema": {"type": "string"}}}}}
    )
    async def import_csv(kind: ImportKind, request: Request, principal: Annotated[Principal, editor], dry_run: bool = False) -> ReportOut:
        """Bring a CSV file (UTF-8) in: all rows or none. `dry_run` only says what would happen."""
        text = await _text(request)
        report = await asyncio.to_thread(service.import_csv, kind, text, dry_run=dry_run, actor=principal.actor, scope=principal.scope)
        return ReportOut.model_validate(report)


async def _text(request: Request) -> str:
    try:
        return (await request.body()).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Rejected("The file is not UTF-8. In a spreadsheet, save it as “CSV UTF-8”.") from error
