"""The five criteria: tables, rulings and the scores they give. Exact numbers only (`Fraction`), no binary floats.

A measure that the tables do not settle word for word is decided by a named ruling; the score then carries a flag and what
the other readings would give. Source: SMART SAFETY ZONE 4.0, project paper, scoring criteria 1 to 5.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from fleet_server.errors import Rejected

Number = int | Fraction | Decimal


class NotAssessable(Rejected):
    """The measure is missing or impossible; it has no score, not even 0."""


class Criterion(StrEnum):
    """What is scored."""

    FEAR = "c1_fear_of_crime"
    CONFIDENCE = "c2_confidence"
    INNOVATION = "c3_innovation"
    MEETINGS = "c4_meetings"
    CASES = "c5_case_decline"


class Flag(StrEnum):
    """Why a score needs a human eye."""

    BELOW_TABLE = "below_table"
    BETWEEN_BANDS = "between_bands"
    FIVE_MEETINGS = "five_meetings"
    NO_DECLINE = "no_decline"
    BELOW_ONE_PERCENT = "below_one_percent"
    FRACTION_CUT = "fraction_cut"
    SEVERAL_MONTHS = "several_months"
    CLIFF = "cliff"


class Rounding(StrEnum):
    """How a percentage between two bands is made whole."""

    HALF_UP = "half_up"
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Ruling:
    """How an unclear rule is read: a name and a version, shown with every score it decides."""

    id: str
    version: int
    says: str

    @property
    def name(self) -> str:
        """The ruling as it is cited."""
        return f"{self.id}@{self.version}"


BANDS: Final = Ruling("bands_half_up", 1, "A percentage between two bands is rounded half up to a whole number.")
TABLE: Final = Ruling("table", 1, "The table is read as it is written.")
MEETINGS_MORE_THAN_FIVE: Final = Ruling("meetings_more_than_five", 1, "Exactly five meetings reach the row of four; the top row needs six.")
DECLINE_WHOLE_POINTS: Final = Ruling("decline_whole_points", 1, "A decline counts by the whole percentage points it reached.")
RULINGS: Final = MappingProxyType({r.name: r for r in (BANDS, TABLE, MEETINGS_MORE_THAN_FIVE, DECLINE_WHOLE_POINTS)})


@dataclass(frozen=True, slots=True)
class Alternative:
    """What another reading would give."""

    reading: str
    score: int


@dataclass(frozen=True, slots=True)
class Score:
    """Points of one criterion, 0 to 10, with what decided them. `flags` is empty where the table settles the case."""

    criterion: Criterion
    score: int
    ruling: str
    flags: tuple[Flag, ...] = ()
    alternatives: tuple[Alternative, ...] = ()


MAX_SCORE: Final = 10

BAND_TOPS: Final = (10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
"""Criteria 1 and 2: the band of a whole percentage is the first whose top reaches it."""
FEAR_SCORES: Final = (10, 9, 8, 7, 6, 5, 4, 3, 2, 1)
CONFIDENCE_SCORES: Final = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
INNOVATION_SCORES: Final = (0, 1, 2, 3, 4, 5, 10)
"""By number of types; the last stands for six and more."""
MEETING_SCORES: Final = MappingProxyType({0: 0, 1: 2, 2: 4, 3: 6, 4: 8, 6: 10})
"""By meetings a month; the paper has no row for exactly five, and 6 stands for "more than 5"."""
CASE_SCORES: Final = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
"""By whole percentage points of decline; the last stands for 10 and more."""


def whole(value: Fraction, rounding: Rounding) -> int:
    """Make a non-negative number whole."""
    match rounding:
        case Rounding.HALF_UP:
            return (value + Fraction(1, 2)).__floor__()
        case Rounding.UP:
            return value.__ceil__()
        case Rounding.DOWN:
            return value.__floor__()


def fear(percent: Number) -> Score:
    """Score criterion 1, fear of crime (lower is better).

    Raises:
        NotAssessable: the percentage is not within 0 to 100.
    """
    return _banded(Criterion.FEAR, _percent(percent), FEAR_SCORES, at_zero=10)


def confidence(percent: Number) -> Score:
    """Score criterion 2, confidence in the police (higher is better).

    Raises:
        NotAssessable: the percentage is not within 0 to 100.
    """
    return _banded(Criterion.CONFIDENCE, _percent(percent), CONFIDENCE_SCORES, at_zero=0)


def percent_of(count: int, total: int) -> Fraction:
    """Return a poll's percentage, exactly.

    Raises:
        NotAssessable: nobody was asked, or the count is not within the total.
    """
    if total <= 0 or not 0 <= count <= total:
        raise NotAssessable(f"a poll of {total} people with {count} answers has no percentage")
    return Fraction(100 * count, total)


def _percent(value: Number) -> Fraction:
    exact = _exact(value)
    if not 0 <= exact <= 100:
        raise NotAssessable(f"{value} is not a percentage from 0 to 100")
    return exact


def _exact(value: Number) -> Fraction:
    if isinstance(value, float):  # a caller without a type checker
        raise TypeError("a binary float is not exact: give an int, a Fraction or a Decimal")
    return Fraction(value)


def _band(percent: int, scores: tuple[int, ...], at_zero: int) -> int:
    if percent == 0:
        return at_zero
    return next(score for top, score in zip(BAND_TOPS, scores, strict=True) if percent <= top)


def _banded(criterion: Criterion, percent: Fraction, scores: tuple[int, ...], *, at_zero: int) -> Score:
    readings = {rounding: whole(percent, rounding) for rounding in Rounding}
    score = _band(readings[Rounding.HALF_UP], scores, at_zero)
    flags: list[Flag] = []
    alternatives: list[Alternative] = []
    if readings[Rounding.HALF_UP] == 0:
        flags.append(Flag.BELOW_TABLE)
        alternatives.append(Alternative("lowest_band", scores[0]))
    if len({_band(reading, scores, at_zero) for reading in readings.values()}) > 1 or _is_between_bands(percent):
        flags.append(Flag.BETWEEN_BANDS)
        alternatives.extend(Alternative(r.value, _band(readings[r], scores, at_zero)) for r in (Rounding.UP, Rounding.DOWN))
    return Score(criterion, score, BANDS.name, tuple(flags), tuple(alternatives))


def _is_between_bands(percent: Fraction) -> bool:
    return percent.denominator != 1 and percent.__floor__() in (0, *BAND_TOPS)


def innovation(types: int, *, doubtful: int = 0) -> Score:
    """Score criterion 3 by the number of innovation types in use.

    `doubtful` of these types are open to question; what the score is without them is shown. Around five and six types the
    table has a cliff (5 or 10 points), which is warned of.

    Raises:
        NotAssessable: a count is negative, or more types are doubtful than there are.
    """
    if not 0 <= doubtful <= types:
        raise NotAssessable(f"{doubtful} doubtful of {types} types make no sense")
    alternatives = [Alternative("without_doubtful_types", _innovation_points(types - doubtful))] if doubtful else []
    flags: tuple[Flag, ...] = ()
    if types in (5, 6):
        flags = (Flag.CLIFF,)
        other = 11 - types
        alternatives.append(Alternative("one_type_more" if other > types else "one_type_less", _innovation_points(other)))
    return Score(Criterion.INNOVATION, _innovation_points(types), TABLE.name, flags, tuple(alternatives))


def _innovation_points(types: int) -> int:
    return INNOVATION_SCORES[min(types, len(INNOVATION_SCORES) - 1)]


def meetings(by_month: list[int]) -> Score:
    """Score criterion 4 by evidenced meetings of each calendar month; over several months the least decides.

    Raises:
        NotAssessable: no month is given, or a count is negative.
    """
    if not by_month or min(by_month) < 0:
        raise NotAssessable("the meetings of at least one month are needed, none below 0")
    least = min(by_month)
    flags: list[Flag] = []
    alternatives: list[Alternative] = []
    if least == 5:
        flags.append(Flag.FIVE_MEETINGS)
        alternatives.append(Alternative("five_or_more", MAX_SCORE))
    if len(set(by_month)) > 1:
        flags.append(Flag.SEVERAL_MONTHS)
        alternatives.append(Alternative("mean_rounded_down", _meeting_points(sum(by_month) // len(by_month))))
    ruling = MEETINGS_MORE_THAN_FIVE if least == 5 else TABLE
    return Score(Criterion.MEETINGS, _meeting_points(least), ruling.name, tuple(flags), tuple(alternatives))


def _meeting_points(count: int) -> int:
    return MEETING_SCORES[max(row for row in MEETING_SCORES if row <= count)]


def decline_percent(before: int, after: int) -> Fraction:
    """Return by how many percent cases declined, exactly; negative when they increased.

    Raises:
        NotAssessable: there were no cases before, or a count is negative.
    """
    if before <= 0 or after < 0:
        raise NotAssessable(f"a decline from {before} cases to {after} has no percentage")
    return Fraction(100 * (before - after), before)


def case_decline(percent: Number) -> Score:
    """Score criterion 5 by the decline of group 1 and 2 cases in percent (negative: an increase).

    Raises:
        NotAssessable: the decline is over 100 %.
    """
    exact = _exact(percent)
    if exact > 100:
        raise NotAssessable(f"a decline of {percent} % is impossible")
    ruling = DECLINE_WHOLE_POINTS.name
    if exact <= 0:
        return Score(Criterion.CASES, 0, ruling, (Flag.NO_DECLINE,))
    score = _case_points(whole(exact, Rounding.DOWN))
    if exact.denominator == 1 or exact >= 10:
        return Score(Criterion.CASES, score, TABLE.name)
    flag = Flag.BELOW_ONE_PERCENT if exact < 1 else Flag.FRACTION_CUT
    other = Alternative(Rounding.HALF_UP.value, _case_points(whole(exact, Rounding.HALF_UP)))
    return Score(Criterion.CASES, score, ruling, (flag,), (other,))


def _case_points(percent: int) -> int:
    return CASE_SCORES[min(percent, len(CASE_SCORES) - 1)]


def total(scores: list[Score]) -> int | None:
    """Return the sum of the five criteria, None ("incomplete", not ranked) while one is missing."""
    by_criterion = {score.criterion: score.score for score in scores}
    return sum(by_criterion.values()) if set(by_criterion) == set(Criterion) else None


def ranks(totals: list[int]) -> list[int]:
    """Return the rank of each total, highest first; equal totals share a rank (1, 2, 2, 4)."""
    return [1 + sum(other > mine for other in totals) for mine in totals]
