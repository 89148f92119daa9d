"""What all routes share: the parts they are made of, who is looking, in which language, inside which frame."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

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
from fleet_server.problems import Unauthenticated

_LANGUAGE_S: Final = 31_536_000

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
    """Return what the frame around every page needs of the request."""
    return {"path": safe_path(request.url.path), "live_view": "", "live_subject": "", "live_after": 0, "oob": False}


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


def answer(parts: Parts, request: Request, template: str, context: dict[str, Any], *, status: int = 200) -> Response:
    """Render a page in the visitor's language, and keep the language when the address asked for it."""
    language = language_of(request)
    base = {
        "now_ms": parts.services.clock.now_ms(),
        "is_demo": parts.services.is_demo,
        "viewer": DEMO_VISITOR if parts.services.is_demo else None,
    }
    response = HTMLResponse(parts.pages.render(template, language, base | frame_of(request) | context), status_code=status)
    if request.query_params.get("lang") == str(language):
        response.set_cookie(i18n.COOKIE, str(language), max_age=_LANGUAGE_S, samesite="lax", secure=parts.services.is_https, httponly=True)
    return response


def safe_path(address: str) -> str:
    """Return the address if it is a path of ours, else the first page."""
    parts = urlsplit(address)
    is_ours = address.startswith("/") and not address.startswith(("//", "/\\")) and not parts.scheme and not parts.netloc
    return address if is_ours else "/"
