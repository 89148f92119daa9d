"""The addresses of the console."""

import asyncio
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Form, Request, Response
from starlette.responses import RedirectResponse, StreamingResponse

from fleet_server.access.guard import COOKIE
from fleet_server.console import account, examples, live, reference
from fleet_server.console import assets as asset_files
from fleet_server.console.facts import Viewer
from fleet_server.console.frame import Parts, answer, any_viewer_of, frame_of, language_of, parts_of, safe_path, viewer_if_any
from fleet_server.console.security import ErrorPages, SecurityHeaders
from fleet_server.console.services import ConsoleServices
from fleet_server.console.shown import Shown
from fleet_server.errors import NotFound


def install(app: FastAPI, services: ConsoleServices, *, tick_s: float = live.TICK_S) -> Callable[[], None]:
    """Give `app` the console: its routes, security headers on every answer, and problems shown as pages to people.

    Call what is returned (in the event loop) when the server shall stop: it ends the live feeds, which otherwise hold it up.
    """
    parts = parts_of(services, tick_s)
    app.include_router(_router(parts))

    def error_page(request: Request, status: int, detail: str) -> str:
        context = {
            "now_ms": services.clock.now_ms(),
            "viewer": viewer_if_any(parts, request),
            "is_demo": services.is_demo,
            "status": status,
            "detail": detail,
        }
        template = "error.txt" if "hx-request" in request.headers else "error.html"
        return parts.pages.render(template, language_of(request), context | frame_of(request))

    app.add_middleware(ErrorPages, page=error_page)
    app.add_middleware(SecurityHeaders, is_https=services.is_https)
    return parts.feed.close


def _router(parts: Parts) -> APIRouter:
    routes = APIRouter(include_in_schema=False)
    routes.include_router(asset_files.router(parts.assets))
    _add_pages(routes, parts)
    _add_feed(routes, parts)
    _add_acts(routes, parts)
    account.add_routes(routes, parts)
    return routes


def _add_pages(routes: APIRouter, parts: Parts) -> None:
    any_viewer = Depends(any_viewer_of(parts))

    async def page(request: Request, viewer: Viewer, view: str, subject: str = "") -> Response:
        after = await asyncio.to_thread(parts.services.changes.newest)
        acts = await parts.feed.acts(view)
        shown: Shown = await asyncio.to_thread(parts.views.show, view, viewer, subject=subject, acts=acts)
        context = shown.context | {"live_view": view, "live_subject": subject, "live_after": after}
        return await asyncio.to_thread(answer, parts, request, shown.template, context)

    @routes.get("/")
    async def overview(request: Request, viewer: Annotated[Viewer, any_viewer], unit: str = "") -> Response:
        return await page(request, viewer, "overview", unit)

    @routes.get("/positions/{code}")
    async def position(request: Request, code: str, viewer: Annotated[Viewer, any_viewer], span: str = "") -> Response:
        return await page(request, viewer, "position", f"{code}?{span}")

    @routes.get("/presses")
    async def presses(request: Request, viewer: Annotated[Viewer, any_viewer]) -> Response:
        return await page(request, viewer, "presses")

    @routes.get("/score")
    async def score(request: Request, viewer: Annotated[Viewer, any_viewer]) -> Response:
        return await page(request, viewer, "score")

    @routes.get("/design")
    def design(request: Request) -> Response:
        return answer(parts, request, "design.html", examples.design(parts.services.clock.now_ms()))

    @routes.get("/api")
    def api(request: Request) -> Response:
        return answer(parts, request, "api.html", {"rooms": reference.rooms(request.app.openapi())})


def _add_feed(routes: APIRouter, parts: Parts) -> None:
    any_viewer = Depends(any_viewer_of(parts))

    @routes.get("/live")
    async def feed(request: Request, viewer: Annotated[Viewer, any_viewer], view: str, subject: str = "", after: int = 0) -> Response:
        if not parts.views.has(view):
            raise NotFound("there is no such page")
        last = request.headers.get("last-event-id", "")
        wanted = live.Request(
            view=view,
            subject=subject,
            viewer=viewer,
            session=request.cookies.get(COOKIE, ""),
            language=language_of(request),
            after=int(last) if last.isascii() and last.isdigit() and len(last) < 20 else after,
        )
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(parts.feed.stream(wanted), media_type="text/event-stream", headers=headers)


def _add_acts(routes: APIRouter, parts: Parts) -> None:
    any_viewer, same_origin = Depends(any_viewer_of(parts)), Depends(parts.services.guard.check_origin)

    @routes.post("/presses/{event_id}/acknowledge", dependencies=[same_origin])
    def acknowledge(request: Request, event_id: str, viewer: Annotated[Viewer, any_viewer], back: Annotated[str, Form()] = "/") -> Response:
        parts.services.presses.acknowledge(event_id, viewer)
        return _done(request, back)

    @routes.post("/demo/act", dependencies=[same_origin])
    async def act(
        request: Request, _viewer: Annotated[Viewer, any_viewer], name: Annotated[str, Form()], target: Annotated[str, Form()] = ""
    ) -> Response:
        if not parts.services.is_demo or parts.services.demo is None:
            raise NotFound("there is no demo to act on")
        await parts.services.demo.act(name, target)
        return _done(request, "/#demo")


def _done(request: Request, back: str) -> Response:
    """Answer an act: the live feed brings its effect to a page that is alive; others are sent back to where they were."""
    if request.headers.get("hx-request"):
        return Response(status_code=204)
    return RedirectResponse(safe_path(back), status_code=303)
