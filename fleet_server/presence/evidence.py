"""From a journal row to dated observations: the one reading of a heartbeat that live state and uptime share."""

from collections.abc import Callable, Iterator
from typing import Final, Protocol, TypeVar

import msgspec
from msgspec import Struct

from firmware_agent.contract.messages import Clock, Heartbeat
from firmware_agent.contract.vocabulary import Verdict
from fleet_server.presence.dating import FUTURE_MS, Reading, read_clock, shift_ms
from fleet_server.presence.model import Observation, State


class _Clocked(Struct, frozen=True, gc=False):
    clock: Clock


_clocks: Final = msgspec.json.Decoder(_Clocked)
_STATE: Final = {verdict: State(verdict.value) for verdict in Verdict}


def read_clock_of(payload: bytes, received_at_ms: int) -> Reading:
    """Decode only the clock of a heartbeat or an event."""
    return read_clock(_clocks.decode(payload).clock, received_at_ms)


class Target(Protocol):
    """What evidence is about."""

    @property
    def cap_ms(self) -> int:
        """The longest ttl that its evidence may claim."""
        ...


T = TypeVar("T", bound=Target)


def dated(
    heartbeat: Heartbeat,
    *,
    received_at_ms: int,
    is_replay: bool,
    offset_ms: int | None,
    target_of: Callable[[str, str, int], T | None],
) -> Iterator[tuple[T, str, Observation]]:
    """Yield the observations of one heartbeat with what they are about and of which function, dated and capped.

    `target_of(channel, function, at_ms)` says what that is, None for evidence that concerns nobody. Evidence must be fresh
    when its heartbeat is made (younger than its ttl), so that an observation lies within one ttl before its heartbeat.
    """
    reading = read_clock(heartbeat.clock, received_at_ms)
    shift = shift_ms(reading, received_at_ms=received_at_ms, is_replay=is_replay, offset_ms=offset_ms)
    if shift is None:
        return
    wall_ms = reading.wall_ms
    made_at_ms = min(wall_ms + shift, received_at_ms)
    for item in heartbeat.evidence:
        at_ms = item.observed_at_ms + shift
        if at_ms > made_at_ms:
            at_ms = made_at_ms
        target = target_of(item.channel, item.function, at_ms)
        if target is None:
            continue
        ttl_ms = item.ttl_ms
        if ttl_ms > target.cap_ms:
            ttl_ms = target.cap_ms
        if wall_ms - item.observed_at_ms >= ttl_ms:
            continue
        until_ms = at_ms + ttl_ms
        yield target, item.function, Observation(at_ms, until_ms, _STATE[item.verdict], is_replay or until_ms <= received_at_ms, item.cause)


def reach_ms(cap_ms: int) -> int:
    """Return how far evidence of a heartbeat may lie from the heartbeat's own time, to either side."""
    return cap_ms + FUTURE_MS
