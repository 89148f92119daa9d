"""The five tables, number by number, and every case that they do not settle."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_server.scoring.model import (
    RULINGS,
    Alternative,
    Criterion,
    Flag,
    NotAssessable,
    Number,
    Score,
    case_decline,
    confidence,
    decline_percent,
    fear,
    innovation,
    meetings,
    percent_of,
    ranks,
    total,
)

BANDS = [(1, 10), (11, 20), (21, 30), (31, 40), (41, 50), (51, 60), (61, 70), (71, 80), (81, 90), (91, 100)]
D = Decimal


def others(score: Score) -> dict[str, int]:
    return {alternative.reading: alternative.score for alternative in score.alternatives}


@pytest.mark.parametrize(("low", "high", "points"), [(low, high, 10 - i) for i, (low, high) in enumerate(BANDS)])
def test_fear_of_crime_is_scored_by_band_lower_is_better(low: int, high: int, points: int) -> None:
    for percent in range(low, high + 1):
        assert fear(percent) == Score(Criterion.FEAR, points, "bands_half_up@1")


@pytest.mark.parametrize(("low", "high", "points"), [(low, high, i + 1) for i, (low, high) in enumerate(BANDS)])
def test_confidence_is_scored_by_band_higher_is_better(low: int, high: int, points: int) -> None:
    for percent in range(low, high + 1):
        assert confidence(percent) == Score(Criterion.CONFIDENCE, points, "bands_half_up@1")


@pytest.mark.parametrize(
    ("percent", "fear_points", "confidence_points", "fear_up_down", "confidence_up_down"),
    [
        (D("10.4"), 10, 1, (9, 10), (2, 1)),
        (D("10.5"), 9, 2, (9, 10), (2, 1)),
        (D("10.9"), 9, 2, (9, 10), (2, 1)),
        (D("90.5"), 1, 10, (1, 2), (10, 9)),
    ],
)
def test_between_two_bands_half_up_decides_and_the_other_readings_are_shown(
    percent: Decimal, fear_points: int, confidence_points: int, fear_up_down: tuple[int, int], confidence_up_down: tuple[int, int]
) -> None:
    assert (fear(percent).score, confidence(percent).score) == (fear_points, confidence_points)
    assert fear(percent).flags == confidence(percent).flags == (Flag.BETWEEN_BANDS,)
    assert (others(fear(percent))["up"], others(fear(percent))["down"]) == fear_up_down
    assert (others(confidence(percent))["up"], others(confidence(percent))["down"]) == confidence_up_down


def test_within_a_band_a_fraction_needs_no_ruling() -> None:
    assert fear(D("12.3")) == Score(Criterion.FEAR, 9, "bands_half_up@1")
    assert confidence(Fraction(123, 10)).flags == ()


def test_nobody_afraid_and_nobody_confident_stand_below_the_tables() -> None:
    assert (fear(0).score, fear(0).flags) == (10, (Flag.BELOW_TABLE,))
    assert (confidence(0).score, confidence(0).flags) == (0, (Flag.BELOW_TABLE,))
    assert others(confidence(0)) == {"lowest_band": 1}


@pytest.mark.parametrize(("percent", "points", "is_below"), [(D("0.4"), 0, True), (D("0.5"), 1, False)])
def test_a_fraction_below_one_rounds_to_the_row_of_nothing_or_to_the_first_band(percent: Decimal, points: int, is_below: bool) -> None:
    score = confidence(percent)
    assert score.score == points
    assert (Flag.BELOW_TABLE in score.flags) is is_below
    assert Flag.BETWEEN_BANDS in score.flags


@pytest.mark.parametrize("percent", [-1, D("-0.1"), 101, Fraction(1001, 10)])
def test_an_impossible_percentage_is_an_error_and_never_zero(percent: Number) -> None:
    for criterion in (fear, confidence):
        with pytest.raises(NotAssessable, match="not a percentage"):
            criterion(percent)


@pytest.mark.parametrize(("count", "people"), [(0, 0), (1, 0), (5, 4), (-1, 4)])
def test_a_poll_of_nobody_has_no_percentage(count: int, people: int) -> None:
    with pytest.raises(NotAssessable, match="no percentage"):
        percent_of(count, people)


def test_a_binary_float_is_refused() -> None:
    with pytest.raises(TypeError, match="not exact"):
        fear(10.5)  # type: ignore[arg-type]  # what a careless caller does


@pytest.mark.parametrize(("types", "points"), [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 10), (7, 10), (40, 10)])
def test_innovation_is_scored_by_number_of_types_with_a_cliff_at_six(types: int, points: int) -> None:
    assert innovation(types).score == points
    assert (Flag.CLIFF in innovation(types).flags) is (types in (5, 6))


def test_at_the_cliff_both_scores_are_shown() -> None:
    assert others(innovation(5)) == {"one_type_more": 10}
    assert others(innovation(6)) == {"one_type_less": 5}


def test_doubtful_types_show_the_score_without_them() -> None:
    assert innovation(6, doubtful=1).score == 10
    assert others(innovation(6, doubtful=1))["without_doubtful_types"] == 5
    assert others(innovation(3, doubtful=2)) == {"without_doubtful_types": 1}


@pytest.mark.parametrize(("types", "doubtful"), [(-1, 0), (2, 3), (2, -1)])
def test_impossible_counts_of_types_are_an_error(types: int, doubtful: int) -> None:
    with pytest.raises(NotAssessable):
        innovation(types, doubtful=doubtful)


@pytest.mark.parametrize(("count", "points"), [(0, 0), (1, 2), (2, 4), (3, 6), (4, 8), (5, 8), (6, 10), (30, 10)])
def test_meetings_are_scored_by_month(count: int, points: int) -> None:
    assert meetings([count]).score == points
    assert (meetings([count]).flags == (Flag.FIVE_MEETINGS,)) is (count == 5)


def test_exactly_five_meetings_are_read_as_not_more_than_five() -> None:
    assert meetings([5]).ruling == "meetings_more_than_five@1"
    assert others(meetings([5])) == {"five_or_more": 10}


def test_over_several_months_the_least_decides() -> None:
    score = meetings([6, 2, 7])
    assert (score.score, score.flags) == (4, (Flag.SEVERAL_MONTHS,))
    assert score.alternatives == (Alternative("mean_rounded_down", 8),)
    assert meetings([3, 3]).flags == ()


@pytest.mark.parametrize("by_month", [[], [3, -1]])
def test_no_month_or_an_impossible_count_is_an_error(by_month: list[int]) -> None:
    with pytest.raises(NotAssessable):
        meetings(by_month)


@pytest.mark.parametrize(
    ("percent", "points", "flags"),
    [
        (-5, 0, (Flag.NO_DECLINE,)),
        (0, 0, (Flag.NO_DECLINE,)),
        (D("0.99"), 0, (Flag.BELOW_ONE_PERCENT,)),
        (1, 1, ()),
        (2, 2, ()),
        (5, 5, ()),
        (9, 9, ()),
        (D("9.99"), 9, (Flag.FRACTION_CUT,)),
        (10, 10, ()),
        (D("10.5"), 10, ()),
        (80, 10, ()),
        (100, 10, ()),
    ],
)
def test_case_decline_counts_whole_points(percent: Number, points: int, flags: tuple[Flag, ...]) -> None:
    assert (case_decline(percent).score, case_decline(percent).flags) == (points, flags)


def test_a_cut_fraction_shows_what_rounding_would_give() -> None:
    assert others(case_decline(D("9.99"))) == {"half_up": 10}
    assert others(case_decline(D("0.5"))) == {"half_up": 1}


def test_seven_of_seventy_cases_are_exactly_ten_percent() -> None:
    assert decline_percent(70, 63) == 10
    assert case_decline(decline_percent(70, 63)) == Score(Criterion.CASES, 10, "table@1")


@pytest.mark.parametrize(("before", "after"), [(0, 0), (0, 3), (-1, 0), (3, -1)])
def test_without_cases_before_there_is_no_decline(before: int, after: int) -> None:
    with pytest.raises(NotAssessable):
        decline_percent(before, after)


def test_more_than_all_cases_cannot_decline() -> None:
    with pytest.raises(NotAssessable, match="impossible"):
        case_decline(101)


def test_the_total_needs_all_five() -> None:
    all_five = [fear(1), confidence(100), innovation(6), meetings([6]), case_decline(10)]
    assert total(all_five) == 50
    assert total(all_five[:4]) is None
    assert total([]) is None


def test_equal_totals_share_a_rank() -> None:
    assert ranks([40, 50, 40, 30]) == [2, 1, 2, 4]
    assert ranks([]) == []


@given(st.fractions(0, 100))
def test_every_percentage_has_a_score_with_a_known_ruling(percent: Fraction) -> None:
    for score in (fear(percent), confidence(percent), case_decline(percent)):
        assert 0 <= score.score <= 10
        assert score.ruling in RULINGS


@given(st.fractions(0, 100), st.fractions(0, 100))
def test_better_measures_never_score_less(one: Fraction, other: Fraction) -> None:
    low, high = min(one, other), max(one, other)
    assert fear(low).score >= fear(high).score
    assert confidence(low).score <= confidence(high).score
    assert case_decline(low).score <= case_decline(high).score
