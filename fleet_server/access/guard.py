"""Who is behind a request: FastAPI dependencies for every route."""

from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from fastapi import Request, Response

from fleet_server.access.model import Permission, Principal, Scope
from fleet_server.access.service import SESSION_MS, TOKEN_PREFIX, Access
from fleet_server.errors import Forbidden, NotFound, Rejected
from fleet_server.problems import Unauthenticated

COOKIE: Final = "ssz_session"
_FOUND: Final = "ssz.principal"
"""Where the answer is kept in the ASGI scope, so that several dependencies ask the database once."""
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """Bearer token or session cookie; a cookie counts for a change only when the request comes from our own pages."""

    def __init__(self, access: Access, *, public_url: str = "") -> None:
        """`public_url` is what browsers use: it says whether cookies need https, and is an origin of ours behind a proxy."""
        self._access = access
        self._is_https = public_url.startswith("https://")
        self._own_host = urlsplit(public_url).netloc

    def principal(self, request: Request) -> Principal:
        """Return who is asking.

        Raises:
            Unauthenticated: nobody, or what was shown is not good (any more).
            Forbidden: a page of another site made the browser ask.
        """
        known: Principal | None = request.scope.get(_FOUND)
        if known is None:
            known = request.scope[_FOUND] = self._find(request)
        return known

    def visitor(self, request: Request) -> Principal | None:
        """Return who is asking, None for nobody: for pages that greet everybody or lead to the sign-in."""
        try:
            return self.principal(request)
        except Unauthenticated:
            return None

    def is_still(self, request: Request, principal: Principal) -> bool:
        """Whether who asked is still the same, with the same rights: for answers that go on for hours. Blocking."""
        try:
            return self._find(request) == principal
        except Rejected:
            return False

    def allow(self, permission: Permission) -> Callable[[Request], Principal]:
        """Return a dependency that lets pass who has `permission`; others get 401 or 403."""

        def allowed(request: Request) -> Principal:
            principal = self.principal(request)
            if not principal.may(permission):
                raise Forbidden(f"The role {principal.role} may not do this ({permission}).")
            return principal

        return allowed

    def check_origin(self, request: Request) -> None:
        """Refuse changes that a page of another site makes the browser send.

        Source: the algorithm of Go's net/http.CrossOriginProtection (Sec-Fetch-Site first, else Origin against Host); what has
        neither header is no browser.

        Raises:
            Forbidden: it comes from elsewhere.
        """
        if request.method in _SAFE:
            return
        site = request.headers.get("sec-fetch-site")
        origin = request.headers.get("origin")
        if site in ("same-origin", "none") or (site is None and origin is None):
            return
        host = urlsplit(origin or "").netloc
        if site is None and host and host in (request.headers.get("host"), self._own_host):
            return
        raise Forbidden("This request came from a page of another site.")

    def remember(self, response: Response, session_secret: str) -> None:
        """Give the session's cookie to the browser."""
        response.headers["Cache-Control"] = "no-store"
        response.set_cookie(
            COOKIE, session_secret, max_age=SESSION_MS // 1000, path="/", httponly=True, secure=self._is_https, samesite="lax"
        )

    def forget(self, response: Response) -> None:
        """Take the session's cookie back."""
        response.delete_cookie(COOKIE, path="/", httponly=True, secure=self._is_https, samesite="lax")

    def _find(self, request: Request) -> Principal:
        header = request.headers.get("authorization")
        if header is not None:
            scheme, _, secret = header.partition(" ")
            if scheme.lower() != "bearer" or not secret.strip().startswith(TOKEN_PREFIX):
                raise Unauthenticated("The Authorization header is no API token (Bearer ssz_…).")
            return self._access.principal_of_token(secret.strip())
        session = request.cookies.get(COOKIE)
        if not session:
            raise Unauthenticated("Sign in, or send an API token.")
        principal = self._access.principal_of_session(session)
        self.check_origin(request)
        return principal


def narrowed(principal: Principal, unit: str | None) -> Scope:
    """Return the principal's scope, narrowed to a unit if one is asked for.

    Raises:
        Rejected: `unit` is no unit path.
        NotFound: it lies outside the scope.
    """
    try:
        scope = principal.scope.narrowed(unit)
    except ValueError as error:
        raise Rejected("unit is a path such as /bpp/n1/lumpini/.") from error
    if scope is None:
        raise NotFound(f"There is no unit {unit!r}.")
    return scope
