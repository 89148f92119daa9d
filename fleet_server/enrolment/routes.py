"""`/api/v1/claims`: claim codes are made here, and people vouch for nodes. Nodes themselves talk EST, see `est_app`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from fleet_server.access.guard import Guard, narrowed
from fleet_server.access.model import Permission, Principal
from fleet_server.enrolment.model import State
from fleet_server.enrolment.service import Claim, EnrolmentService
from fleet_server.paging import Cursor, Limit, Page, decode_cursor, page_of

Name = Annotated[str, Field(max_length=64)]
UnitQuery = Annotated[str | None, Query(max_length=200, description="Only what lies in this unit or below, such as /bpp/n1/.")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Out(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class NewClaim(_Body):
    """A node that needs its first claim code."""

    node: Name
    """Its id or serial."""
    approve: bool = False
    """Vouch for it at once: its first request gets a certificate."""


class Reissue(_Body):
    """How to make a new code."""

    approve: bool = False


class ClaimOut(_Out):
    """A claim code, shown this once."""

    node_id: str
    serial: str
    code: str
    expires_at_ms: int
    state: State


class EnrolmentOut(_Out):
    """How far a node is trusted; never its code."""

    node_id: str
    serial: str
    unit_path: str
    state: State
    is_locked: bool
    wrong_tries: int
    generation: int
    fingerprint: str | None
    claim_expires_at_ms: int
    changed_at_ms: int


class CertificateOut(_Out):
    """A certificate that was issued; `superseded_at_ms` null: it is the node's own."""

    serial: str
    fingerprint: str
    generation: int
    not_before_ms: int
    not_after_ms: int
    issued_at_ms: int
    superseded_at_ms: int | None


class EnrolmentDetails(EnrolmentOut):
    """How far a node is trusted, with all its certificates, newest first."""

    certificates: list[CertificateOut]


def router(service: EnrolmentService, guard: Guard) -> APIRouter:
    """Return the routes, to be mounted under `/api/v1`."""
    routes = APIRouter(tags=["enrolment"])
    _add_views(routes, service, guard)
    _add_acts(routes, service, guard)
    return routes


def _add_views(routes: APIRouter, service: EnrolmentService, guard: Guard) -> None:
    viewer = Depends(guard.allow(Permission.VIEW))

    @routes.get("/claims")
    def claims(
        principal: Annotated[Principal, viewer],
        unit: UnitQuery = None,
        state: State | None = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Page[EnrolmentOut]:
        """List how far nodes are trusted, by serial; `state=pending` are those that wait for approval."""
        after = decode_cursor("claims", cursor, str) or ""
        rows = service.enrolments(scope=narrowed(principal, unit), state=state, after=after, limit=limit + 1)
        return page_of(rows, limit=limit, listing="claims", key=lambda row: row.serial, show=EnrolmentOut.model_validate)

    @routes.get("/claims/{node}")
    def claim(node: str, principal: Annotated[Principal, viewer]) -> EnrolmentDetails:
        """Show how far a node is trusted, and its certificates."""
        found = EnrolmentOut.model_validate(service.enrolment(node, scope=principal.scope))
        certificates = [CertificateOut.model_validate(row) for row in service.certificates(node, scope=principal.scope)]
        return EnrolmentDetails(**found.model_dump(), certificates=certificates)


def _add_acts(routes: APIRouter, service: EnrolmentService, guard: Guard) -> None:
    enroller = Depends(guard.allow(Permission.ENROL_NODE))

    @routes.post("/claims", status_code=201)
    def register(new: NewClaim, principal: Annotated[Principal, enroller], response: Response) -> ClaimOut:
        """Make the first claim code of a node; print it now, it cannot be shown again."""
        made = service.register(new.node, actor=principal.actor, scope=principal.scope, approve=new.approve)
        return _shown_once(made, response)

    @routes.post("/claims/{node}:reissue", status_code=201)
    def reissue(node: str, wish: Reissue, principal: Annotated[Principal, enroller], response: Response) -> ClaimOut:
        """Make a new code: lost label, locked, expired, or hardware that lost its key. The old code is dead at once."""
        made = service.reissue_claim(node, actor=principal.actor, scope=principal.scope, approve=wish.approve)
        return _shown_once(made, response)

    @routes.post("/claims/{node}:approve")
    def approve(node: str, principal: Annotated[Principal, enroller]) -> EnrolmentOut:
        """Vouch for a node: its next request with the right code gets a certificate."""
        return EnrolmentOut.model_validate(service.approve(node, actor=principal.actor, scope=principal.scope))


def _shown_once(made: Claim, response: Response) -> ClaimOut:
    response.headers["Cache-Control"] = "no-store"
    return ClaimOut.model_validate(made)
