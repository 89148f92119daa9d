"""`/api/v1/changes`: the change log as pages, and as server-sent events that go on where the reader stopped."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict

from fleet_server.access.guard import Guard, narrowed
from fleet_server.access.model import Permission, Principal
from fleet_server.errors import Gone
from fleet_server.paging import MAX_NUMBER
from fleet_server.storage import Database, changes
from fleet_server.storage.changes import Change, ChangeFeed

UnitQuery = Annotated[str | None, Query(max_length=200, description="Only this unit and those below, by path such as /bpp/n1/.")]


class ChangeOut(BaseModel):
    """One piece of news; `number` counts up for ever."""

    model_config = ConfigDict(from_attributes=True)

    number: int
    at_ms: int
    unit_path: str
    kind: str
    subject: str
    data: dict[str, Any]


class ChangePage(BaseModel):
    """News after a number, oldest first; ask again after `last`."""

    items: list[ChangeOut]
    last: int


def router(database: Database, feed: ChangeFeed, guard: Guard) -> APIRouter:
    """Return the routes, to be mounted under `/api/v1`."""
    routes = APIRouter(tags=["changes"])
    viewer = Depends(guard.allow(Permission.VIEW))

    @routes.get("/changes")
    def read_changes(
        principal: Annotated[Principal, viewer],
        after: Annotated[int | None, Query(ge=0, le=MAX_NUMBER, description="The last number seen; without it, all that is kept.")] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
        unit: UnitQuery = None,
    ) -> ChangePage:
        """Show what came after a number; 410 where some of it is no longer kept: read the state anew, and go on after `newest`."""
        scope = narrowed(principal, unit)
        with database.read() as connection:
            start = changes.bounds(connection)[0] if after is None else after
            news = changes.after(connection, start, unit_path=scope.unit_path, limit=limit)
        return ChangePage(items=[ChangeOut.model_validate(change) for change in news], last=news[-1].number if news else start)

    @routes.get("/changes/stream", response_class=StreamingResponse)
    def stream_changes(
        request: Request,
        principal: Annotated[Principal, viewer],
        last_event_id: Annotated[int | None, Header(ge=0, le=MAX_NUMBER)] = None,
        unit: UnitQuery = None,
    ) -> StreamingResponse:
        """Follow the news as server-sent events; `Last-Event-ID` goes on after that number, without it only what is new comes.

        410 where some of what came after that number is no longer kept: read the state anew, and go on after `newest`.
        """
        scope = narrowed(principal, unit)
        with database.read() as connection:
            start = changes.newest(connection) if last_event_id is None else last_event_id
            changes.check_holds(connection, start)
        events = _events(database, feed, start, unit_path=scope.unit_path, may_listen=lambda: guard.is_still(request, principal))
        return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    return routes


async def _events(
    database: Database, feed: ChangeFeed, number: int, *, unit_path: str, may_listen: Callable[[], bool]
) -> AsyncIterator[str]:
    """Yield news until the reader may hear no more: its token was revoked, its session has ended, its account was closed."""
    yield ": connected\n\n"
    with suppress(Gone):  # it took its news too slowly: it comes again with its last number, and is told then
        async for news in feed.follow(number, unit_path=unit_path):
            if not await database.run(may_listen):
                return
            yield "".join(_event(change) for change in news) or ": still here\n\n"


def _event(change: Change) -> str:
    data = {"at_ms": change.at_ms, "unit_path": change.unit_path, "subject": change.subject, "data": change.data}
    return f"id: {change.number}\nevent: {change.kind}\ndata: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"
