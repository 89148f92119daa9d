"""`/api/v1/commands`."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from firmware_agent.contract.vocabulary import Action
from fleet_server.access.guard import Guard, narrowed
from fleet_server.access.model import Permission, Principal
from fleet_server.commands.model import DEFAULT_EXPIRY_S, MAX_EXPIRY_S, MIN_EXPIRY_S, CommandState
from fleet_server.commands.service import Commands
from fleet_server.paging import Cursor, Limit, Page, decode_cursor, page_of


class NewCommand(BaseModel):
    """An act on the device at a position."""

    model_config = ConfigDict(extra="forbid")

    position: str = Field(max_length=64, description="The position's code.")
    action: Action
    args: dict[str, Any] = Field(
        default_factory=dict,
        description="lamp.override: level_percent (0-100), duration_s (0-43200; 0 ends it). drill.begin: duration_s (1-1800).",
    )
    expires_in_s: float = Field(default=DEFAULT_EXPIRY_S, ge=MIN_EXPIRY_S, le=MAX_EXPIRY_S)


class CommandOut(BaseModel):
    """A command and what became of it; `succeeded` means that its effect was measured."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    position_code: str
    node: str
    channel: str
    unit_path: str
    action: Action
    args: dict[str, Any]
    state: CommandState
    issued_by: str
    issued_at_ms: int
    expires_at_ms: int
    sent_at_ms: int | None
    finished_at_ms: int | None
    is_presumed: bool
    message: str
    measured: dict[str, float]


def router(service: Commands, guard: Guard) -> APIRouter:
    """Return the routes, to be mounted under `/api/v1`."""
    routes = APIRouter(tags=["commands"])
    viewer = Depends(guard.allow(Permission.VIEW))
    commander = Depends(guard.allow(Permission.COMMAND_DEVICE))

    @routes.post("/commands", status_code=202)
    def issue(new: NewCommand, principal: Annotated[Principal, commander]) -> CommandOut:
        """Send a command; follow it under its id until it has ended."""
        issued = service.issue(new.position, new.action, new.args, principal=principal, expires_in_s=new.expires_in_s)
        return CommandOut.model_validate(issued)

    @routes.get("/commands")
    def commands(
        principal: Annotated[Principal, viewer],
        unit: Annotated[str | None, Query(max_length=200)] = None,
        position: Annotated[str | None, Query(max_length=64)] = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Page[CommandOut]:
        """List commands, the last issued first."""
        before = decode_cursor("commands", cursor, int)
        rows = service.recent(narrowed(principal, unit), position_code=position, before=before, limit=limit + 1)
        return page_of(rows, limit=limit, listing="commands", key=lambda row: row.number, show=CommandOut.model_validate)

    @routes.get("/commands/{command_id}")
    def command(command_id: str, principal: Annotated[Principal, viewer]) -> CommandOut:
        """Show a command."""
        return CommandOut.model_validate(service.command(command_id, principal.scope))

    return routes
