"""From observations to states: the one fold that live state and uptime share.

An observation of a function made at `at` proves `[at, until)` and nothing more. At any instant the newest observation made
so far decides (of two made at the same instant, the worse); where it has ended, the state is `unknown`. Intervals are
half-open, in milliseconds since 1970-01-01 UTC.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import pairwise
from types import MappingProxyType
from typing import Final, NamedTuple, Self

from firmware_agent.contract.vocabulary import Function, Verdict


class State(StrEnum):
    """What a position or function is, over a span of time."""

    WORKING = "working"
    DEGRADED = "degraded"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """No evidence, or evidence that says it could not judge."""
    MAINTENANCE = "maintenance"
    EXCUSED = "excused"


SEVERITY: Final = MappingProxyType(
    {State.WORKING: 0, State.MAINTENANCE: 1, State.EXCUSED: 2, State.DEGRADED: 3, State.UNKNOWN: 4, State.FAILED: 5}
)
"""Higher is worse. `failed` is above `unknown`: one function proven broken settles the position whatever the others do."""

STATE_OF: Final = MappingProxyType({verdict: State(verdict.value) for verdict in Verdict})


def ttl_cap_ms(supervision_ms: int) -> int:
    """Return the longest ttl that still lets a loss be known, written and shown within `supervision_ms`."""
    return max(1, supervision_ms - min(1_000, supervision_ms // 10))


class Observation(NamedTuple):
    """One piece of evidence, dated and capped by the server."""

    at_ms: int
    until_ms: int
    state: State
    is_late: bool = False
    """Proven by replay, or by a message that came after `until_ms`."""
    cause: str = ""


class Segment(NamedTuple):
    """A span `[start_ms, end_ms)` in one state."""

    start_ms: int
    end_ms: int
    state: State


class OutOfOrder(ValueError):
    """The observation is older than the newest one; fold again from the sorted whole."""


def outranks(new: Observation, old: Observation) -> bool:
    """Whether `new` decides over `old` from its own time: newer, else worse, else proving longer, else in time rather than late."""
    return _rank(new) > _rank(old)


def _rank(observation: Observation) -> tuple[int, int, int, bool, str]:
    return (observation.at_ms, SEVERITY[observation.state], observation.until_ms, not observation.is_late, observation.cause)


class Fold:
    """The states of one function over time, made from its observations in ascending order of `at_ms`.

    What lies before the first observation is `unknown`. Folding one by one and folding a sorted whole give the same.
    """

    __slots__ = ("_closed", "_newest")

    def __init__(self) -> None:
        self._closed: list[Segment] = []
        self._newest: Observation | None = None

    @classmethod
    def of(cls, observations: Iterable[Observation]) -> Self:
        """Fold observations that come in any order."""
        fold = cls()
        for observation in sorted(observations, key=_rank):
            fold.observe(observation)
        return fold

    @property
    def newest(self) -> Observation | None:
        """The observation that decides from its own time on."""
        return self._newest

    def observe(self, observation: Observation) -> None:
        """Add one observation.

        Raises:
            OutOfOrder: it was made before the newest one; nothing is changed.
        """
        newest = self._newest
        if newest is not None:
            if observation.at_ms < newest.at_ms:
                raise OutOfOrder(f"made at {observation.at_ms}, before the newest at {newest.at_ms}")
            if observation.at_ms == newest.at_ms:
                if outranks(observation, newest):
                    self._newest = observation
                return
            self._close(newest, observation.at_ms)
        self._newest = observation

    def _close(self, observation: Observation, next_at_ms: int) -> None:
        end_ms = min(observation.until_ms, next_at_ms)
        if observation.state is State.UNKNOWN or end_ms <= observation.at_ms:
            return
        last = self._closed[-1] if self._closed else None
        if last is not None and last.end_ms == observation.at_ms and last.state is observation.state:
            self._closed[-1] = Segment(last.start_ms, end_ms, last.state)
        else:
            self._closed.append(Segment(observation.at_ms, end_ms, observation.state))

    def segments(self, start_ms: int, end_ms: int) -> list[Segment]:
        """Tile `[start_ms, end_ms)` with states, ascending, gaps filled with `unknown`, neighbours always different."""
        tiles: list[Segment] = []
        first = bisect_right(self._closed, start_ms, key=lambda segment: segment.end_ms)
        for index in range(first, len(self._closed)):
            segment = self._closed[index]
            if segment.start_ms >= end_ms:
                break
            _lay(tiles, segment, start_ms, end_ms)
        if self._newest is not None:
            _lay(tiles, Segment(self._newest.at_ms, self._newest.until_ms, self._newest.state), start_ms, end_ms)
        _fill(tiles, start_ms, end_ms)
        return tiles

    def state_at(self, at_ms: int) -> State:
        """Return the state at one instant."""
        return self.segments(at_ms, at_ms + 1)[0].state

    def forget_before(self, at_ms: int) -> None:
        """Drop spans that ended by `at_ms`; what lies before it reads as `unknown` from now on."""
        del self._closed[: bisect_right(self._closed, at_ms, key=lambda segment: segment.end_ms)]

    def copy(self) -> "Fold":
        """Return an independent fold with the same past."""
        twin = Fold()
        twin._closed = list(self._closed)
        twin._newest = self._newest
        return twin


def _lay(tiles: list[Segment], segment: Segment, start_ms: int, end_ms: int) -> None:
    """Append what of `segment` lies in the window, with the gap before it."""
    begin, end = max(segment.start_ms, start_ms), min(segment.end_ms, end_ms)
    if begin < end:
        _fill(tiles, start_ms, begin)
        _append(tiles, Segment(begin, end, segment.state))


def _fill(tiles: list[Segment], start_ms: int, end_ms: int) -> None:
    reached = tiles[-1].end_ms if tiles else start_ms
    if reached < end_ms:
        _append(tiles, Segment(reached, end_ms, State.UNKNOWN))


def _append(tiles: list[Segment], segment: Segment) -> None:
    if tiles and tiles[-1].state is segment.state:
        tiles[-1] = Segment(tiles[-1].start_ms, segment.end_ms, segment.state)
    else:
        tiles.append(segment)


def worst(states: Iterable[State]) -> State:
    """Return the most severe of the states; `unknown` of none."""
    return max(states, key=SEVERITY.__getitem__, default=State.UNKNOWN)


def combine(tilings: Sequence[Sequence[Segment]]) -> list[Segment]:
    """Tile a position from the tilings of its functions (all of one window) by the worst at each instant.

    Raises:
        ValueError: there is no tiling, or they are not of one window.
    """
    if len(tilings) == 1:
        return list(tilings[0])
    _check_windows(tilings)
    tiles: list[Segment] = []
    cursors = [0] * len(tilings)
    ends = sorted({segment.end_ms for tiling in tilings for segment in tiling})
    begin = tilings[0][0].start_ms if tilings[0] else 0
    for end in ends:
        for index, tiling in enumerate(tilings):
            if tiling[cursors[index]].end_ms <= begin:
                cursors[index] += 1
        _append(tiles, Segment(begin, end, worst(tiling[cursor].state for tiling, cursor in zip(tilings, cursors, strict=True))))
        begin = end
    return tiles


def _check_windows(tilings: Sequence[Sequence[Segment]]) -> None:
    windows = {(tiling[0].start_ms, tiling[-1].end_ms) if tiling else None for tiling in tilings}
    if len(windows) != 1:
        raise ValueError(f"tilings of one window are needed, not of {len(windows)}")


class Overlay(NamedTuple):
    """A span in which something is excepted: `state` is `maintenance` or `excused`."""

    start_ms: int
    end_ms: int
    state: State


EXCUSABLE: Final = frozenset({State.DEGRADED, State.FAILED, State.UNKNOWN})


def overlay(tiles: Sequence[Segment], overlays: Iterable[Overlay]) -> list[Segment]:
    """Lay exceptions over a tiling: maintenance over everything, excused over `degraded`, `failed` and `unknown` only."""
    spans = sorted(overlays)
    if not spans:
        return list(tiles)
    cuts = {edge for span in spans for edge in (span.start_ms, span.end_ms)}
    laid: list[Segment] = []
    for tile in tiles:
        edges = [tile.start_ms, *sorted(cut for cut in cuts if tile.start_ms < cut < tile.end_ms), tile.end_ms]
        for begin, end in pairwise(edges):
            _append(laid, Segment(begin, end, _excepted(tile.state, {s.state for s in spans if s.start_ms <= begin < s.end_ms})))
    return laid


def _excepted(state: State, over: set[State]) -> State:
    if State.MAINTENANCE in over:
        return State.MAINTENANCE
    if State.EXCUSED in over and state in EXCUSABLE:
        return State.EXCUSED
    return state


class FunctionState(NamedTuple):
    """One function of a position, now."""

    function: Function
    state: State
    cause: str
    since_ms: int | None
    observed_at_ms: int | None
