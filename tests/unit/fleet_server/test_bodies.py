"""Bodies that are too large are not read to their end, whoever sends them."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, File, Form

from fleet_server import problems
from fleet_server.bodies import BodyLimit

CHUNK = b'"' + b"x" * 4095
SENT_AT_MOST = 1000


@pytest.fixture
def app() -> FastAPI:
    app = FastAPI()
    problems.install(app)
    app.add_middleware(BodyLimit, most_bytes=16 * 1024, larger={"/files/": 64 * 1024})

    @app.post("/json")
    def take_json(body: dict[str, Any]) -> int:
        return len(body)

    @app.post("/form")
    def take_form(user: str = Form(), picture: bytes = File(b"")) -> int:
        return len(user) + len(picture)

    @app.post("/files/{name}")
    def take_file(name: str, body: dict[str, Any]) -> int:
        return len(body["text"])

    return app


async def send(app: FastAPI, path: str, body: Any, content_type: str = "application/json") -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://fleet") as client:
        return await client.post(path, content=body, headers={"Content-Type": content_type})


@pytest.mark.parametrize(
    ("path", "content_type", "head"),
    [
        ("/json", "application/json", b"["),
        ("/files/a", "application/json", b"["),
        ("/form", "application/x-www-form-urlencoded", b"user="),
        ("/form", "multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="picture"; filename="p"\r\n\r\n'),
    ],
)
async def test_body_without_end_is_not_read_to_its_end(app: FastAPI, path: str, content_type: str, head: bytes) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        yield head
        for _ in range(SENT_AT_MOST):
            taken += 1
            yield CHUNK

    answer = await send(app, path, endless(), content_type)
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
    assert answer.json()["type"] == "/problems/request-entity-too-large"
    assert "KiB" in answer.json()["detail"]
    assert taken <= 17


async def test_what_fits_is_taken(app: FastAPI) -> None:
    fits, file = b'{"text": "' + b"x" * 16_000 + b'"}', b'{"text": "' + b"x" * 60_000 + b'"}'
    assert (await send(app, "/json", fits)).json() == 1
    assert (await send(app, "/json", file)).status_code == 413
    assert (await send(app, "/files/a", file)).json() == 60_000
