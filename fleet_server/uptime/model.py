"""Parts of commissioned time, and the measures made of them. Exact: milliseconds and fractions, no binary floats.

The parts always add up: `working + degraded + failed + unknown + maintenance + excused = commissioned`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from decimal import ROUND_DOWN, Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from fleet_server.presence.model import Fold, Observation, Overlay, Segment, State, combine, overlay

HOUR_MS: Final = 3_600_000
SUFFICIENT_COVERAGE: Final = Fraction(95, 100)
"""Below this share of time with evidence, a figure is printed as "insufficient evidence"."""


WHOLE: Final = "*"
"""Stands for all functions of a position together, where it has several."""


class Span(NamedTuple):
    """`[from_ms, to_ms)`."""

    from_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True)
class Parts:
    """Milliseconds of commissioned time by state. They add, hour by hour and position by position."""

    working_ms: int = 0
    degraded_ms: int = 0
    failed_ms: int = 0
    unknown_ms: int = 0
    maintenance_ms: int = 0
    excused_ms: int = 0
    replayed_ms: int = 0
    """The part of `working_ms` that only replay or late evidence proves."""
    observations: int = 0
    """Observations made in the hours that were touched."""

    @property
    def commissioned_ms(self) -> int:
        """All of it."""
        return self.working_ms + self.degraded_ms + self.failed_ms + self.unknown_ms + self.maintenance_ms + self.excused_ms

    def __add__(self, other: "Parts") -> "Parts":
        return Parts(*(getattr(self, name) + getattr(other, name) for name in PART_NAMES))


PART_NAMES: Final = tuple(field.name for field in fields(Parts))
NOTHING: Final = Parts()


def total(parts: Iterable[Parts]) -> Parts:
    """Return the sum."""
    return sum(parts, NOTHING)


def silence(length_ms: int) -> Parts:
    """Return the parts of a commissioned span without any evidence."""
    return Parts(unknown_ms=length_ms)


class Trail:
    """All observations of one function of a position, folded twice: everything, and what came in time.

    The difference between the two is what only late evidence proves.
    """

    __slots__ = ("_all", "_in_time", "_made")

    def __init__(self) -> None:
        self._all = Fold()
        self._in_time: Fold | None = None  # the same as `_all` until the first late observation
        self._made: dict[int, int] = {}  # by hour

    @classmethod
    def of(cls, observations: Iterable[Observation]) -> "Trail":
        """Make a trail of observations in any order."""
        trail = cls()
        for observation in sorted(observations, key=lambda o: o.at_ms):
            trail.observe(observation)
        return trail

    @property
    def newest_at_ms(self) -> int | None:
        """When the newest observation was made."""
        return None if self._all.newest is None else self._all.newest.at_ms

    def observe(self, observation: Observation) -> None:
        """Add one observation.

        Raises:
            OutOfOrder: it was made before the newest one; nothing is changed.
        """
        newest_at_ms = self.newest_at_ms
        if observation.is_late and self._in_time is None and (newest_at_ms is None or newest_at_ms <= observation.at_ms):
            self._in_time = self._all.copy()
        self._all.observe(observation)
        if self._in_time is not None and not observation.is_late:
            self._in_time.observe(observation)
        if newest_at_ms != observation.at_ms:
            hour_ms = hour_of(observation.at_ms)
            self._made[hour_ms] = self._made.get(hour_ms, 0) + 1

    def segments(self, from_ms: int, to_ms: int) -> list[Segment]:
        """Tile a window with the states that all evidence proves."""
        return self._all.segments(from_ms, to_ms)

    def segments_in_time(self, from_ms: int, to_ms: int) -> list[Segment]:
        """Tile a window with the states that evidence in time proves alone."""
        return (self._in_time or self._all).segments(from_ms, to_ms)

    @property
    def has_late(self) -> bool:
        """Whether any evidence came late."""
        return self._in_time is not None

    def count(self, from_ms: int, to_ms: int) -> int:
        """Return at how many instants the hours that a window touches have observations."""
        touched = hours(from_ms, to_ms)
        return sum(made for hour_ms, made in self._made.items() if hour_ms in touched)

    def forget_before(self, at_ms: int) -> None:
        """Drop what ended by `at_ms`."""
        self._all.forget_before(at_ms)
        if self._in_time is not None:
            self._in_time.forget_before(at_ms)
        self._made = {hour_ms: made for hour_ms, made in self._made.items() if hour_ms + HOUR_MS > at_ms}


def measure(trails: Sequence[Trail], span: Span, overlays: Sequence[Overlay]) -> Parts:
    """Return the parts of a commissioned span: of one function, or of a position by its worst function at each instant."""
    if span.from_ms >= span.to_ms:
        return NOTHING
    tiles = overlay(combine([trail.segments(*span) for trail in trails]), overlays)
    spent = dict.fromkeys(State, 0)
    for tile in tiles:
        spent[tile.state] += tile.end_ms - tile.start_ms
    replayed_ms = 0
    if any(trail.has_late for trail in trails):
        in_time = overlay(combine([trail.segments_in_time(*span) for trail in trails]), overlays)
        replayed_ms = spent[State.WORKING] - _common_working_ms(tiles, in_time)
    return Parts(
        working_ms=spent[State.WORKING],
        degraded_ms=spent[State.DEGRADED],
        failed_ms=spent[State.FAILED],
        unknown_ms=spent[State.UNKNOWN],
        maintenance_ms=spent[State.MAINTENANCE],
        excused_ms=spent[State.EXCUSED],
        replayed_ms=replayed_ms,
        observations=sum(trail.count(*span) for trail in trails),
    )


def _common_working_ms(one: Sequence[Segment], other: Sequence[Segment]) -> int:
    """Return how long both tilings say `working`."""
    common = index = 0
    working = [tile for tile in other if tile.state is State.WORKING]
    for tile in one:
        if tile.state is not State.WORKING:
            continue
        while index < len(working) and working[index].end_ms <= tile.start_ms:
            index += 1
        for candidate in working[index:]:
            if candidate.start_ms >= tile.end_ms:
                break
            common += min(tile.end_ms, candidate.end_ms) - max(tile.start_ms, candidate.start_ms)
    return common


def hour_of(at_ms: int) -> int:
    """Return the start of the UTC hour that holds `at_ms`."""
    return at_ms - at_ms % HOUR_MS


def hours(from_ms: int, to_ms: int) -> range:
    """Return the starts of all hours that `[from_ms, to_ms)` touches."""
    return range(hour_of(from_ms), max(from_ms, to_ms), HOUR_MS) if from_ms < to_ms else range(0)


def clip(span: Span, from_ms: int | None, to_ms: int | None) -> Span:
    """Cut a span to a life that starts at `from_ms` (None: not yet) and ends at `to_ms` (None: not yet)."""
    if from_ms is None:
        return Span(span.from_ms, span.from_ms)
    begin = max(span.from_ms, from_ms)
    end = span.to_ms if to_ms is None else min(span.to_ms, to_ms)
    return Span(begin, max(begin, end))


def runs(starts: Iterable[int], longest: int) -> Iterator[range]:
    """Group hour starts into unbroken runs of at most `longest` hours, ascending."""
    run: list[int] = []
    for start in sorted(set(starts)):
        if run and (start != run[-1] + HOUR_MS or len(run) == longest):
            yield range(run[0], run[-1] + HOUR_MS, HOUR_MS)
            run = []
        run.append(start)
    if run:
        yield range(run[0], run[-1] + HOUR_MS, HOUR_MS)


@dataclass(frozen=True, slots=True)
class Measures:
    """What the parts say, as exact fractions from 0 to 1; None where no time is left to judge."""

    strict: Fraction | None
    """`W / (T − S)`: feeds the score. Unknown, degraded and excused time counts against it."""
    contract: Fraction | None
    """`1 − (D + U) / (T − S − X)`: feeds the vendor's bill. Silence is charged, excused time is not."""
    low: Fraction | None
    high: Fraction | None
    """Bounds: had the device been down, or up, in all time without proof of either."""
    coverage: Fraction | None
    """`1 − U / (T − S)`: share of the time with evidence."""

    @property
    def is_sufficient(self) -> bool:
        """Whether there is enough evidence to print a figure as a finding."""
        return self.coverage is not None and self.coverage >= SUFFICIENT_COVERAGE


def measures(parts: Parts) -> Measures:
    """Return availability, its bounds, and how far the evidence reaches."""
    judged_ms = parts.commissioned_ms - parts.maintenance_ms
    billed_ms = judged_ms - parts.excused_ms
    known_up_ms = parts.working_ms + parts.degraded_ms + parts.unknown_ms
    return Measures(
        strict=_share(parts.working_ms, judged_ms),
        contract=_share(billed_ms - parts.failed_ms - parts.unknown_ms, billed_ms),
        low=_share(parts.working_ms, judged_ms),
        high=_share(known_up_ms, judged_ms),
        coverage=_share(judged_ms - parts.unknown_ms, judged_ms),
    )


def without_replay(parts: Parts) -> Parts:
    """Return the parts under the ruling that live time proven only by replay does not count as working."""
    return Parts(
        **{name: getattr(parts, name) for name in PART_NAMES}
        | {"working_ms": parts.working_ms - parts.replayed_ms, "unknown_ms": parts.unknown_ms + parts.replayed_ms, "replayed_ms": 0}
    )


def percent(share: Fraction | None, places: int = 4) -> str | None:
    """Return a share as a percentage, cut (never rounded up to a finding that was not reached)."""
    if share is None:
        return None
    exact = Decimal(share.numerator * 100 * 10**places // share.denominator).scaleb(-places)
    return str(exact.quantize(Decimal(1).scaleb(-places), rounding=ROUND_DOWN))


def _share(part: int, whole: int) -> Fraction | None:
    return Fraction(part, whole) if whole > 0 else None
