"""The guard and the routes behind it."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from fleet_server.access.model import Principal, Role, Scope
from fleet_server.access.service import Access

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # SQL has its tests beside; here it is HTTP

PASSWORD = "ถูกต้อง ม้า แบตเตอรี่ 42"
Person = Callable[..., Principal]
HERE = {"Sec-Fetch-Site": "same-origin"}


async def sign_in(web: httpx.AsyncClient, user: str = "somchai") -> httpx.Response:
    return await web.post("/api/v1/sessions", json={"user": user, "password": PASSWORD}, headers=HERE)


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


async def test_session_by_cookie(web: httpx.AsyncClient, person: Person) -> None:
    person(role=Role.CCOC_OPERATOR, unit_path="/bpp/")
    answer = await sign_in(web)
    assert answer.status_code == 201
    cookie = answer.headers["set-cookie"]
    assert all(word in cookie for word in ("ssz_session=", "HttpOnly", "SameSite=lax", "Secure", "Path=/", "Max-Age=43200"))
    assert answer.headers["cache-control"] == "no-store"
    assert PASSWORD not in answer.text
    who = await web.get("/api/v1/sessions/current")
    assert who.json() == {
        "name": "somchai",
        "role": "ccoc_operator",
        "unit_path": "/bpp/",
        "permissions": ["view", "acknowledge_press", "command_device"],
    }
    assert (await web.delete("/api/v1/sessions/current", headers=HERE)).status_code == 204
    assert (await web.get("/api/v1/sessions/current")).status_code == 401


async def test_wrong_password_and_too_many(web: httpx.AsyncClient, person: Person) -> None:
    person()
    body = {"user": "somchai", "password": "wrong wrong wrong"}
    answers = [await web.post("/api/v1/sessions", json=body, headers=HERE) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert answers[0].json()["type"] == "/problems/not-signed-in"


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": ""}, {"Authorization": "Basic c29tY2hhaTp4"}, bearer("ssz_unknown"), bearer(""), {"Cookie": "ssz_session=x"}],
)
async def test_nobody_gets_401(web: httpx.AsyncClient, headers: dict[str, str]) -> None:
    answer = await web.get("/api/v1/accounts", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_wrong_role_gets_403(web: httpx.AsyncClient, access: Access) -> None:
    secret = access.create_token("viewer", Role.VENDOR, Scope.ALL, by=Principal.LOCAL)
    answer = await web.get("/api/v1/accounts", headers=bearer(secret))
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/forbidden")


class TestOtherSites:
    """A cookie counts for changes only when our own pages ask."""

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"Sec-Fetch-Site": "same-origin"}, 200),
            ({"Sec-Fetch-Site": "none"}, 200),
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Sec-Fetch-Site": "same-site"}, 403),
            ({"Sec-Fetch-Site": "cross-site", "Origin": "https://fleet.example"}, 403),
            ({"Origin": "https://fleet.example"}, 200),
            ({"Origin": "https://evil.example"}, 403),
            ({"Origin": "https://fleet.example.evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({}, 200),
        ],
    )
    async def test_changes(self, web: httpx.AsyncClient, person: Person, headers: dict[str, str], status: int) -> None:
        person()
        await sign_in(web)
        assert (await web.post("/api/v1/registry", headers=headers)).status_code == status

    async def test_reading_is_free(self, web: httpx.AsyncClient, person: Person) -> None:
        person()
        await sign_in(web)
        assert (await web.get("/api/v1/accounts", headers={"Sec-Fetch-Site": "cross-site"})).status_code == 200

    async def test_signing_in_from_elsewhere_is_refused(self, web: httpx.AsyncClient, person: Person) -> None:
        person()
        body = {"user": "somchai", "password": PASSWORD}
        assert (await web.post("/api/v1/sessions", json=body, headers={"Origin": "https://evil.example"})).status_code == 403

    async def test_token_needs_no_origin_and_no_cookie_stands_in_for_a_bad_one(
        self, web: httpx.AsyncClient, access: Access, person: Person
    ) -> None:
        secret = access.create_token("script", Role.ADMINISTRATOR, Scope.ALL, by=Principal.LOCAL)
        answer = await web.post("/api/v1/registry", headers=bearer(secret) | {"Sec-Fetch-Site": "cross-site"})
        assert (answer.status_code, answer.json()) == (200, "token:script")
        person()
        await sign_in(web)
        assert (await web.post("/api/v1/registry", headers=bearer("ssz_wrong") | HERE)).status_code == 401


class TestManaging:
    @pytest.fixture
    async def admin(self, web: httpx.AsyncClient, person: Person) -> httpx.AsyncClient:
        person()
        await sign_in(web)
        web.headers.update(HERE)
        return web

    async def test_life_of_an_account(self, admin: httpx.AsyncClient, access: Access) -> None:
        new = {"user": "malee", "role": "technician", "unit_path": "/bpp/"}
        made = await admin.post("/api/v1/accounts", json=new)
        assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
        assert (await admin.post("/api/v1/accounts", json=new)).status_code == 409
        used = await admin.post("/api/v1/links:use", json={"secret": made.json()["secret"], "password": PASSWORD})
        assert used.status_code == 204
        again = await admin.post("/api/v1/links:use", json={"secret": made.json()["secret"], "password": PASSWORD})
        assert again.status_code == 404
        session = access.log_in("malee", PASSWORD, address="a")
        assert (await admin.post("/api/v1/accounts/malee:disable")).status_code == 204
        other = {"Cookie": f"ssz_session={session}"}
        async with httpx.AsyncClient(transport=admin._transport, base_url="https://fleet.example") as closed:
            assert (await closed.get("/api/v1/sessions/current", headers=other)).status_code == 401
        listed = (await admin.get("/api/v1/accounts")).json()["items"]
        assert [(row["user"], row["is_disabled"]) for row in listed] == [("malee", True), ("somchai", False)]
        assert (await admin.post("/api/v1/accounts/malee:enable")).status_code == 204
        assert (await admin.post("/api/v1/accounts/malee:reset")).json()["user"] == "malee"
        assert (await admin.post("/api/v1/accounts/nobody:reset")).status_code == 404
        assert (await admin.post("/api/v1/accounts/somchai:disable")).status_code == 409

    async def test_life_of_a_token(self, admin: httpx.AsyncClient) -> None:
        made = await admin.post("/api/v1/tokens", json={"name": "export", "role": "auditor", "unit_path": "/"})
        secret = made.json()["secret"]
        assert (await admin.get("/api/v1/audit", headers=bearer(secret))).status_code == 200
        listed = await admin.get("/api/v1/tokens")
        assert [row["name"] for row in listed.json()["items"]] == ["export"]
        assert secret not in listed.text
        assert (await admin.delete("/api/v1/tokens/export")).status_code == 204
        assert (await admin.get("/api/v1/audit", headers=bearer(secret))).status_code == 401
        assert (await admin.delete("/api/v1/tokens/nothing")).status_code == 404

    @pytest.mark.parametrize(
        ("path", "body", "status"),
        [
            ("accounts", {"user": "x y", "role": "vendor", "unit_path": "/"}, 400),
            ("accounts", {"user": "malee", "role": "king", "unit_path": "/"}, 422),
            ("accounts", {"user": "malee", "role": "vendor", "unit_path": "nowhere"}, 400),
            ("accounts", {"user": "malee", "role": "vendor", "unit_path": "/", "is_admin": True}, 422),
            ("tokens", {"name": "t1", "role": "vendor", "unit_path": "bpp"}, 400),
            ("tokens", {"name": "t1", "role": "vendor", "unit_path": "/", "expires_in_s": 1}, 422),
            ("links:use", {"secret": "x", "password": "y"}, 404),
        ],
    )
    async def test_bad_requests(self, admin: httpx.AsyncClient, path: str, body: dict[str, Any], status: int) -> None:
        assert (await admin.post(f"/api/v1/{path}", json=body)).status_code == status

    async def test_audit_goes_page_by_page(self, admin: httpx.AsyncClient) -> None:
        first = (await admin.get("/api/v1/audit", params={"limit": 2})).json()
        second = (await admin.get("/api/v1/audit", params={"limit": 2, "cursor": first["next_cursor"]})).json()
        actions = [row["action"] for row in first["items"] + second["items"]]
        assert actions == ["session.begin", "session.begin", "account.set_password", "account.create"]
        assert (await admin.get("/api/v1/audit", params={"cursor": "rubbish"})).status_code == 400
        assert (await admin.get("/api/v1/audit", params={"limit": 501})).status_code == 422
