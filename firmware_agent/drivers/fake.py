"""A port for the tests of drivers: it records what a driver says, and its clock stands still until it is moved."""

from collections.abc import Callable
from typing import TypeVar

from firmware_agent.contract.ids import BootId, Channel, EventId, NodeId, StreamId, event_id
from firmware_agent.contract.vocabulary import ClockQuality, EventType, Function
from firmware_agent.drivers.promise import Happening, Observation

T = TypeVar("T")

NODE = NodeId("00000000-0000-4000-8000-000000000001")
STREAM = StreamId("0123456789abcdef")


class ManualClock:
    """A clock that moves only when told."""

    def __init__(self, *, wall_ms: int = 1_795_485_600_000, mono_ms: int = 1_000_000) -> None:
        """Start at the given instants, trusted."""
        self._wall_ms = wall_ms
        self._mono_ms = mono_ms
        self.trust = ClockQuality.NTP

    @property
    def boot(self) -> BootId:
        """See `Clock`."""
        return BootId("7d9f3c52-1b7e-4f7a-8a55-90e0c6b2f1d4")

    def wall_ms(self) -> int:
        """See `Clock`."""
        return self._wall_ms

    def mono_ms(self) -> int:
        """See `Clock`."""
        return self._mono_ms

    def quality(self) -> ClockQuality:
        """See `Clock`."""
        return self.trust

    def advance(self, ms: int) -> None:
        """Let time pass on both clocks."""
        self._wall_ms += ms
        self._mono_ms += ms

    def step(self, wall_ms: int) -> None:
        """Set the wall clock, as NTP does; the monotonic clock goes on."""
        self._wall_ms = wall_ms


class DictMemory:
    """A memory that forgets at the end of the process."""

    def __init__(self) -> None:
        """Start empty."""
        self.values: dict[str, str] = {}

    def get(self, key: str) -> str | None:
        """See `Memory`."""
        return self.values.get(key)

    def set(self, key: str, value: str) -> None:
        """See `Memory`."""
        self.values[key] = value


class RecordingPort:
    """A `Port` that keeps all it was told, in order."""

    def __init__(self, channel: str = "dev-1", clock: ManualClock | None = None) -> None:
        """Ports of one test share a clock by giving it."""
        self._channel = Channel(channel)
        self._clock = clock or ManualClock()
        self._memory = DictMemory()
        self.observations: list[Observation] = []
        self.happenings: list[Happening] = []
        self.resources: dict[str, object] = {}

    @property
    def channel(self) -> Channel:
        """See `Port`."""
        return self._channel

    @property
    def clock(self) -> ManualClock:
        """See `Port`."""
        return self._clock

    def observe(self, observation: Observation) -> None:
        """See `Port`."""
        self.observations.append(observation)

    async def happen(self, happening: Happening) -> EventId:
        """See `Port`; ids count from 1."""
        self.happenings.append(happening)
        return event_id(NODE, STREAM, len(self.happenings))

    def memory(self) -> DictMemory:
        """See `Port`."""
        return self._memory

    def shared(self, key: str, factory: Callable[[], T]) -> T:
        """See `Port`; objects stay in `resources`."""
        found = self.resources.get(key)
        if found is None:
            found = self.resources[key] = factory()
        return found  # type: ignore[return-value]  # one key, one type: the caller's promise

    def newest(self, function: Function) -> Observation | None:
        """Return the last observation of a function."""
        return next((o for o in reversed(self.observations) if o.function is function), None)

    def happened(self, type_: EventType) -> list[Happening]:
        """Return the happenings of one type, in order."""
        return [h for h in self.happenings if h.type is type_]
