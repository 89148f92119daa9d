"""What the agent gives to each driver: the `Port` promise kept."""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol, TypeVar

from firmware_agent.clock import Clock
from firmware_agent.contract.ids import Channel, EventId
from firmware_agent.drivers.promise import Closable, Happening, Memory, Observation
from firmware_agent.outbox.outbox import Outbox

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Desk(Protocol):
    """Where a port hands over what its driver says."""

    def observe(self, channel: Channel, observation: Observation) -> None:
        """See `Port.observe`."""
        ...

    async def happen(self, channel: Channel, happening: Happening) -> EventId:
        """See `Port.happen`."""
        ...


class SharedResources:
    """One object per key and process."""

    def __init__(self) -> None:
        """Start empty."""
        self._objects: dict[str, object] = {}

    def get(self, key: str, factory: Callable[[], T]) -> T:
        """Return the object under `key`, made at the first call."""
        if key not in self._objects:
            self._objects[key] = factory()
        return self._objects[key]  # type: ignore[return-value]  # one key, one type: the promise of `Port.shared`

    async def aclose(self) -> None:
        """Close what can be closed, newest first; one that fails or hangs does not hold up the others."""
        while self._objects:
            key, resource = self._objects.popitem()
            if not isinstance(resource, Closable):
                continue
            try:
                async with asyncio.timeout(1.0):
                    await resource.aclose()
            except Exception:  # noqa: BLE001  # a driver's own code: anything may come
                _log.exception("closing %s failed", key)


class ChannelMemory:
    """The memory of one channel, in the outbox's database."""

    def __init__(self, outbox: Outbox, channel: Channel) -> None:
        """Values of other channels are out of reach."""
        self._outbox = outbox
        self._channel = channel

    def get(self, key: str) -> str | None:
        """See `Memory`."""
        return self._outbox.recall(self._channel, key)

    def set(self, key: str, value: str) -> None:
        """See `Memory`."""
        if len(value) > 4096:
            raise ValueError(f"{key}: more than 4 KiB")
        self._outbox.remember(self._channel, key, value)


class AgentPort:
    """The port of one channel."""

    def __init__(self, channel: Channel, clock: Clock, desk: Desk, memory: Memory, resources: SharedResources) -> None:
        """One per channel, for the life of the process."""
        self._channel = channel
        self._clock = clock
        self._desk = desk
        self._memory = memory
        self._resources = resources

    @property
    def channel(self) -> Channel:
        """See `Port`."""
        return self._channel

    @property
    def clock(self) -> Clock:
        """See `Port`."""
        return self._clock

    def observe(self, observation: Observation) -> None:
        """See `Port`."""
        self._desk.observe(self._channel, observation)

    async def happen(self, happening: Happening) -> EventId:
        """See `Port`."""
        return await self._desk.happen(self._channel, happening)

    def memory(self) -> Memory:
        """See `Port`."""
        return self._memory

    def shared(self, key: str, factory: Callable[[], T]) -> T:
        """See `Port`."""
        return self._resources.get(key, factory)
