"""EST over HTTP, for a TLS listener of its own that asks for no client certificate.

Source: RFC 7030 §3.2, §4.1, §4.2, §4.5. Failures are short plain text; 401 has no body, because Bouncy Castle's client
stumbles over one.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from cryptography import x509
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from fleet_server.enrolment.model import Cause
from fleet_server.enrolment.service import EnrolmentService, Issued, Pending, Refused
from fleet_server.errors import FleetError, Transient
from provisioning import est
from provisioning.errors import Rejected

_log = logging.getLogger(__name__)

_RETRY_S: Final = 30
_CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="enrolment"'}


def est_app(service: EnrolmentService, authorities: Sequence[x509.Certificate], *, body_timeout_s: float = 10.0) -> Starlette:
    """Return the application of the enrolment listener.

    Args:
        service: decides.
        authorities: what `cacerts` hands out: the root and the CA that issues device certificates.
        body_timeout_s: how long a sender may take for its request.
    """
    app = Starlette(
        routes=[
            Route(f"{est.PATH}/cacerts", _cacerts, methods=["GET"]),
            Route(f"{est.PATH}/csrattrs", _csrattrs, methods=["GET"]),
            Route(f"{est.PATH}/simpleenroll", _simpleenroll, methods=["POST"]),
        ],
        exception_handlers={HTTPException: _http_failed, FleetError: _failed, Exception: _failed},
    )
    app.state.service = service
    app.state.authorities = tuple(authorities)
    app.state.body_timeout_s = body_timeout_s
    return app


async def _cacerts(request: Request) -> Response:
    body = est.encode_certificates(request.app.state.authorities, user_agent=_user_agent(request))
    return Response(body, headers=dict(est.CERTIFICATES_HEADERS))


async def _csrattrs(request: Request) -> Response:
    body = est.encode_body(est.CSR_ATTRIBUTES, user_agent=_user_agent(request))
    return Response(body, headers=dict(est.CSR_ATTRIBUTES_HEADERS))


async def _simpleenroll(request: Request) -> Response:
    login = est.read_login(request.headers.get("authorization", ""))
    if login is None:
        return Response(status_code=401, headers=_CHALLENGE)
    try:
        applicant = est.read_request(est.decode_body(await _body(request)))
    except Rejected as error:
        return _text(400, str(error))
    if applicant.was_repaired:
        _log.info("A request had NULL parameters in its signature algorithm, and was repaired")
    service: EnrolmentService = request.app.state.service
    peer = request.client.host if request.client else ""
    return _answer(await service.simpleenroll(login, applicant, peer=peer), _user_agent(request))


def _answer(answer: Issued | Pending | Refused, user_agent: str) -> Response:
    match answer:
        case Issued():
            return Response(est.encode_certificates([answer.certificate], user_agent=user_agent), headers=dict(est.CERTIFICATES_HEADERS))
        case Pending():
            return _text(202, "Waiting for approval.", {"Retry-After": str(answer.retry_after_s)})
        case Refused(cause=Cause.TOO_MANY):
            return _text(429, "Too many wrong tries from this address.", {"Retry-After": str(answer.retry_after_s or _RETRY_S)})
        case Refused(cause=Cause.KEY_SEEN):
            # Only who has the right code gets here, so nothing is given away.
            return _text(400, "This key was used before: make a new one.")
        case Refused():
            return Response(status_code=401, headers=_CHALLENGE)


async def _body(request: Request) -> bytes:
    """Read the body, but no more of it than a request can have.

    Raises:
        HTTPException: 413 it is too large, 408 it comes too slowly, 400 the sender went away.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(request.app.state.body_timeout_s):
            async for part in request.stream():
                body += part
                if len(body) > est.LARGEST_BODY:
                    raise HTTPException(413, f"A request has at most {est.LARGEST_BODY} bytes.")
    except TimeoutError as error:
        raise HTTPException(408, "The request came too slowly.") from error
    except ClientDisconnect as error:
        raise HTTPException(400, "The request broke off.") from error
    return bytes(body)


async def _http_failed(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        return _text(400, "The request cannot be understood.")
    return _text(error.status_code, error.detail, error.headers)


async def _failed(_request: Request, error: Exception) -> Response:
    """Answer 503 whatever broke: a node that hears it comes back, and nothing was changed. What nobody foresaw is logged by uvicorn."""
    if isinstance(error, FleetError) and not isinstance(error, Transient):
        _log.error("Enrolment failed", exc_info=error)
    return _text(503, "Try again later.", {"Retry-After": str(_RETRY_S)})


def _text(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
    return PlainTextResponse(sentence + "\n", status_code=status, headers=dict(headers or {}))


def _user_agent(request: Request) -> str:
    return request.headers.get("user-agent", "")
