"""Gathers the newest evidence of every channel and function into heartbeats."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from firmware_agent import clock as clocks
from firmware_agent.clock import Clock
from firmware_agent.contract import messages
from firmware_agent.contract.ids import Channel, SessionId, StreamId
from firmware_agent.contract.messages import MAX_EVIDENCE, MAX_MESSAGE_BYTES, VERSION, Evidence, Health, Heartbeat
from firmware_agent.contract.vocabulary import Function, Verdict
from firmware_agent.drivers.promise import Observation

_DRAFT_STREAM: Final = StreamId("0" * 16)
_ENVELOPE_BYTES: Final = 1_024
"""Kept free for the heartbeat's own fields and the replay message around it."""
_MAX_TTL_MS: Final = 86_400_000


@dataclass(frozen=True)
class _Known:
    observation: Observation
    size: int
    """Bytes on the wire, about."""


class Assembler:
    """The newest observation of each function, until its ttl ends."""

    def __init__(self, clock: Clock) -> None:
        """Start knowing nothing."""
        self._clock = clock
        self._known: dict[tuple[Channel, Function], _Known] = {}
        self.left_out = 0
        """Evidence that had to wait for the next heartbeat because the message was full."""

    def observe(self, channel: Channel, observation: Observation) -> bool:
        """Take an observation over; return whether it changes the verdict of its function.

        Raises:
            ValueError: it breaks the bounds of the wire.
        """
        check(observation)
        key = (channel, observation.function)
        before = self._known.get(key)
        if before is not None and before.observation.observed_mono_ms > observation.observed_mono_ms:
            return False
        evidence = Evidence(
            channel, observation.function, observation.verdict, 0, observation.ttl_ms, observation.cause, _floats(observation.metrics)
        )
        self._known[key] = _Known(observation, len(msgspec.json.encode(evidence)) + 16)
        return before is None or before.observation.verdict is not observation.verdict

    def forget(self, channel: Channel) -> None:
        """Drop what is known of a channel."""
        for key in [key for key in self._known if key[0] == channel]:
            del self._known[key]

    def latest(self) -> dict[tuple[Channel, Function], Observation]:
        """Return what is known, for the status page."""
        return {key: known.observation for key, known in self._known.items()}

    def verdict(self, channel: Channel, function: Function) -> Verdict:
        """Return the verdict in force now: `unknown` after the ttl."""
        known = self._known.get((channel, function))
        return known.observation.verdict if known and self._is_alive(known.observation) else Verdict.UNKNOWN

    def draft(self, session: SessionId, health: Health) -> Heartbeat:
        """Return a heartbeat of now; stream, seq and floor are set when it is stored."""
        clock = clocks.read(self._clock)
        evidence = [self._evidence(key[0], known.observation, clock) for key, known in self._chosen()]
        return Heartbeat(VERSION, session, _DRAFT_STREAM, 1, 1, clock, evidence, health)

    def _chosen(self) -> list[tuple[tuple[Channel, Function], _Known]]:
        """Return what fits into one message; what does not comes first next time."""
        alive = [(key, known) for key, known in self._known.items() if self._is_alive(known.observation)]
        room = MAX_MESSAGE_BYTES - _ENVELOPE_BYTES
        chosen: list[tuple[tuple[Channel, Function], _Known]] = []
        for entry in alive:
            room -= entry[1].size
            if room < 0 or len(chosen) == MAX_EVIDENCE:
                break
            chosen.append(entry)
        if len(chosen) < len(alive):
            self.left_out += len(alive) - len(chosen)
            for key, known in chosen:  # to the end of the queue
                del self._known[key]
                self._known[key] = known
        return chosen

    def _is_alive(self, observation: Observation) -> bool:
        return self._clock.mono_ms() < observation.observed_mono_ms + observation.ttl_ms

    def _evidence(self, channel: Channel, observation: Observation, clock: messages.Clock) -> Evidence:
        return Evidence(
            channel,
            observation.function,
            observation.verdict,
            wall_of(observation.observed_mono_ms, clock),
            observation.ttl_ms,
            observation.cause,
            _floats(observation.metrics),
        )


def wall_of(mono_ms: int, clock: messages.Clock) -> int:
    """Return a moment of this boot in the frame of `clock.wall_ms`; never after it."""
    return max(0, clock.wall_ms - max(0, clock.mono_ms - mono_ms))


def _floats(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return all numbers as floats, so that a stored series never changes its type."""
    return {name: float(value) for name, value in metrics.items()}


def check(observation: Observation) -> None:
    """Hold an observation to the bounds of the wire.

    Raises:
        ValueError: a mistake in the driver; the message names the field.
    """
    if not 1 <= observation.ttl_ms <= _MAX_TTL_MS:
        raise ValueError(f"ttl_ms {observation.ttl_ms} is not within 1 to {_MAX_TTL_MS}")
    if len(observation.cause) > 64:
        raise ValueError(f"cause is longer than 64 characters: {observation.cause[:80]!r}")
    check_metrics(observation.metrics)


def check_metrics(metrics: Mapping[str, float]) -> None:
    """Hold numbers to the bounds of the wire.

    Raises:
        ValueError: too many, a name too long, or not a finite number.
    """
    if len(metrics) > 8:
        raise ValueError(f"more than 8 metrics: {sorted(metrics)}")
    for name, value in metrics.items():
        if not 1 <= len(name) <= 32 or not math.isfinite(value):
            raise ValueError(f"metric {name!r} is no finite number of a short name: {value!r}")
