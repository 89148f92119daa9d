"""Errors on HTTP: `application/problem+json` with stable types.

Source: RFC 9457. `type` is `/problems/{slug}`; slugs never change their meaning, `detail` is for people and may.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fleet_server.errors import Conflict, FleetError, Forbidden, Gone, NotFound, Rejected, Transient, Untrusted

_log = logging.getLogger(__name__)
MEDIA_TYPE: Final = "application/problem+json"
_RETRY_AFTER_S: Final = 5


class Unauthenticated(Rejected):
    """Nobody is signed in, or what was shown as proof is not (or no longer) good."""


class TooManyTries(Transient):
    """Wait before trying again."""

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        """`retry_after_s` is the wait in seconds, at least 1."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Problem:
    """What a response says went wrong."""

    status: int
    slug: str
    title: str
    detail: str = ""
    errors: Sequence[Mapping[str, Any]] = ()
    """One entry for each fault, such as a field's."""
    headers: Mapping[str, str] = field(default_factory=dict)
    members: Mapping[str, Any] = field(default_factory=dict)
    """What a program needs to put it right. Source: RFC 9457, 3.2."""

    def response(self) -> Response:
        """Return it as `application/problem+json`."""
        body: dict[str, Any] = {"type": f"/problems/{self.slug}", "title": self.title, "status": self.status}
        if self.detail:
            body["detail"] = self.detail
        if self.errors:
            body["errors"] = list(self.errors)
        body |= self.members
        return JSONResponse(body, status_code=self.status, headers=dict(self.headers), media_type=MEDIA_TYPE)


_KINDS: Final[Sequence[tuple[type[FleetError], int, str, str]]] = (
    (TooManyTries, 429, "too-many-tries", "Too many tries"),
    (Transient, 503, "try-again", "Not possible right now"),
    (Unauthenticated, 401, "not-signed-in", "Sign in first"),
    (NotFound, 404, "not-found", "Not found"),
    (Conflict, 409, "conflict", "Changed or used meanwhile"),
    (Gone, 410, "gone", "No longer kept"),
    (Forbidden, 403, "forbidden", "Not allowed"),
    (Rejected, 400, "rejected", "The request is at fault"),
    (Untrusted, 403, "untrusted", "Not genuine"),
)
"""The first that fits wins."""


def problem_of(error: FleetError) -> Problem:
    """Return how an error of ours looks on HTTP."""
    for kind, status, slug, title in _KINDS:
        if isinstance(error, kind):
            members = {"newest": error.newest} if isinstance(error, Gone) else {}
            return Problem(status, slug, title, str(error), headers=_headers_of(error), members=members)
    return Problem(500, "internal", "A defect of this server", str(error))


def _headers_of(error: FleetError) -> dict[str, str]:
    match error:
        case TooManyTries():
            return {"Retry-After": str(error.retry_after_s)}
        case Transient():
            return {"Retry-After": str(_RETRY_AFTER_S)}
        case Unauthenticated():
            return {"WWW-Authenticate": "Bearer"}
        case _:
            return {}


def install(app: FastAPI) -> None:
    """Let `app` answer every error as a problem."""
    app.add_exception_handler(FleetError, _on_fleet_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_middleware(_Unexpected)


async def _on_fleet_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, FleetError)
    problem = problem_of(error)
    if problem.status >= 500 or isinstance(error, Untrusted):
        _log.warning("%s %s: %s", request.method, _route(request.scope), error, exc_info=error.__cause__)
    return problem.response()


async def _on_invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # The input itself stays out: it may be a password.
    errors = [{"at": ".".join(str(part) for part in fault["loc"]), "message": fault["msg"]} for fault in error.errors()]
    detail = "; ".join(f"{fault['at']}: {fault['message']}" for fault in errors[:3])
    return Problem(422, "invalid-request", "A field is missing or out of bounds", detail, errors).response()


async def _on_http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code < 400:
        return Response(status_code=error.status_code, headers=headers)
    phrase = HTTPStatus(error.status_code).phrase
    slug = re.sub(r"[^a-z0-9]+", "-", phrase.lower())
    return Problem(error.status_code, slug, phrase, error.detail if error.detail != phrase else "", headers=headers).response()


class _Unexpected:
    """Answers what nobody foresaw with 500 and logs it once; an answer that has begun is broken off instead."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def watch(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception:
            if has_begun:
                raise  # the HTTP server logs it and closes the connection, so that nobody takes half an answer for a whole one
            _log.exception("%s %s failed", scope["method"], _route(scope))
            problem = Problem(
                500, "internal", "A defect of this server", "The error was logged. Try again; if it stays, tell whoever runs this server."
            )
            await problem.response()(scope, receive, send)


def _route(scope: Scope) -> str:
    """Return the address for the log, as its route is written: what a request puts into it may be a secret, such as a one-time link."""
    path: str = getattr(scope.get("route"), "path", "an unknown address")
    return path
