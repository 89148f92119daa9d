"""The live feed of a page: server-sent events that carry the pieces of the page that changed, already rendered.

Each event's id is the number of the newest change it contains, so that a browser that lost the feed goes on from there. A
`tick` every few seconds carries the server's time: a page that misses it knows, and says, that it shows the past.
Source: HTML Living Standard, 9.2 Server-sent events.
"""

import asyncio
import hashlib
import logging
import re
from collections.abc import AsyncGenerator, Sequence, Set
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Final

from fleet_server.console.facts import DemoAct, Viewer
from fleet_server.console.i18n import Language, translations
from fleet_server.console.pages import Pages, without_ages
from fleet_server.console.services import ConsoleServices
from fleet_server.console.shown import Piece, Shown
from fleet_server.console.views import News, Views, news
from fleet_server.errors import FleetError, Gone, NotFound, Transient
from fleet_server.storage.changes import Change

_log = logging.getLogger(__name__)

TICK_S: Final = 5.0
"""How often the page hears from us at least."""
LEAST_INTERVAL_S: Final = 0.2
"""Updates come no faster than this; what happens meanwhile is gathered."""
TOO_FAR_BEHIND: Final = 5_000
"""A page that missed more changes than this loads anew."""
RETRY_MS: Final = 2_000
_LINE_END: Final = re.compile(r"\r\n|\r|\n")
"""A carriage return of a node's word must not begin an event of its own."""


@dataclass(frozen=True, slots=True)
class Request:
    """Which page of whom is to be kept alive, from which change on."""

    view: str
    subject: str
    viewer: Viewer
    session: str
    language: Language
    after: int


def event(name: str, data: str, *, number: int | None = None) -> str:
    """Write one event."""
    head = f"event: {name}\n" if number is None else f"id: {number}\nevent: {name}\n"
    return head + "".join(f"data: {line}\n" for line in _LINE_END.split(data)) + "\n"


class Feed:
    """Makes streams of events for pages."""

    def __init__(self, services: ConsoleServices, views: Views, pages: Pages, *, tick_s: float = TICK_S) -> None:
        """`tick_s` is shorter in tests."""
        self._services = services
        self._views = views
        self._pages = pages
        self._tick_s = tick_s
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End all streams, so that the server can stop at once; the pages ask again by themselves. Call it in the event loop."""
        self._closing.set()

    async def stream(self, request: Request) -> AsyncGenerator[str, None]:
        """Yield events until the browser goes away or may no longer look."""
        yield f"retry: {RETRY_MS}\n\n"
        newest = await asyncio.to_thread(self._services.changes.newest)
        if newest - request.after > TOO_FAR_BEHIND:
            yield event("reload", "", number=newest)
            return
        follower = self._services.changes.follow(request.after, unit_path=request.viewer.unit_path)
        try:
            async with aclosing(self._follow(request, follower)) as texts:
                async for text in texts:
                    yield text
        except Gone as error:
            yield event("reload", "", number=error.newest)
        except FleetError as error:
            # The page notices the silence, says so, and asks again by itself.
            _log.warning("the feed of %s ended: %s", request.view, error)

    async def _follow(self, request: Request, follower: AsyncGenerator[list[Change], None]) -> AsyncGenerator[str, None]:
        screen = _Screen(self, request)
        number = request.after
        yield event("tick", str(self._services.clock.now_ms()))
        pending = asyncio.ensure_future(anext(follower))
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            while await self._may_look(request):
                done, _ = await asyncio.wait({pending, closing}, timeout=self._tick_s, return_when=asyncio.FIRST_COMPLETED)
                if closing in done:
                    return
                fresh: list[Change] = []
                if pending in done:
                    fresh = pending.result()
                    number = fresh[-1].number if fresh else number
                    pending = asyncio.ensure_future(anext(follower))
                html = await screen.refresh({change.subject for change in fresh})
                if html is None:
                    yield event("reload", "", number=number)
                    return
                if html:
                    yield event("update", html, number=number)
                yield event("tick", str(self._services.clock.now_ms()))
                await asyncio.sleep(LEAST_INTERVAL_S if done else 0)
            yield event("bye", "")
        finally:
            closing.cancel()
            pending.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration, FleetError):
                await pending
            await follower.aclose()

    async def _may_look(self, request: Request) -> bool:
        if request.viewer.is_anonymous:
            return True
        viewer = await asyncio.to_thread(self._services.accounts.viewer, request.session)
        return viewer == request.viewer

    async def acts(self, view: str) -> Sequence[DemoAct] | None:
        """Return what the demo panel of a page offers, nothing while the demo does not answer; None where there is no panel."""
        if view != "overview" or self._services.demo is None:
            return None
        try:
            return await self._services.demo.acts()
        except Transient:
            return ()

    async def look(self, request: Request) -> Shown | None:
        """Gather the page, None when its subject is gone."""
        acts = await self.acts(request.view)
        try:
            return await asyncio.to_thread(self._views.show, request.view, request.viewer, subject=request.subject, acts=acts)
        except NotFound:
            return None

    def render(self, piece: Piece, shown: Shown, language: Language) -> str:
        """Render a piece of a page, ready to be swapped in by its id."""
        return self._pages.render(piece.template, language, shown.context | dict(piece.extra) | {"oob": True})

    def announce(self, found: News, language: Language) -> str:
        """Render what a screen reader says."""
        if not found.urgent and not found.calm:
            return ""
        sentences = {
            "urgent": [self._pages.say(s, language) for s in found.urgent],
            "calm": [self._pages.say(s, language) for s in found.calm],
        }
        return self._pages.render("live/announce.html", language, {"now_ms": 0} | sentences)


class _Screen:
    """What one browser has on its screen, so that only what differs is sent."""

    def __init__(self, feed: Feed, request: Request) -> None:
        self._feed = feed
        self._request = request
        self._digests: dict[str, bytes] = {}
        self._shown: Shown | None = None

    async def refresh(self, fresh: Set[str]) -> str | None:
        """Return the pieces that changed (empty: none), None when the page itself must be loaded anew.

        `fresh` names what the change log tells of since the last look: at the first look it is news already.
        """
        shown = await self._feed.look(self._request)
        if shown is None:
            return None
        before, self._shown = self._shown, shown
        changed = await asyncio.to_thread(self._changed, shown)
        if before is not None and _standing(before) != _standing(shown):
            return None
        language = self._request.language
        found = news(before or shown, shown, fresh if before is None else frozenset(), language, translations(language).gettext)
        return "\n".join(changed) + self._feed.announce(found, language)

    def _changed(self, shown: Shown) -> list[str]:
        """Render all pieces and return those that differ; of a piece that holds others, only whether some came or went counts."""
        held: dict[str, list[str]] = {}
        for piece in shown.pieces:
            held.setdefault(piece.within, []).append(piece.id)
        texts = {piece.id: self._render(piece, shown) for piece in shown.pieces if piece.id not in held}
        old, self._digests = self._digests, {p.id: _digest(texts[p.id] if p.id in texts else repr(held[p.id])) for p in shown.pieces}
        differing = [piece for piece in shown.pieces if old.get(piece.id) != self._digests[piece.id]]
        anew = {piece.id for piece in differing if piece.id in held}
        return [texts[p.id] if p.id in texts else self._render(p, shown) for p in differing if p.within not in anew]

    def _render(self, piece: Piece, shown: Shown) -> str:
        return self._feed.render(piece, shown, self._request.language)


def _standing(shown: Shown) -> set[str]:
    return {piece.id for piece in shown.pieces if not piece.within}


def _digest(html: str) -> bytes:
    return hashlib.blake2b(without_ages(html).encode(), digest_size=16).digest()
