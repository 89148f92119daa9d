"""From a journal row to dated observations: the one reading of a heartbeat that live state and uptime share."""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from firmware_agent.contract.messages import Clock
from fleet_server.presence.dating import FUTURE_MS, Reading, read_clock, shift_ms
from fleet_server.presence.model import Observation, State


class SlimEvidence(Struct, frozen=True, gc=False):
    """The part of `contract.Evidence` that decides state. The journal holds only what the contract accepted."""

    channel: str
    function: str
    verdict: State
    observed_at_ms: int
    ttl_ms: int
    cause: str = ""


class SlimHeartbeat(Struct, frozen=True, gc=False):
    """The part of `contract.Heartbeat` that decides state."""

    session: str
    clock: Clock
    evidence: tuple[SlimEvidence, ...]


class _Clocked(Struct, frozen=True, gc=False):
    clock: Clock


_heartbeats: Final = msgspec.json.Decoder(SlimHeartbeat)
_clocks: Final = msgspec.json.Decoder(_Clocked)


def read_heartbeat(payload: bytes) -> SlimHeartbeat:
    """Decode the payload of a journal row that holds one heartbeat."""
    return _heartbeats.decode(payload)


def read_clock_of(payload: bytes, received_at_ms: int) -> Reading:
    """Decode only the clock of a heartbeat or an event."""
    return read_clock(_clocks.decode(payload).clock, received_at_ms)


class Dated(NamedTuple):
    """One piece of evidence with the server's dates."""

    channel: str
    function: str
    observation: Observation


def dated(
    heartbeat: SlimHeartbeat,
    *,
    received_at_ms: int,
    is_replay: bool,
    offset_ms: int | None,
    cap_of: Callable[[str, str], int | None],
) -> Iterator[Dated]:
    """Yield the observations of one heartbeat.

    `cap_of(channel, function)` is the longest ttl accepted, None for evidence that concerns nobody. Evidence must be fresh
    when its heartbeat is made (younger than its ttl), so that an observation lies within one ttl before its heartbeat.
    """
    reading = read_clock(heartbeat.clock, received_at_ms)
    shift = shift_ms(reading, received_at_ms=received_at_ms, is_replay=is_replay, offset_ms=offset_ms)
    if shift is None:
        return
    made_at_ms = min(reading.wall_ms + shift, received_at_ms)
    for item in heartbeat.evidence:
        cap_ms = cap_of(item.channel, item.function)
        if cap_ms is None:
            continue
        ttl_ms = item.ttl_ms if item.ttl_ms < cap_ms else cap_ms
        if reading.wall_ms - item.observed_at_ms >= ttl_ms:
            continue
        at_ms = min(item.observed_at_ms + shift, made_at_ms)
        until_ms = at_ms + ttl_ms
        is_late = is_replay or until_ms <= received_at_ms
        yield Dated(item.channel, item.function, Observation(at_ms, until_ms, item.verdict, is_late, item.cause))


def reach_ms(cap_ms: int) -> int:
    """Return how far evidence of a heartbeat may lie from the heartbeat's own time, to either side."""
    return cap_ms + FUTURE_MS
