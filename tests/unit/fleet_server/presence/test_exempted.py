"""What is shown at each instant against the overlay of the whole: the same fold, taken at now."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_agent.contract.vocabulary import Function
from fleet_server.exemptions.model import Exemption, ExemptionKind
from fleet_server.presence.exempted import evidence_of, excepted, overlays_of
from fleet_server.presence.layers import PositionStatus
from fleet_server.presence.model import Fold, FunctionState, Observation, Segment, State, combine, overlay
from tests.unit.fleet_server.presence.test_layers import POSITION

W, D, F, U, M, X = State.WORKING, State.DEGRADED, State.FAILED, State.UNKNOWN, State.MAINTENANCE, State.EXCUSED
END = 60
FUNCTIONS = (Function.LIVE, Function.RECORDING)

observations = st.builds(
    lambda at, ttl, state: Observation(at, at + ttl, state), st.integers(1, END), st.integers(1, 30), st.sampled_from([W, D, F, U])
)
exemptions = st.lists(
    st.builds(
        lambda number, kind, at, length: Exemption(number, "p", "/", kind, at, at + length, f"{kind} {number}", "d", "a", 0),
        st.integers(1, 99),
        st.sampled_from(list(ExemptionKind)),
        st.integers(1, END),
        st.integers(1, 30),
    ),
    max_size=4,
)


def since(tile: Segment) -> int | None:
    """Return when a tile began; one that reaches back to the beginning always was."""
    return None if tile.start_ms == 0 else tile.start_ms


def evidence_at(folds: list[Fold], at: int) -> PositionStatus:
    tilings = [fold.segments(0, at + 1) for fold in folds]
    functions = tuple(
        FunctionState(name, tiles[-1].state, "c", since(tiles[-1]), None) for name, tiles in zip(FUNCTIONS, tilings, strict=False)
    )
    last = combine(tilings)[-1]
    return replace(POSITION, state=last.state, cause="c", since_ms=since(last), functions=functions)


@given(st.lists(st.lists(observations, max_size=6), min_size=1, max_size=2), exemptions)
def test_each_instant_shows_what_uptime_will_say_of_it(said: list[list[Observation]], some: list[Exemption]) -> None:
    folds, told = [Fold.of(made) for made in said], None
    whole = [fold.segments(0, END) for fold in folds]
    for at in range(END):
        told = excepted(evidence_at(folds, at), some, at, told=told)
        last = [tile for tile in overlay(combine(whole), overlays_of(some)) if tile.start_ms <= at][-1]
        assert (told.state, told.since_ms) == (last.state, since(last))
        assert told.functions == evidence_at(folds, at).functions
        if told.state in (M, X):
            assert told.cause in [e.reason for e in some if e.covers(at) and e.kind.value == told.state.value]
        else:
            assert told.cause == "c"


@given(st.lists(observations, max_size=6), exemptions, st.integers(0, END - 1))
def test_below_an_exemption_the_evidence_is_found_again(said: list[Observation], some: list[Exemption], at: int) -> None:
    evidence = evidence_at([Fold.of(said)], at)
    told = excepted(evidence, some, at)
    assert evidence_of(told) == (evidence if told.state in (M, X) else told)


def test_where_nothing_is_exempted_the_evidence_itself_is_shown() -> None:
    assert excepted(POSITION, (), 500) is POSITION
    assert evidence_of(POSITION) is POSITION


def excuse(from_ms: int, to_ms: int) -> Exemption:
    return Exemption(1, "p", "/", ExemptionKind.EXCUSED, from_ms, to_ms, "flood", "d", "a", 0)


@pytest.mark.parametrize(("told_since", "says"), [(100, 150), (200, 200)])
def test_an_excuse_that_begins_later_does_not_keep_the_beginning_of_another(told_since: int, says: int) -> None:
    told = replace(POSITION, state=X, cause="storm", since_ms=told_since)
    found = excepted(replace(POSITION, state=F, since_ms=210), [excuse(150, 400)], 300, told=told)
    assert (found.state, found.since_ms, found.cause) == (X, says, "flood")


def test_the_worst_function_speaks_again_when_the_exemption_is_put_aside() -> None:
    functions = (FunctionState(Function.LIVE, W, "", 10, 90), FunctionState(Function.RECORDING, F, "disk", 40, 90))
    told = replace(POSITION, state=M, cause="new disk", since_ms=50, functions=functions)
    found = evidence_of(told)
    assert (found.state, found.cause, found.since_ms, found.functions) == (F, "disk", 40, functions)
