"""The fold against an oracle that knows nothing of segments: one look at all observations for each millisecond."""

import itertools
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_agent.contract.vocabulary import Verdict
from fleet_server.presence.model import (
    SEVERITY,
    STATE_OF,
    Fold,
    Observation,
    OutOfOrder,
    Overlay,
    Segment,
    State,
    combine,
    outranks,
    overlay,
    ttl_cap_ms,
    worst,
)
from fleet_server.registry.model import DEFAULT_SUPERVISION_MS

W, D, F, U = State.WORKING, State.DEGRADED, State.FAILED, State.UNKNOWN
END = 60

proven = st.sampled_from([W, D, F, U])
observations = st.builds(
    lambda at, ttl, state, is_late: Observation(at, at + ttl, state, is_late),
    st.integers(-5, END + 5),
    st.integers(1, 30),
    proven,
    st.booleans(),
)
overlays = st.lists(
    st.builds(
        lambda at, length, state: Overlay(at, at + length, state),
        st.integers(-5, END),
        st.integers(1, 30),
        st.sampled_from([State.MAINTENANCE, State.EXCUSED]),
    ),
    max_size=4,
)


def oracle(made: list[Observation], at_ms: int) -> State:
    so_far = [o for o in made if o.at_ms <= at_ms]
    if not so_far:
        return U
    newest_at = max(o.at_ms for o in so_far)
    ties = [o for o in so_far if o.at_ms == newest_at]
    worst_state = max((o.state for o in ties), key=SEVERITY.__getitem__)
    until = max(o.until_ms for o in ties if o.state is worst_state)
    return worst_state if at_ms < until else U


def spread(tiles: list[Segment]) -> list[State]:
    return [tile.state for tile in tiles for _ in range(tile.end_ms - tile.start_ms)]


def assert_tiles(tiles: list[Segment], start: int, end: int) -> None:
    assert tiles[0].start_ms == start
    assert tiles[-1].end_ms == end
    for before, after in itertools.pairwise(tiles):
        assert before.end_ms == after.start_ms
        assert before.state is not after.state


def test_silence_is_unknown() -> None:
    assert Fold().segments(0, 10) == [Segment(0, 10, U)]
    assert Fold().state_at(5) is U


def test_an_observation_proves_its_ttl_and_nothing_more() -> None:
    fold = Fold.of([Observation(10, 20, W)])
    assert fold.segments(0, 30) == [Segment(0, 10, U), Segment(10, 20, W), Segment(20, 30, U)]
    assert [fold.state_at(t) for t in (9, 10, 19, 20)] == [U, W, W, U]


def test_the_newest_wins_from_its_own_time_and_the_older_does_not_come_back() -> None:
    fold = Fold.of([Observation(0, 50, W), Observation(10, 20, F)])
    assert fold.segments(0, 40) == [Segment(0, 10, W), Segment(10, 20, F), Segment(20, 40, U)]


def test_of_two_at_one_instant_the_worse_decides() -> None:
    assert Fold.of([Observation(0, 50, W), Observation(0, 10, F)]).segments(0, 20) == [Segment(0, 10, F), Segment(10, 20, U)]
    assert Fold.of([Observation(0, 10, F), Observation(0, 50, U)]).state_at(0) is F


def test_a_judgement_that_was_not_possible_is_unknown_at_once() -> None:
    assert Fold.of([Observation(0, 50, W), Observation(5, 55, U)]).segments(0, 10) == [Segment(0, 5, W), Segment(5, 10, U)]


def test_older_than_the_newest_is_refused_and_changes_nothing() -> None:
    fold = Fold.of([Observation(10, 20, W)])
    with pytest.raises(OutOfOrder, match="made at 9, before the newest at 10"):
        fold.observe(Observation(9, 99, F))
    assert fold.segments(0, 30) == Fold.of([Observation(10, 20, W)]).segments(0, 30)


@given(st.lists(observations, max_size=12))
def test_the_fold_is_the_oracle(made: list[Observation]) -> None:
    tiles = Fold.of(made).segments(0, END)
    assert_tiles(tiles, 0, END)
    assert spread(tiles) == [oracle(made, t) for t in range(END)]


@given(st.lists(observations, max_size=10), st.randoms())
def test_order_of_arrival_does_not_matter(made: list[Observation], random: Random) -> None:
    shuffled = sorted(made, key=lambda _: random.random())
    assert Fold.of(made).segments(0, END) == Fold.of(shuffled).segments(0, END)


@given(st.lists(observations, max_size=10))
def test_one_by_one_is_the_same_as_all_at_once(made: list[Observation]) -> None:
    fold = Fold()
    for index, observation in enumerate(in_order := sorted(made, key=lambda o: o.at_ms), 1):
        fold.observe(observation)
        assert fold.segments(0, END) == Fold.of(in_order[:index]).segments(0, END)


@given(st.lists(observations, max_size=10), observations)
def test_unknown_is_never_counted_as_working(made: list[Observation], late: Observation) -> None:
    working = Counter(spread(Fold.of(made).segments(0, END)))[W]
    assert working <= len({t for o in made if o.state is W for t in range(max(0, o.at_ms), min(END, o.until_ms))})
    dumb = Fold.of([*made, late._replace(state=U)])
    assert Counter(spread(dumb.segments(0, END)))[W] <= working


@given(st.lists(observations, max_size=10), st.integers(0, END))
def test_the_past_can_be_forgotten(made: list[Observation], cut: int) -> None:
    whole, short = Fold.of(made), Fold.of(made)
    short.forget_before(cut)
    assert short.segments(cut, END + 40) == whole.segments(cut, END + 40)


@given(st.lists(observations, max_size=6), observations)
def test_a_copy_goes_its_own_way(made: list[Observation], last: Observation) -> None:
    fold = Fold.of(made)
    before = fold.segments(0, END)
    twin = fold.copy()
    twin.observe(last._replace(at_ms=END + 10, until_ms=END + 20))
    assert fold.segments(0, END) == before


@given(st.lists(st.lists(observations, max_size=6), min_size=1, max_size=3))
def test_a_position_is_its_worst_function_at_each_instant(functions: list[list[Observation]]) -> None:
    tiles = combine([Fold.of(made).segments(0, END) for made in functions])
    assert_tiles(tiles, 0, END)
    assert spread(tiles) == [worst(oracle(made, t) for made in functions) for t in range(END)]


def test_tilings_of_different_windows_do_not_combine() -> None:
    with pytest.raises(ValueError, match="one window"):
        combine([Fold().segments(0, 10), Fold().segments(0, 11)])


@given(st.lists(observations, max_size=8), overlays)
def test_exceptions_overlay_instant_by_instant(made: list[Observation], spans: list[Overlay]) -> None:
    tiles = overlay(Fold.of(made).segments(0, END), spans)
    assert_tiles(tiles, 0, END)
    for t, state in enumerate(spread(tiles)):
        over = {span.state for span in spans if span.start_ms <= t < span.end_ms}
        bare = oracle(made, t)
        if State.MAINTENANCE in over:
            assert state is State.MAINTENANCE
        elif State.EXCUSED in over:
            assert state is (W if bare is W else State.EXCUSED)
        else:
            assert state is bare


def test_severity_orders_every_state_and_the_worst_of_nothing_is_unknown() -> None:
    assert set(SEVERITY) == set(State)
    assert sorted(SEVERITY.values()) == list(range(len(State)))
    assert worst([W, D]) is D
    assert worst([D, U]) is U
    assert worst([U, F]) is F
    assert worst([]) is U


def test_every_verdict_is_a_state() -> None:
    assert set(STATE_OF) == set(Verdict)


def test_evidence_in_time_outranks_the_same_evidence_late() -> None:
    assert outranks(Observation(0, 1, W), Observation(0, 1, W, is_late=True))
    assert not outranks(Observation(0, 1, W, is_late=True), Observation(0, 1, W))


@pytest.mark.parametrize("supervision_ms", [*DEFAULT_SUPERVISION_MS.values(), 5_000, 100, 1])
def test_no_ttl_outlives_supervision(supervision_ms: int) -> None:
    assert 1 <= ttl_cap_ms(supervision_ms) <= supervision_ms
    if supervision_ms >= 1_000:
        assert ttl_cap_ms(supervision_ms) < supervision_ms
