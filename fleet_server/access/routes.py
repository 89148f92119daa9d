"""`/api/v1`: sessions, accounts, links, tokens, audit."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from fleet_server.access.guard import COOKIE, Guard
from fleet_server.access.model import Permission, Principal, Role, Scope
from fleet_server.access.service import Access, Link
from fleet_server.errors import Rejected
from fleet_server.paging import Cursor, Limit, Page, decode_cursor, page_of


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Out(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Credentials(_Body):
    """What somebody signs in with."""

    user: str = Field(max_length=256)
    password: str = Field(max_length=1024)


class Who(BaseModel):
    """Who is signed in."""

    name: str
    role: Role
    unit_path: str
    permissions: list[Permission]


class NewAccount(_Body):
    """An account to make."""

    user: str = Field(max_length=64)
    role: Role
    unit_path: str = Field(max_length=200)


class AccountOut(_Out):
    """An account."""

    user: str
    role: Role
    unit_path: str
    is_disabled: bool
    has_password: bool
    created_at_ms: int


class LinkOut(_Out):
    """A one-time link to set a password, shown once; its secret is used up by `links:use`."""

    user: str
    secret: str
    expires_at_ms: int


class UsedLink(_Body):
    """A one-time link and the new password."""

    secret: str = Field(max_length=128)
    password: str = Field(max_length=1024)


class NewToken(_Body):
    """An API token to make."""

    name: str = Field(max_length=64)
    role: Role
    unit_path: str = Field(max_length=200)
    expires_in_s: int | None = Field(default=None, ge=60, le=10 * 366 * 86_400)


class TokenOut(_Out):
    """An API token, without its secret."""

    name: str
    role: Role
    unit_path: str
    created_by: str
    created_at_ms: int
    expires_at_ms: int | None
    revoked_at_ms: int | None


class TokenSecret(BaseModel):
    """A new token's secret; it cannot be shown again."""

    name: str
    secret: str


class AuditOut(_Out):
    """One act."""

    id: int
    at_ms: int
    actor: str
    action: str
    subject: str
    unit_path: str
    data: dict[str, Any]


def router(access: Access, guard: Guard) -> APIRouter:
    """Return the routes, to be mounted under `/api/v1`."""
    routes = APIRouter()
    _add_sessions(routes, access, guard)
    _add_accounts(routes, access, guard)
    _add_tokens(routes, access, guard)
    _add_audit(routes, access, guard)
    return routes


def _add_sessions(routes: APIRouter, access: Access, guard: Guard) -> None:
    somebody = Depends(guard.principal)

    @routes.post("/sessions", status_code=201, tags=["access"])
    def log_in(credentials: Credentials, request: Request, response: Response) -> Who:
        """Sign in: the answer sets the session's cookie."""
        guard.check_origin(request)
        secret = access.log_in(credentials.user, credentials.password, address=request.client.host if request.client else "")
        guard.remember(response, secret)
        return _who(access.principal_of_session(secret))

    @routes.get("/sessions/current", tags=["access"])
    def who_am_i(principal: Annotated[Principal, somebody]) -> Who:
        """Say who is asking."""
        return _who(principal)

    @routes.delete("/sessions/current", status_code=204, tags=["access"])
    def log_out(request: Request, response: Response) -> None:
        """Sign out."""
        guard.check_origin(request)
        access.log_out(request.cookies.get(COOKIE, ""))
        guard.forget(response)

    @routes.post("/links:use", status_code=204, tags=["access"])
    def use_link(used: UsedLink, request: Request) -> None:
        """Set a password with a one-time link."""
        guard.check_origin(request)
        access.use_link(used.secret, used.password)


def _add_accounts(routes: APIRouter, access: Access, guard: Guard) -> None:
    manager = Depends(guard.allow(Permission.MANAGE_ACCOUNTS))

    @routes.get("/accounts", tags=["access"])
    def accounts(principal: Annotated[Principal, manager], limit: Limit = 100, cursor: Cursor = None) -> Page[AccountOut]:
        """List accounts of your units by user name."""
        after = decode_cursor("accounts", cursor, str)
        rows = access.accounts(principal.scope, after=after, limit=limit + 1)
        return page_of(rows, limit=limit, listing="accounts", key=lambda row: row.user, show=AccountOut.model_validate)

    @routes.post("/accounts", status_code=201, tags=["access"])
    def create(new: NewAccount, principal: Annotated[Principal, manager], response: Response) -> LinkOut:
        """Make an account; hand the one-time link to its owner."""
        return _link(access.create_account(new.user, new.role, new.unit_path, by=principal), response)

    @routes.post("/accounts/{user}:disable", status_code=204, tags=["access"])
    def disable(user: str, principal: Annotated[Principal, manager]) -> None:
        """Close an account: its sessions and tokens are dead at once."""
        access.disable(user, by=principal)

    @routes.post("/accounts/{user}:enable", status_code=204, tags=["access"])
    def enable(user: str, principal: Annotated[Principal, manager]) -> None:
        """Open an account again."""
        access.enable(user, by=principal)

    @routes.post("/accounts/{user}:reset", tags=["access"])
    def reset(user: str, principal: Annotated[Principal, manager], response: Response) -> LinkOut:
        """Take the password away; hand the one-time link to the owner."""
        return _link(access.reset(user, by=principal), response)


def _add_tokens(routes: APIRouter, access: Access, guard: Guard) -> None:
    manager = Depends(guard.allow(Permission.MANAGE_ACCOUNTS))

    @routes.get("/tokens", tags=["access"])
    def tokens(principal: Annotated[Principal, manager], limit: Limit = 100, cursor: Cursor = None) -> Page[TokenOut]:
        """List API tokens of your units by name."""
        after = decode_cursor("tokens", cursor, str)
        rows = access.tokens(principal.scope, after=after, limit=limit + 1)
        return page_of(rows, limit=limit, listing="tokens", key=lambda row: row.name, show=TokenOut.model_validate)

    @routes.post("/tokens", status_code=201, tags=["access"])
    def create_token(new: NewToken, principal: Annotated[Principal, manager], response: Response) -> TokenSecret:
        """Make an API token; keep its secret, it cannot be shown again."""
        response.headers["Cache-Control"] = "no-store"
        secret = access.create_token(new.name, new.role, _scope(new.unit_path), by=principal, expires_in_s=new.expires_in_s)
        return TokenSecret(name=new.name, secret=secret)

    @routes.delete("/tokens/{name}", status_code=204, tags=["access"])
    def revoke_token(name: str, principal: Annotated[Principal, manager]) -> None:
        """End an API token at once."""
        access.revoke_token(name, by=principal)


def _add_audit(routes: APIRouter, access: Access, guard: Guard) -> None:
    reader = Depends(guard.allow(Permission.VIEW_AUDIT))

    @routes.get("/audit", tags=["access"])
    def audit(principal: Annotated[Principal, reader], limit: Limit = 100, cursor: Cursor = None) -> Page[AuditOut]:
        """List what was done in your units, newest first."""
        before = decode_cursor("audit", cursor, int)
        rows = access.audit(principal.scope, before_id=before, limit=limit + 1)
        return page_of(rows, limit=limit, listing="audit", key=lambda row: row.id, show=AuditOut.model_validate)


def _who(principal: Principal) -> Who:
    permissions = [permission for permission in Permission if principal.may(permission)]
    return Who(name=principal.name, role=principal.role, unit_path=principal.scope.unit_path, permissions=permissions)


def _link(link: Link, response: Response) -> LinkOut:
    response.headers["Cache-Control"] = "no-store"
    return LinkOut.model_validate(link)


def _scope(unit_path: str) -> Scope:
    try:
        return Scope(unit_path)
    except ValueError as error:
        raise Rejected(f"{unit_path!r} is no unit path such as /bpp/n1/lumpini/.") from error
