"""What every answer to a browser carries, and problems shown to people as pages.

Both are ASGI middleware of our own, because they must not touch streams: an event stream passes through untouched.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "font-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)

_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}
_HSTS: Final = "max-age=31536000"


class SecurityHeaders:
    """Adds the headers; what a route set itself stays."""

    def __init__(self, app: ASGIApp, *, is_https: bool = False) -> None:
        """`is_https`: the console is reached by https only, and browsers shall remember it."""
        self._app = app
        self._headers = _HEADERS | ({"Strict-Transport-Security": _HSTS} if is_https else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                if headers.get("content-type", "").startswith("text/html"):
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, send_with_headers)


ErrorPage = Callable[[Request, int, str], str]
"""`(request, status, detail) -> HTML`, or plain words when a script asked. Blocking."""
_KEPT: Final = ("retry-after", "www-authenticate", "allow")
"""Headers of a problem that its page keeps."""


class ErrorPages:
    """Turns a problem (RFC 9457, or any JSON error) into a page when a person's browser asked for one.

    "Not logged in" becomes the way to the login page. An act of the page's own script is answered in plain words. The API, and
    anything that does not ask for HTML, keeps its JSON.
    """

    def __init__(self, app: ASGIApp, *, page: ErrorPage) -> None:
        """`page` renders the error."""
        self._app = app
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on; replace JSON errors."""
        if scope["type"] != "http" or not _wants_html(scope):
            await self._app(scope, receive, send)
            return
        held: list[Message] = []
        body = bytearray()

        async def send_or_hold(message: Message) -> None:
            if message["type"] == "http.response.start" and _is_problem(message):
                held.append(message)
            elif held and message["type"] == "http.response.body":
                body.extend(message.get("body", b""))
                if not message.get("more_body", False):
                    response = await asyncio.to_thread(self._answer, Request(scope), held[0], bytes(body))
                    await response(scope, receive, send)
            else:
                await send(message)

        await self._app(scope, receive, send_or_hold)

    def _answer(self, request: Request, problem: Message, body: bytes) -> Response:
        status, is_script = problem["status"], _is_script(request.headers)
        if status == 401 and request.method == "GET":
            return RedirectResponse(f"/login?next={quote(_address(request), safe='/')}", status_code=303)
        given = Headers(raw=problem["headers"])
        headers = {name: given[name] for name in _KEPT if name in given}
        text = self._page(request, status, _detail(body))
        return Response(text, status, headers, "text/plain" if is_script else "text/html")


def _wants_html(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return ("text/html" in headers.get("accept", "") or _is_script(headers)) and not scope["path"].startswith("/api/")


def _is_script(headers: Headers) -> bool:
    return "hx-request" in headers


def _address(request: Request) -> str:
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def _is_problem(message: Message) -> bool:
    return message["status"] >= 400 and "json" in Headers(raw=message["headers"]).get("content-type", "")


def _detail(body: bytes) -> str:
    try:
        problem: Any = json.loads(body)
    except ValueError:
        return ""
    detail = problem.get("detail", "") if isinstance(problem, dict) else ""
    return detail if isinstance(detail, str) else ""
