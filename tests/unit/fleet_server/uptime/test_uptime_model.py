"""Parts that add up, measures that are exact, and late evidence that is told apart."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_server.presence.model import Observation, Overlay, State
from fleet_server.uptime.model import (
    HOUR_MS,
    NOTHING,
    Parts,
    Span,
    Trail,
    clip,
    hours,
    measure,
    measures,
    percent,
    runs,
    silence,
    total,
    without_replay,
)

END = 60
observations = st.builds(
    lambda at, ttl, state, is_late: Observation(at, at + ttl, state, is_late),
    st.integers(-5, END + 5),
    st.integers(1, 30),
    st.sampled_from([State.WORKING, State.WORKING, State.DEGRADED, State.FAILED, State.UNKNOWN]),
    st.booleans(),
)
overlays = st.lists(
    st.builds(
        lambda at, length, state: Overlay(at, at + length, state),
        st.integers(-5, END),
        st.integers(1, 30),
        st.sampled_from([State.MAINTENANCE, State.EXCUSED]),
    ),
    max_size=3,
)
functions = st.lists(st.lists(observations, max_size=8), min_size=1, max_size=3)
milliseconds = st.integers(0, 10**12)
parts = st.builds(
    Parts, milliseconds, milliseconds, milliseconds, milliseconds, milliseconds, milliseconds, st.just(0), st.integers(0, 100)
)


@given(functions, overlays, st.integers(0, END), st.integers(0, END))
def test_parts_add_up_to_the_commissioned_milliseconds(made: list[list[Observation]], over: list[Overlay], start: int, length: int) -> None:
    found = measure([Trail.of(one) for one in made], Span(start, start + length), over)
    assert found.commissioned_ms == length
    assert 0 <= found.replayed_ms <= found.working_ms


@given(functions, overlays)
def test_the_parts_of_two_spans_are_the_parts_of_both(made: list[list[Observation]], over: list[Overlay]) -> None:
    trails = [Trail.of(one) for one in made]
    whole = measure(trails, Span(0, END), over)
    halves = measure(trails, Span(0, 17), over) + measure(trails, Span(17, END), over)
    assert (halves.working_ms, halves.unknown_ms, halves.replayed_ms) == (whole.working_ms, whole.unknown_ms, whole.replayed_ms)
    assert halves.commissioned_ms == whole.commissioned_ms


@given(functions, overlays)
def test_replayed_time_is_what_would_not_be_working_without_late_evidence(made: list[list[Observation]], over: list[Overlay]) -> None:
    found = measure([Trail.of(one) for one in made], Span(0, END), over)
    common = sum(
        measure([Trail.of(one) for one in made], Span(t, t + 1), over).working_ms
        and measure([Trail.of(o for o in one if not o.is_late) for one in made], Span(t, t + 1), over).working_ms
        for t in range(END)
    )
    assert found.replayed_ms == found.working_ms - common


@given(st.lists(observations, max_size=10))
def test_one_by_one_or_all_at_once_is_the_same(made: list[Observation]) -> None:
    grown = Trail()
    for observation in sorted(made, key=lambda o: o.at_ms):
        grown.observe(observation)
    assert measure([grown], Span(0, END), []) == measure([Trail.of(made)], Span(0, END), [])


@given(st.lists(observations, max_size=10), st.integers(0, END))
def test_forgetting_the_past_keeps_the_rest(made: list[Observation], cut: int) -> None:
    whole, short = Trail.of(made), Trail.of(made)
    short.forget_before(cut)
    assert measure([short], Span(cut, END + 9), []) == measure([whole], Span(cut, END + 9), [])


def test_an_empty_span_has_no_parts() -> None:
    assert measure([Trail()], Span(5, 5), []) == NOTHING
    assert silence(7) == Parts(unknown_ms=7)
    assert total([]) == NOTHING


@given(parts)
def test_measures_are_shares_and_bounds_hold_them(some: Parts) -> None:
    found = measures(some)
    if some.commissioned_ms == some.maintenance_ms:
        assert (found.strict, found.low, found.high, found.coverage) == (None, None, None, None)
        assert not found.is_sufficient
        return
    assert found.low is not None
    assert found.strict is not None
    assert found.high is not None
    assert 0 <= found.low <= found.strict <= found.high <= 1
    assert found.contract is None or 0 <= found.contract <= 1


@given(parts, st.integers(1, 10**9))
def test_more_unknown_never_makes_availability_better(some: Parts, lost: int) -> None:
    before, after = measures(some).strict, measures(some + silence(lost)).strict
    assert after is not None
    assert before is None or after <= before


def test_measures_by_hand() -> None:
    found = measures(Parts(working_ms=60, degraded_ms=10, failed_ms=5, unknown_ms=5, maintenance_ms=10, excused_ms=10))
    assert found.strict == found.low == Fraction(60, 90)
    assert found.contract == 1 - Fraction(10, 80)
    assert found.high == Fraction(75, 90)
    assert found.coverage == Fraction(85, 90)
    assert not found.is_sufficient


def test_silence_is_charged_to_the_vendor_and_an_excuse_is_not() -> None:
    assert measures(Parts(working_ms=90, unknown_ms=10)).contract == Fraction(9, 10)
    assert measures(Parts(working_ms=90, excused_ms=10)).contract == 1


def test_coverage_decides_from_95_percent() -> None:
    assert measures(Parts(working_ms=95, unknown_ms=5)).is_sufficient
    assert not measures(Parts(working_ms=9_499, unknown_ms=501)).is_sufficient


def test_without_replay_its_time_is_unknown() -> None:
    some = Parts(working_ms=10, unknown_ms=5, replayed_ms=4, observations=3)
    assert without_replay(some) == Parts(working_ms=6, unknown_ms=9, observations=3)
    assert without_replay(some).commissioned_ms == some.commissioned_ms


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (Fraction(1), "100.0000"),
        (Fraction(999_999_999, 1_000_000_000), "99.9999"),
        (Fraction(2, 3), "66.6666"),
        (Fraction(0), "0.0000"),
        (None, None),
    ],
)
def test_percentages_are_cut_and_never_reach_a_hundred_by_rounding(share: Fraction | None, text: str | None) -> None:
    assert percent(share) == text


def test_a_span_is_cut_to_the_commissioned_life() -> None:
    assert clip(Span(10, 20), 0, None) == Span(10, 20)
    assert clip(Span(10, 20), 15, 18) == Span(15, 18)
    assert clip(Span(10, 20), None, None) == Span(10, 10)
    assert clip(Span(10, 20), 30, None) == Span(30, 30)
    assert clip(Span(10, 20), 0, 5) == Span(10, 10)


def test_hours_are_those_that_a_span_touches() -> None:
    assert list(hours(0, HOUR_MS)) == [0]
    assert list(hours(HOUR_MS - 1, HOUR_MS + 1)) == [0, HOUR_MS]
    assert list(hours(5, 5)) == []
    assert list(hours(9, 5)) == []


@given(st.lists(st.integers(0, 50)), st.integers(1, 10))
def test_runs_are_unbroken_short_and_hold_every_hour_once(starts: list[int], longest: int) -> None:
    found = [list(run) for run in runs((start * HOUR_MS for start in starts), longest)]
    assert sorted({start * HOUR_MS for start in starts}) == [hour for run in found for hour in run]
    assert all(len(run) <= longest for run in found)


def test_observations_are_counted_by_hour_however_long_the_span() -> None:
    trail = Trail.of([Observation(at, at + 1, State.WORKING) for at in (0, 5, HOUR_MS, 3 * HOUR_MS)])
    assert [trail.count(1, HOUR_MS), trail.count(HOUR_MS, HOUR_MS + 1), trail.count(1, 10**18), trail.count(7, 7)] == [2, 1, 4, 0]
