"""Errors on HTTP are problems with stable types."""

import logging
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import APIRouter, FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from fleet_server import problems
from fleet_server.errors import Conflict, FleetError, Forbidden, Gone, NotFound, Rejected, Transient, Untrusted
from fleet_server.problems import TooManyTries, Unauthenticated
from fleet_server.storage import StorageUnavailable


class Form(BaseModel):
    user: str
    password: int


def app_raising(error: Exception) -> FastAPI:
    app = FastAPI()
    problems.install(app)

    @app.get("/fails")
    def fails() -> None:
        raise error

    @app.post("/form")
    def form(form: Form) -> None: ...

    return app


async def ask(app: FastAPI, method: str = "GET", path: str = "/fails", json: object = None) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://fleet") as client:
        return await client.request(method, path, json=json)


@pytest.mark.parametrize(
    ("error", "status", "slug"),
    [
        (NotFound("no such position"), 404, "not-found"),
        (Conflict("changed meanwhile"), 409, "conflict"),
        (Gone("purged", newest=7), 410, "gone"),
        (Forbidden("not yours"), 403, "forbidden"),
        (Rejected("too long"), 400, "rejected"),
        (Untrusted("forged"), 403, "untrusted"),
        (Transient("later"), 503, "try-again"),
        (StorageUnavailable("the database does not answer"), 503, "try-again"),
        (Unauthenticated("sign in"), 401, "not-signed-in"),
        (TooManyTries("wait", retry_after_s=30), 429, "too-many-tries"),
        (FleetError("odd"), 500, "internal"),
        (HTTPException(418, "short and stout"), 418, "i-m-a-teapot"),
    ],
)
async def test_each_error_is_a_problem(error: Exception, status: int, slug: str) -> None:
    response = await ask(app_raising(error))
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert (body["type"], body["status"]) == (f"/problems/{slug}", status)
    assert body["title"]
    assert body["detail"] in str(error)


async def test_says_when_to_try_again() -> None:
    assert (await ask(app_raising(TooManyTries("wait", retry_after_s=30)))).headers["retry-after"] == "30"
    assert int((await ask(app_raising(Transient("later")))).headers["retry-after"]) > 0


async def test_challenges_who_is_not_signed_in() -> None:
    assert (await ask(app_raising(Unauthenticated("sign in")))).headers["www-authenticate"] == "Bearer"


async def test_unexpected_error_is_logged_once_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        response = await ask(app_raising(RuntimeError("secret of the database")))
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "secret" not in response.text
    assert [record.levelname for record in caplog.records] == ["ERROR"]


@pytest.mark.parametrize("error", [RuntimeError("a defect"), StorageUnavailable("the database does not answer")])
async def test_log_names_the_route_and_not_what_may_be_secret(caplog: pytest.LogCaptureFixture, error: Exception) -> None:
    routes = APIRouter()

    @routes.post("/setup/{link}")
    def set_up(link: str) -> None:
        raise error

    app = FastAPI()
    problems.install(app)
    app.include_router(routes)
    with caplog.at_level(logging.DEBUG, "fleet_server"):
        await ask(app, "POST", "/setup/the-secret-link")
    assert "POST /setup/{link}" in caplog.text
    assert "the-secret-link" not in caplog.text


async def test_broken_stream_is_broken_off_not_ended() -> None:
    app = FastAPI()
    problems.install(app)

    async def half() -> AsyncIterator[bytes]:
        yield b"half"
        raise RuntimeError("the other half is lost")

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(half())

    with pytest.raises(RuntimeError, match="other half"):
        await ask(app, path="/stream")


async def test_bad_field_is_named_but_never_repeated() -> None:
    response = await ask(app_raising(RuntimeError()), "POST", "/form", {"password": "hunter2-secret"})
    assert response.status_code == 422
    body = response.json()
    assert body["type"] == "/problems/invalid-request"
    assert {fault["at"] for fault in body["errors"]} == {"body.user", "body.password"}
    assert "hunter2" not in response.text


async def test_unknown_address_and_method() -> None:
    app = app_raising(RuntimeError())
    assert (await ask(app, path="/nowhere")).json() == {"type": "/problems/not-found", "title": "Not Found", "status": 404}
    assert (await ask(app, "DELETE")).json()["type"] == "/problems/method-not-allowed"
