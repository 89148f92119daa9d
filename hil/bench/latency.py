"""From the edge of a panic button's contact to the moments at which the fleet knows: stored, told to programs, shown on the console."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from firmware_agent.contract.ids import Channel
from hil.swarm.identity import Identity, Where
from hil.swarm.node import SwarmNode
from hil.swarm.plan import Plan, devices

_WITHIN_S: Final = 30.0
_BETWEEN_S: Final = 0.7


@dataclass(slots=True)
class Latencies:
    """Milliseconds, of each press."""

    stored: list[float] = field(default_factory=list)
    """The node has the server's acknowledgement, which is sent once the press is on disk."""
    told: list[float] = field(default_factory=list)
    """The news has arrived at a program that follows `/api/v1/changes/stream`."""
    shown: list[float] = field(default_factory=list)
    """The piece of the console's page that shows it has arrived at a browser."""
    missed: int = 0
    """Presses that were not shown within 30 s."""

    def as_json(self) -> dict[str, Any]:
        """Return the percentiles."""
        return {
            "presses": len(self.stored),
            "missed": self.missed,
            **{name: percentiles(getattr(self, name)) for name in ("stored", "told", "shown")},
        }


def percentiles(values: Sequence[float]) -> dict[str, float] | None:
    """Return p50 and p99 in milliseconds, None of nothing. Of under a hundred values the p99 is the worst."""
    if not values:
        return None
    ordered = sorted(values)
    return {
        "p50_ms": round(statistics.median(ordered), 1),
        "p99_ms": round(ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)], 1),
    }


class Prober:
    """One node with a button, and two listeners: a program and a browser."""

    def __init__(self, where: Where, identity: Identity, plan: Plan, *, view: str) -> None:
        """`view` is the console's page that is open; its feed is read as a browser does, without a session."""
        self._where = where
        self._view = view
        self._node = SwarmNode(
            identity, devices(plan.devices), broker=(where.mqtt_host, where.mqtt_port), ca_file=where.ca_file, interval_s=10.0
        )
        self._channel = Channel(next(device.channel for device in devices(plan.devices) if device.kind == "panic_button"))
        self._waiting: dict[str, dict[str, asyncio.Future[float]]] = {"told": {}, "shown": {}}

    @asynccontextmanager
    async def ready(self) -> AsyncIterator["Prober"]:
        """Connect all three, and end them."""
        tasks = [
            asyncio.create_task(self._node.run(), name="prober"),
            asyncio.create_task(self._beat(), name="prober-beats"),
            asyncio.create_task(self._follow("told", "/api/v1/changes/stream", {}), name="changes"),
            asyncio.create_task(self._follow("shown", "/live", {"view": self._view}), name="console"),
        ]
        try:
            async with asyncio.timeout(_WITHIN_S):
                await self._node.connected.wait()
            await asyncio.sleep(2.0)
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def press(self, times: int) -> Latencies:
        """Press so often, one after the other."""
        found = Latencies()
        loop = asyncio.get_running_loop()
        for _ in range(times):
            begin_s = time.monotonic()
            event, stored = await self._node.press(self._channel)
            arrivals = {name: waiting.setdefault(event, loop.create_future()) for name, waiting in self._waiting.items()}
            try:
                async with asyncio.timeout(_WITHIN_S):
                    await stored.wait()
                    found.stored.append(1000 * (time.monotonic() - begin_s))
                    for name, arrival in arrivals.items():
                        getattr(found, name).append(1000 * (await arrival - begin_s))
            except TimeoutError:
                found.missed += 1
            await asyncio.sleep(_BETWEEN_S)
        return found

    async def _beat(self) -> None:
        while True:
            await self._node.beat()
            await asyncio.sleep(10.0)

    async def _follow(self, name: str, path: str, query: dict[str, str]) -> None:
        """Read server-sent events for ever; an event that is waited for has arrived where its id stands in them."""
        headers = {"Authorization": f"Bearer {self._where.token_file.read_text().strip()}"} if name == "told" else {}
        async with httpx.AsyncClient(base_url=self._where.console_url, timeout=httpx.Timeout(30.0, read=None), headers=headers) as http:
            number = ""
            while True:
                try:
                    number = await self._read(http, name, path, query, number)
                except httpx.TransportError:
                    await asyncio.sleep(0.5)

    async def _read(self, http: httpx.AsyncClient, name: str, path: str, query: dict[str, str], number: str) -> str:
        """Read one feed to its end; return the number of the last event. Told to load the page anew, do so, as a browser does."""
        async with http.stream("GET", path, params=query, headers={"Last-Event-ID": number} if number else {}) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if line.startswith("id: "):
                    number = line.removeprefix("id: ")
                elif line == "event: reload":
                    break
                self._look_for(name, line)
        if name == "shown":
            page = await http.get("/" if self._view == "overview" else f"/{self._view}")
            self._look_for(name, page.text)
        return number

    def _look_for(self, name: str, text: str) -> None:
        """Take note of each press that the text tells of."""
        waiting = self._waiting[name]
        for event in [event for event, arrival in waiting.items() if not arrival.done() and event in text]:
            waiting.pop(event).set_result(time.monotonic())
