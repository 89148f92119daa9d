"""The account after a disaster: what fingers and nodes did, against what the server has stored. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hil.demo.report import PARTS
from hil.scenarios.books import Books
from hil.scenarios.fingers import Touch

_EARLY_MS: Final = 60
_LATE_MS: Final = 900
"""How far the time of a stored press may lie before the finger's and after it (a loaded machine is slow)."""
SAFE_MS: Final = 1_000
"""A press is durable on the node within 250 ms; killed later than this (four times it), an agent may not lose it."""


@dataclass(frozen=True, slots=True)
class Count:
    """What an account was about, so that an empty one is seen."""

    heartbeats: int
    touches: int
    presses: int


def heartbeat_faults(serial: str, books: Books, known: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """Yield what is wrong with the heartbeats of a node that does not run; `known` is the server's account of its streams."""
    streams = {stream["stream"]: stream for stream in known}
    for stream in books.streams:
        stored = _stored(streams.get(stream.stream))
        lost = set(range(1, stream.made + 1)) - stored - stream.held
        if lost:
            yield f"{serial}: {len(lost)} heartbeats are neither stored nor held, the first is {min(lost)} of {stream.made}"
        if stored and max(stored) > stream.made:
            yield f"{serial}: the server has heartbeat {max(stored)}, the node made {stream.made}"
        if stream.evicted:
            yield f"{serial}: {stream.evicted} heartbeats were evicted, though there was room"
    strange = streams.keys() - {stream.stream for stream in books.streams}
    if strange:
        yield f"{serial}: the server has streams that the node never had: {sorted(strange)}"


def press_faults(touches: Sequence[Touch], presses: Sequence[Mapping[str, Any]], surely: Mapping[int, bool]) -> Iterable[str]:
    """Yield what is wrong with the presses.

    Args:
        touches: of all fingers.
        presses: as the server lists them.
        surely: by index of the touch, whether the agent had the time to make it durable, so that it must be stored.
    """
    ids = [press["event_id"] for press in presses]
    yield from (f"press {double} is stored twice" for double in {each for each in ids if ids.count(each) > 1})
    found: dict[int, list[Mapping[str, Any]]] = {}
    for press in presses:
        index = _touch_of(press, touches)
        if index is None:
            yield f"press {press['event_id']} of {press['position_code']} at {press['occurred_at_ms']} was made by no finger"
        else:
            found.setdefault(index, []).append(press)
    for index, events in found.items():
        if len(events) > 1:
            told = [f"{event['event_id']} {event['occurred_at_ms'] - touches[index].at_ms} ms after it" for event in events]
            yield f"one press of {touches[index].code} is stored {len(events)} times: {told}"
    for index, touch in enumerate(touches):
        if index not in found and touch.is_green_seen:
            yield f"the green light of {touch.code} was lit for the press at {touch.at_ms}, and the server has none"
        elif index not in found and surely.get(index):
            yield f"the press of {touch.code} at {touch.at_ms} is lost"


def uptime_faults(code: str, parts: Mapping[str, int]) -> Iterable[str]:
    """Yield what is wrong with the parts of a position's time, `{part}_ms` and `commissioned_ms`."""
    total = sum(parts[f"{part}_ms"] for part in PARTS)
    if total != parts["commissioned_ms"]:
        yield f"{code}: the parts add up to {total} ms of {parts['commissioned_ms']} ms"
    if not parts["working_ms"]:
        yield f"{code}: nothing counts as working, though its node ran"


def _stored(stream: Mapping[str, Any] | None) -> set[int]:
    if stream is None:
        return set()
    missing = {seq for first, last in stream["gaps"] for seq in range(first, last + 1)}
    return set(range(1, stream["through"] + 1)) - missing


def _touch_of(press: Mapping[str, Any], touches: Sequence[Touch]) -> int | None:
    """Return the index of the last touch of that button before a stored press: a finger comes first, and is off before it comes again."""
    at_ms = press["occurred_at_ms"]
    before = [
        (touch.at_ms, index)
        for index, touch in enumerate(touches)
        if touch.code == press["position_code"] and -_EARLY_MS <= at_ms - touch.at_ms <= _LATE_MS
    ]
    return max(before)[1] if before else None
