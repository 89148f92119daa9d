"""What all routes share: the parts they are made of, who is looking, in which language, inside which frame."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from fastapi import Request, Response
from starlette.responses import HTMLResponse

from fleet_server.access.guard import COOKIE
from fleet_server.console import i18n, live
from fleet_server.console.assets import Assets
from fleet_server.console.facts import Viewer
from fleet_server.console.i18n import Language
from fleet_server.console.pages import Pages
from fleet_server.console.services import ConsoleServices
from fleet_server.console.views import Views
from fleet_server.errors import FleetError
from fleet_server.problems import Unauthenticated

_LANGUAGE_S: Final = 31_536_000
_QUICK: Final = 4
"""A level of gzip that costs little."""

DEMO_VISITOR: Final = Viewer(name="demo", role="demo", unit_path="/", may_acknowledge=True, is_anonymous=True)


@dataclass(frozen=True, slots=True)
class Parts:
    """One console."""

    services: ConsoleServices
    assets: Assets
    pages: Pages
    views: Views
    feed: live.Feed


def parts_of(services: ConsoleServices, tick_s: float) -> Parts:
    """Put a console together."""
    assets = Assets()
    pages = Pages(assets)
    views = Views(services)
    return Parts(services, assets, pages, views, live.Feed(services, views, pages, tick_s=tick_s))


def language_of(request: Request) -> Language:
    """Return the visitor's language."""
    return i18n.choose(
        query=request.query_params.get("lang"),
        cookie=request.cookies.get(i18n.COOKIE),
        accept=request.headers.get("accept-language"),
    )


def frame_of(request: Request) -> dict[str, Any]:
    """Return what the frame around every page needs of the request; `address` is where a tap on the other language leads."""
    query = urlencode([(name, value) for name, value in request.query_params.multi_items() if name != "lang"])
    path = safe_path(request.url.path) if request.method == "GET" else "/"
    address = f"{path}?{query}" if query and request.method == "GET" else path
    return {"path": path, "address": address, "live_view": "", "live_subject": "", "live_after": 0, "oob": False}


def account_viewer_of(parts: Parts) -> Callable[[Request], Viewer]:
    """Return the dependency that asks for a login."""

    def viewer(request: Request) -> Viewer:
        session = request.cookies.get(COOKIE, "")
        found = parts.services.accounts.viewer(session) if session else None
        if found is None:
            raise Unauthenticated("log in first")
        return found

    return viewer


def any_viewer_of(parts: Parts) -> Callable[[Request], Viewer]:
    """Return the dependency that asks for a login, but in a demo lets everybody look."""
    account_viewer = account_viewer_of(parts)

    def viewer(request: Request) -> Viewer:
        try:
            return account_viewer(request)
        except Unauthenticated:
            if parts.services.is_demo:
                return DEMO_VISITOR
            raise

    return viewer


def viewer_if_any(parts: Parts, request: Request) -> Viewer | None:
    """Return who looks at a page that needs no login, None for nobody, or while it cannot be found out."""
    try:
        return any_viewer_of(parts)(request)
    except FleetError:
        return None


def answer(parts: Parts, request: Request, template: str, context: dict[str, Any], *, status: int = 200) -> Response:
    """Render a page in the visitor's language, and keep the language when the address asked for it."""
    language = language_of(request)
    base = {"now_ms": parts.services.clock.now_ms(), "is_demo": parts.services.is_demo}
    who = {} if "viewer" in context else {"viewer": viewer_if_any(parts, request)}
    response = _packed(request, parts.pages.render(template, language, base | who | frame_of(request) | context), status)
    if request.query_params.get("lang") == str(language):
        response.set_cookie(i18n.COOKIE, str(language), max_age=_LANGUAGE_S, samesite="lax", secure=parts.services.is_https, httponly=True)
    return response


def _packed(request: Request, html: str, status: int) -> Response:
    """Spare slow lines: a list of positions packs to a tenth. No page mixes a secret with what a stranger may choose."""
    headers = {"Vary": "Accept-Encoding"}
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return HTMLResponse(html, status, headers)
    return HTMLResponse(gzip.compress(html.encode(), _QUICK, mtime=0), status, headers | {"Content-Encoding": "gzip"})


def safe_path(address: str) -> str:
    """Return the address if it is a path of ours, else the first page."""
    parts = urlsplit(address)
    is_ours = address.startswith("/") and not address.startswith(("//", "/\\")) and not parts.scheme and not parts.netloc
    return address if is_ours else "/"
