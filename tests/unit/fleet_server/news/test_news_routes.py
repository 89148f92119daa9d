"""News comes in order, inside the reader's scope, and goes on where the reader stopped."""

import asyncio
import json
from typing import Any

import pytest
from argon2 import PasswordHasher
from fastapi import APIRouter, Request

from fleet_server.access.guard import Guard
from fleet_server.access.model import Principal, Role, Scope
from fleet_server.access.service import Access
from fleet_server.news import routes
from fleet_server.storage import Database, changes
from fleet_server.storage.changes import ChangeFeed

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
PASSWORD = "ถูกต้อง ม้า แบตเตอรี่ 42"

NOW_MS = 1_795_485_600_000
HOUR_MS = 3_600_000


def tell(database: Database, unit_path: str, subject: str, *, at_ms: int = NOW_MS) -> None:
    with database.write() as connection:
        changes.append(connection, at_ms=at_ms, unit_path=unit_path, kind="press", subject=subject, data={"n": subject})


def news_of(database: Database) -> Any:
    def router(guard: Guard) -> APIRouter:
        return routes.router(database, ChangeFeed(database), guard)

    return router


async def test_pages_go_on_after_the_last_number(database: Database, api: Any) -> None:
    for n in range(5):
        tell(database, "/a/", str(n))
    async with api.client(news_of(database)) as web:
        first = (await web.get("/changes", params={"limit": 3})).json()
        second = (await web.get("/changes", params={"after": first["last"]})).json()
        nothing = (await web.get("/changes", params={"after": second["last"]})).json()
    assert [item["subject"] for item in first["items"] + second["items"]] == ["0", "1", "2", "3", "4"]
    assert nothing == {"items": [], "last": second["last"]}


@pytest.mark.parametrize(
    ("path", "headers"), [(f"/changes?after={2**63}", {}), ("/changes?after=-1", {}), ("/changes/stream", {"Last-Event-ID": str(2**63)})]
)
async def test_number_that_no_news_has(database: Database, api: Any, path: str, headers: dict[str, str]) -> None:
    async with api.client(news_of(database)) as web:
        assert (await web.get(path, headers=headers)).status_code == 422


async def test_news_of_other_units_is_not_shown(database: Database, api: Any) -> None:
    tell(database, "/a/", "ours")
    tell(database, "/b/", "theirs")
    async with api.client(news_of(database), unit_path="/a/") as web:
        seen = (await web.get("/changes")).json()["items"]
        beyond = await web.get("/changes", params={"unit": "/b/"})
    assert [item["subject"] for item in seen] == ["ours"]
    assert beyond.status_code == 404


async def test_stream_goes_on_after_the_last_event_id(database: Database) -> None:
    feed = ChangeFeed(database, poll_s=0.05)
    watching = asyncio.create_task(feed.run())
    tell(database, "/a/", "old")
    tell(database, "/a/", "missed")
    events = routes._events(database, feed, 1, unit_path="/", may_listen=lambda: True)
    try:
        async with asyncio.timeout(10):
            assert await anext(events) == ": connected\n\n"
            missed = await anext(events)
            tell(database, "/a/", "fresh")
            fresh = await anext(events)
    finally:
        watching.cancel()
    assert missed.startswith("id: 2\nevent: press\ndata: ")
    assert json.loads(fresh.partition("data: ")[2])["subject"] == "fresh"


@pytest.mark.parametrize("end", ["revoke", "close", "log out"])
async def test_stream_ends_with_the_right_to_it(database: Database, clock: Any, end: str) -> None:
    access, feed = Access(database, clock, hasher=CHEAP), ChangeFeed(database, poll_s=0.05)
    guard = Guard(access)
    access.use_link(access.create_account("malee", Role.ADMINISTRATOR, "/", by=Principal.LOCAL).secret, PASSWORD)
    session = access.log_in("malee", PASSWORD, address="a")
    token = access.create_token("export", Role.VENDOR, Scope.ALL, by=access.principal_of_session(session))
    shown = (b"cookie", f"ssz_session={session}".encode()) if end == "log out" else (b"authorization", f"Bearer {token}".encode())
    request = Request({"type": "http", "method": "GET", "headers": [shown]})
    principal = guard.principal(request)
    events = routes._events(database, feed, 0, unit_path="/", may_listen=lambda: guard.is_still(request, principal))
    watching = asyncio.create_task(feed.run())
    try:
        async with asyncio.timeout(10):
            assert await anext(events) == ": connected\n\n"
            tell(database, "/a/", "before")
            assert "before" in await anext(events)
            match end:
                case "revoke":
                    access.revoke_token("export", by=Principal.LOCAL)
                case "close":
                    access.create_account("prasit", Role.ADMINISTRATOR, "/", by=Principal.LOCAL)  # the last one cannot be closed
                    access.disable("malee", by=Principal.LOCAL)
                case _:
                    access.log_out(session)
            tell(database, "/a/", "after")
            assert [event async for event in events] == []
    finally:
        watching.cancel()


def purged(database: Database) -> None:
    """Write five pieces of news of which the first two are purged."""
    for n in range(5):
        tell(database, "/a/", str(n), at_ms=NOW_MS - 2 * HOUR_MS if n < 2 else NOW_MS)
    assert changes.purge(database, kept_ms=HOUR_MS, now_ms=NOW_MS) == 2


@pytest.mark.parametrize("seen", [0, 1, 6])
async def test_who_missed_what_was_purged_is_told_to_read_anew(database: Database, api: Any, seen: int) -> None:
    purged(database)
    async with api.client(news_of(database)) as web:
        page = await web.get("/changes", params={"after": seen})
        stream = await web.get("/changes/stream", headers={"Last-Event-ID": str(seen)})
        again = await web.get("/changes", params={"after": page.json()["newest"]})
    for answer in (page, stream):
        assert answer.status_code == 410
        assert answer.json()["type"] == "/problems/gone"
        assert answer.json()["newest"] == 5
    assert again.json() == {"items": [], "last": 5}


async def test_who_missed_nothing_goes_on(database: Database, api: Any) -> None:
    purged(database)
    async with api.client(news_of(database)) as web:
        rest = (await web.get("/changes", params={"after": 2})).json()
        everything = (await web.get("/changes")).json()
        none_yet = (await web.get("/changes", params={"unit": "/b/"})).json()
    assert [item["number"] for item in rest["items"]] == [3, 4, 5]
    assert everything == rest
    assert none_yet == {"items": [], "last": 2}


async def test_stream_of_a_slow_reader_ends_when_its_news_was_purged(database: Database) -> None:
    for n in range(600):
        tell(database, "/a/", str(n), at_ms=NOW_MS - 2 * HOUR_MS)
    events = routes._events(database, ChangeFeed(database), 0, unit_path="/", may_listen=lambda: True)
    async with asyncio.timeout(10):
        assert await anext(events) == ": connected\n\n"
        assert (await anext(events)).count("id: ") == 500
        while changes.purge(database, kept_ms=HOUR_MS, now_ms=NOW_MS):
            pass
        assert [event async for event in events] == []
