"""What a driver promises the agent, and what the agent promises a driver.

A driver is found by its name among the entry points of the group `zone_agent.drivers`; the entry point is a `Factory`. To
add a driver: write the factory, register it, run `tests/ports/test_drivers.py` over it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

from firmware_agent.clock import Clock
from firmware_agent.contract.ids import Channel, EventId
from firmware_agent.contract.vocabulary import Action, EventType, Function, Kind, ResultStatus, Verdict
from firmware_agent.errors import ConfigurationError

__all__ = [
    "ENTRY_POINTS",
    "Closable",
    "CommandOutcome",
    "ConfigurationError",
    "Driver",
    "Factory",
    "Happening",
    "Memory",
    "Observation",
    "Port",
]

ENTRY_POINTS: Final = "zone_agent.drivers"
"""Group of entry points: name of the driver → `Factory`."""


@dataclass(frozen=True)
class Observation:
    """What a driver saw of one function; it proves `[observed, observed + ttl)` and no more."""

    function: Function
    verdict: Verdict
    observed_mono_ms: int
    """When it was seen, on `Clock.mono_ms`."""
    ttl_ms: int
    """2.5 × the interval of this check; 1 to 86 400 000."""
    cause: str = ""
    """Short machine word (≤ 64 characters) for a verdict that is not `working`, such as `http_401`."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """At most 8 numbers, named as in `vocabulary.METRICS`."""


@dataclass(frozen=True)
class Happening:
    """Something that happened at the device, before it has an id."""

    type: EventType
    occurred_mono_ms: int
    """The moment itself, such as the edge of the contact, on `Clock.mono_ms`."""
    is_drill: bool = False
    is_boot_asserted: bool = False
    """The contact was closed already when the driver started."""
    cause: str = ""


@dataclass(frozen=True)
class CommandOutcome:
    """How a command ended. `succeeded` only when the effect was measured."""

    status: ResultStatus
    message: str = ""
    """One sentence for a person, ≤ 256 characters."""
    measured: Mapping[str, float] = field(default_factory=dict)
    """What proves it, such as `power_w`; at most 8 numbers."""


class Memory(Protocol):
    """A small durable key-value store of one channel (such as the last proven drill); it survives restarts."""

    def get(self, key: str) -> str | None:
        """Return the value last set, None when there is none."""
        ...

    def set(self, key: str, value: str) -> None:
        """Remember `value` (≤ 4 KiB). Visible to `get` at once, durable shortly after."""
        ...


@runtime_checkable
class Closable(Protocol):
    """A shared resource that must be closed at the end."""

    async def aclose(self) -> None:
        """Close it; called once, after all drivers have stopped."""
        ...


T = TypeVar("T")


class Port(Protocol):
    """What the supervisor gives to a driver. Only to be used on the agent's event loop."""

    @property
    def channel(self) -> Channel:
        """The channel this driver serves."""
        ...

    @property
    def clock(self) -> Clock:
        """The node's clocks."""
        ...

    def observe(self, observation: Observation) -> None:
        """Report evidence. The newest per function goes into each heartbeat until its ttl ends. Never blocks.

        Raises:
            ValueError: the observation breaks the bounds of the wire (a mistake in the driver).
        """
        ...

    async def happen(self, happening: Happening) -> EventId:
        """Store an event; returns when it is durable on the node, and sends it at once. Never dropped, sent until acknowledged.

        Not to be cancelled half way: shield it when the driver may be.
        """
        ...

    def memory(self) -> Memory:
        """Return the memory of this channel."""
        ...

    def shared(self, key: str, factory: Callable[[], T]) -> T:
        """Return the one object of this process under `key`, made by `factory` at the first call.

        For what several drivers share: `gpio:<chip or socket>`, `modbus:<parsed address>`, `video`. When it has `aclose`, that is
        called after all drivers have stopped.
        """
        ...


class Driver(Protocol):
    """One device at work."""

    @property
    def kind(self) -> Kind:
        """What the device is."""
        ...

    @property
    def functions(self) -> tuple[Function, ...]:
        """What it reports evidence for."""
        ...

    @property
    def is_simulated(self) -> bool:
        """Whether the device is a simulation. Marks the node for ever."""
        ...

    async def run(self) -> None:
        """Watch the device until cancelled.

        When it raises or returns, the supervisor reports `unknown`, cause `driver_error`, and makes a new driver after a back-off.
        """
        ...

    async def command(self, action: Action, args: Mapping[str, Any], expires_mono_ms: int) -> CommandOutcome:
        """Do `action` and measure its effect, before `expires_mono_ms`. Runs beside `run`. An unknown action is `rejected`."""
        ...

    def acknowledged(self, event_id: EventId) -> None:
        """Be told that the server has stored this event: now the green light may shine. Never blocks; may be told twice."""
        ...


class Factory(Protocol):
    """Makes a driver; the entry point."""

    def __call__(self, settings: Mapping[str, Any], port: Port, /) -> Driver:
        """Return a driver that is not yet running; opens nothing.

        Raises:
            ConfigurationError: a setting is missing, unknown or wrong; the message names it.
        """
        ...
