"""News comes in order, inside the reader's scope, and goes on where the reader stopped."""

import asyncio
import json
from typing import Any

from fastapi import APIRouter

from fleet_server.access.guard import Guard
from fleet_server.news import routes
from fleet_server.storage import Database, changes
from fleet_server.storage.changes import ChangeFeed


def tell(database: Database, unit_path: str, subject: str) -> None:
    with database.write() as connection:
        changes.append(connection, at_ms=1, unit_path=unit_path, kind="press", subject=subject, data={"n": subject})


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
    events = routes._events(database, feed, 1, "/")
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
