"""Logging in and out, one-time links, and who one is."""

from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, Request, Response
from starlette.responses import RedirectResponse

from fleet_server.access.guard import COOKIE
from fleet_server.access.model import MIN_PASSWORD_LENGTH
from fleet_server.console.facts import Viewer
from fleet_server.console.frame import Parts, account_viewer_of, answer, safe_path
from fleet_server.console.i18n import N_
from fleet_server.errors import Rejected
from fleet_server.problems import TooManyTries

WRONG_LOGIN: Final = N_("User name or password is wrong.")
WAIT: Final = N_("Too many tries. Wait a little, then try again.")
SPENT_LINK: Final = N_("This link was used already, or has expired. Ask the administrator for a new one.")
TOO_SHORT: Final = N_("The password is too short: at least %(n)s characters are needed.")
WEAK: Final = N_("This password is too easy to guess: use more different characters, and not the user name alone.")
DIFFERENT: Final = N_("The two passwords are not the same.")


def add_routes(routes: APIRouter, parts: Parts) -> None:
    """Add the routes of accounts."""
    _add_login(routes, parts)
    _add_setup(routes, parts)


def _add_login(routes: APIRouter, parts: Parts) -> None:
    account_viewer, same_origin = Depends(account_viewer_of(parts)), Depends(parts.services.guard.check_origin)
    accounts = parts.services.accounts

    def login_page(request: Request, *, back: str, user: str = "", fault: str = "", status: int = 200) -> Response:
        back = safe_path(back)
        context = {"back": back, "user": user, "fault": fault, "path": "/login", "address": f"/login?{urlencode({'next': back})}"}
        return answer(parts, request, "login.html", context, status=status)

    @routes.get("/login")
    def login(request: Request, next: str = "/", done: bool = False) -> Response:  # noqa: A002  # the word browsers know
        return answer(parts, request, "login.html", {"back": safe_path(next), "user": "", "fault": "", "is_set": done})

    @routes.post("/login", dependencies=[same_origin])
    def log_in(
        request: Request, user: Annotated[str, Form()], password: Annotated[str, Form()], back: Annotated[str, Form()] = "/"
    ) -> Response:
        try:
            session = accounts.log_in(user, password, address=request.client.host if request.client else "")
        except TooManyTries:
            return login_page(request, back=back, user=user, fault=WAIT, status=429)
        except Rejected:
            return login_page(request, back=back, user=user, fault=WRONG_LOGIN, status=401)
        response = RedirectResponse(safe_path(back), status_code=303)
        parts.services.guard.remember(response, session)
        return response

    @routes.post("/logout", dependencies=[same_origin])
    def log_out(request: Request) -> Response:
        session = request.cookies.get(COOKIE)
        if session:
            accounts.log_out(session)
        response = RedirectResponse("/", status_code=303)
        parts.services.guard.forget(response)
        return response

    @routes.get("/account")
    def account(request: Request, viewer: Annotated[Viewer, account_viewer]) -> Response:
        unit = next((unit for unit in parts.services.fleet.units(viewer.unit_path) if unit.path == viewer.unit_path), None)
        return answer(parts, request, "account.html", {"viewer": viewer, "unit": unit})


def _add_setup(routes: APIRouter, parts: Parts) -> None:
    same_origin, accounts = Depends(parts.services.guard.check_origin), parts.services.accounts

    def setup_page(request: Request, link: str, fault: str = "", status: int = 200) -> Response:
        try:
            user = accounts.link_user(link)
        except Rejected:
            return answer(parts, request, "setup.html", {"user": "", "fault": SPENT_LINK, "least": MIN_PASSWORD_LENGTH}, status=410)
        context = {"user": user, "fault": fault, "least": MIN_PASSWORD_LENGTH, "path": "/setup", "address": f"/setup/{link}"}
        response = answer(parts, request, "setup.html", context, status=status)
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    @routes.get("/setup/{link}")
    def setup(request: Request, link: str) -> Response:
        return setup_page(request, link)

    @routes.post("/setup/{link}", dependencies=[same_origin])
    def set_up(request: Request, link: str, password: Annotated[str, Form()], again: Annotated[str, Form()]) -> Response:
        if password != again:
            return setup_page(request, link, DIFFERENT, 422)
        if len(password) < MIN_PASSWORD_LENGTH:
            return setup_page(request, link, TOO_SHORT, 422)
        try:
            accounts.use_link(link, password)
        except Rejected:
            return setup_page(request, link, WEAK, 422)
        return RedirectResponse("/login?done=true", status_code=303)
