"""A driver's port on the machine's own clock, and waiting for what a driver says."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from firmware_agent.clock import SystemClock
from firmware_agent.contract.ids import Channel, EventId, event_id
from firmware_agent.contract.vocabulary import EventType, Function, Verdict
from firmware_agent.drivers.fake import NODE, STREAM, DictMemory
from firmware_agent.drivers.promise import Closable, Driver, Happening, Observation
from firmware_agent.errors import Transient

T = TypeVar("T")


class LivePort:
    """Keeps what a driver says; `refusals` makes that many attempts to store an event fail."""

    def __init__(self, channel: str = "dev-1") -> None:
        self.channel = Channel(channel)
        self.clock = SystemClock()
        self.observations: list[Observation] = []
        self.happenings: list[Happening] = []
        self.resources: dict[str, object] = {}
        self.refusals = 0
        self._memory = DictMemory()

    def observe(self, observation: Observation) -> None:
        assert 1 <= observation.ttl_ms <= 86_400_000
        assert len(observation.cause) <= 64
        assert (observation.verdict is Verdict.WORKING) == (observation.cause == "")
        self.observations.append(observation)

    async def happen(self, happening: Happening) -> EventId:
        await asyncio.sleep(0)
        if self.refusals:
            self.refusals -= 1
            raise Transient("the disk is full")
        self.happenings.append(happening)
        return event_id(NODE, STREAM, len(self.happenings))

    def memory(self) -> DictMemory:
        return self._memory

    def shared(self, key: str, factory: Callable[[], T]) -> T:
        if key not in self.resources:
            self.resources[key] = factory()
        return self.resources[key]  # type: ignore[return-value]  # one key, one type

    def happened(self, type_: EventType) -> list[Happening]:
        return [happening for happening in self.happenings if happening.type is type_]

    def newest(self, function: Function) -> tuple[Verdict, str] | None:
        found = [o for o in self.observations if o.function is function]
        return (found[-1].verdict, found[-1].cause) if found else None

    def metrics(self, function: Function) -> dict[str, float]:
        return dict([o for o in self.observations if o.function is function][-1].metrics)

    async def saw(self, function: Function, verdict: Verdict, cause: str = "") -> None:
        """Wait until the newest evidence says this."""
        wanted = (verdict, cause)
        await until(lambda: self.newest(function) == wanted, lambda: f"{wanted}, last {self.newest(function)}")


async def until(condition: Callable[[], bool], what: Callable[[], str] = lambda: "condition", within_s: float = 40.0) -> None:
    """Wait for a condition, with a bound."""
    try:
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110  # what is watched offers no event
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"never seen: {what()}") from None


@asynccontextmanager
async def running(driver: Driver, port: LivePort) -> AsyncIterator[None]:
    """Run a driver; close what it shared afterwards."""
    task = asyncio.create_task(driver.run())
    try:
        yield
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.wait([task])
        for resource in port.resources.values():
            if isinstance(resource, Closable):
                await resource.aclose()
    if not task.cancelled() and task.exception() is not None:
        raise AssertionError("the driver ended by itself") from task.exception()
