"""`/api/v1`: exemptions of positions."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field

from fleet_server.access.guard import Guard
from fleet_server.access.model import Permission, Principal
from fleet_server.exemptions.model import ExemptionKind
from fleet_server.exemptions.service import Exemptions
from fleet_server.paging import MAX_NUMBER

_MAX_MS: Final = 253_402_300_799_999
_NO_NUL: Final = r"^[^\x00]*$"
"""PostgreSQL can keep no text with a null character."""

Number = Annotated[int, Path(ge=1, le=MAX_NUMBER)]


class ExemptionIn(BaseModel):
    """A span to except."""

    model_config = ConfigDict(extra="forbid")

    kind: ExemptionKind
    from_ms: int = Field(ge=0, le=_MAX_MS)
    to_ms: int = Field(ge=0, le=_MAX_MS)
    reason: str = Field(min_length=1, max_length=500, pattern=_NO_NUL, description="Shown to everybody who sees the position.")
    document: str = Field(default="", max_length=200, pattern=_NO_NUL, description="Number or address of the paper; an excuse needs one.")


class EndIn(BaseModel):
    """Another end of an exemption."""

    model_config = ConfigDict(extra="forbid")

    to_ms: int = Field(ge=0, le=_MAX_MS)


class ExemptionOut(BaseModel):
    """An exemption in force."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    position_id: str
    kind: ExemptionKind
    from_ms: int
    to_ms: int
    reason: str
    document: str
    author: str
    created_at_ms: int


def router(service: Exemptions, guard: Guard) -> APIRouter:
    """Return the routes, to be mounted under `/api/v1`."""
    api = APIRouter(tags=["exemptions"])
    view = Annotated[Principal, Depends(guard.allow(Permission.VIEW))]
    declare = Annotated[Principal, Depends(guard.allow(Permission.DECLARE_EXEMPTION))]

    @api.get("/positions/{code}/exemptions")
    def exemptions(principal: view, code: str) -> list[ExemptionOut]:
        """List the exemptions of a position in force, newest first."""
        return [ExemptionOut.model_validate(found) for found in service.of_position(code, scope=principal.scope)]

    @api.post("/positions/{code}/exemptions", status_code=201)
    def exempt(principal: declare, code: str, body: ExemptionIn) -> ExemptionOut:
        """Except a span: maintenance before it starts, or an excuse with a document."""
        made = service.declare(
            code,
            scope=principal.scope,
            kind=body.kind,
            from_ms=body.from_ms,
            to_ms=body.to_ms,
            reason=body.reason,
            document=body.document,
            author=principal.actor,
        )
        return ExemptionOut.model_validate(made)

    @api.post("/exemptions/{number}/end", status_code=201)
    def move_end(principal: declare, number: Number, body: EndIn) -> ExemptionOut:
        """Let an exemption end at another time. The one that takes its place has a number of its own; the old one stays on record."""
        return ExemptionOut.model_validate(service.move_end(number, body.to_ms, scope=principal.scope, by=principal.actor))

    @api.delete("/exemptions/{number}", status_code=204)
    def withdraw(principal: declare, number: Number) -> None:
        """Withdraw an exemption, all of it; it stays on record."""
        service.withdraw(number, scope=principal.scope, by=principal.actor)

    return api
