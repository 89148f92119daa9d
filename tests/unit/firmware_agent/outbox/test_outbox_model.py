"""Spans: what an acknowledgement covers, and what it asks for."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from firmware_agent.outbox.model import merge, stored_spans, subtract, wanted_spans

spans = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)).map(lambda ab: (min(ab), max(ab))), max_size=6)


def numbers(found: list[tuple[int, int]]) -> set[int]:
    return {n for a, b in found for n in range(a, b + 1)}


def test_everything_up_to_through_but_the_gaps_is_stored() -> None:
    assert stored_spans(412, [(388, 391), (400, 400)]) == [(1, 387), (392, 399), (401, 412)]


def test_nothing_is_stored_before_the_first() -> None:
    assert stored_spans(0, []) == []


def test_gap_beyond_through_takes_nothing_away() -> None:
    assert stored_spans(5, [(7, 9)]) == [(1, 5)]


def test_gaps_and_what_follows_through_are_asked_for() -> None:
    assert wanted_spans(412, [(388, 391), (400, 400)], top=415) == [(388, 391), (400, 400), (413, 415)]


def test_what_is_on_its_way_by_the_live_lane_is_not_asked_for_but_a_gap_is() -> None:
    assert wanted_spans(412, [(400, 401)], top=390) == [(400, 401)]
    assert wanted_spans(412, [], top=414) == [(413, 414)]


@given(spans)
def test_merged_spans_are_the_same_numbers_ascending_and_apart(found: list[tuple[int, int]]) -> None:
    merged = merge(found)
    assert numbers(merged) == numbers(found)
    assert all(a[1] + 1 < b[0] for a, b in pairwise(merged))


@given(spans, spans)
def test_subtract_is_set_difference(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    assert numbers(subtract(one, other)) == numbers(one) - numbers(other)


@given(st.integers(0, 60), spans, st.integers(0, 60))
def test_never_asked_for_what_is_stored(through: int, gaps: list[tuple[int, int]], top: int) -> None:
    assert not numbers(stored_spans(through, gaps)) & numbers(wanted_spans(through, gaps, top=top))
