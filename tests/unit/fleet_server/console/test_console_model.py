from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_agent.contract.vocabulary import Kind
from fleet_server.console import causes, model
from fleet_server.console.facts import Hour, Node, Position
from fleet_server.presence.layers import Cause
from fleet_server.presence.model import Segment, State
from fleet_server.scoring.innovation import Innovation, TypeCount
from fleet_server.scoring.model import innovation
from fleet_server.uptime.model import Parts
from tests.unit.fleet_server.console.fakes import FakeWorld

HOUR = 3_600_000


def positions(*states: State) -> list[Position]:
    ground = next(iter(FakeWorld().by_code.values()))
    return [replace(ground, code=f"P{index:03}", state=state) for index, state in enumerate(states)]


def proposal(*working: int) -> Innovation:
    types = tuple(TypeCount(f"t{index}", count, 4) for index, count in enumerate(working))
    return Innovation(types, innovation(sum(type_.counts for type_ in types)), is_demo=True)


@pytest.mark.parametrize(
    ("states", "state", "text"),
    [
        ((), State.UNKNOWN, "No positions yet"),
        ((State.WORKING, State.WORKING), State.WORKING, "All 2 positions work"),
        ((State.WORKING, State.DEGRADED), State.DEGRADED, "1 of 2 positions working, but not well"),
        ((State.DEGRADED, State.UNKNOWN), State.UNKNOWN, "No sign from 1 of 2 positions"),
        ((State.FAILED, State.UNKNOWN, State.FAILED), State.FAILED, "2 of 3 positions failed"),
        ((State.WORKING, State.MAINTENANCE), State.WORKING, "1 of 2 positions working"),
        ((State.WORKING,), State.WORKING, "1 of 1 positions working"),
    ],
)
def test_the_headline_says_the_worst(states: tuple[State, ...], state: State, text: str) -> None:
    found = model.headline(positions(*states))
    assert found.state is state
    assert found.sentence.msgid % found.sentence.values == text


def test_the_tally_counts_each_state_worst_first() -> None:
    found = model.headline(positions(State.WORKING, State.FAILED, State.WORKING, State.UNKNOWN))
    assert list(found.tally) == [(State.FAILED, 1), (State.UNKNOWN, 1), (State.WORKING, 2)]


def test_figures_are_cut_and_never_rounded_up() -> None:
    view = model.usage_view(Parts(working_ms=999_999, failed_ms=1))
    assert (view.strict, view.coverage) == ("99.99", "100")
    assert model.usage_view(Parts(working_ms=1)).strict == "100"


def test_figures_of_a_column_have_the_same_places() -> None:
    assert model.usage_view(Parts(working_ms=949, failed_ms=51)).strict == "94.90"
    assert model.usage_view(Parts(working_ms=1, failed_ms=199_999)).strict == "0.00"
    assert model.usage_view(Parts(failed_ms=1)).strict == "0"


def test_nothing_measured_has_no_figure() -> None:
    view = model.usage_view(Parts())
    assert view.strict is None
    assert all(share == "0" for _, _, share in view.shares)


def test_unknown_time_is_not_working() -> None:
    view = model.usage_view(Parts(working_ms=50, unknown_ms=50))
    assert (view.strict, view.low, view.high, view.coverage) == ("50.00", "50.00", "100", "50.00")
    assert not view.measures.is_sufficient


@given(st.lists(st.tuples(st.sampled_from(State), st.integers(1, HOUR)), max_size=30))
def test_bars_stay_inside_and_no_outage_vanishes(pieces: list[tuple[State, int]]) -> None:
    segments, at = [], 0
    for state, length in pieces:
        segments.append(Segment(at, at + length, state))
        at += length
    bars = model.bars(segments, from_ms=0, to_ms=max(at, 1))
    assert len(bars) == len(segments)
    for bar in bars:
        assert 0 <= bar.x <= model.STRIP_WIDTH
        assert bar.width >= (1 if bar.state is State.WORKING else 3)


@given(st.lists(st.lists(st.integers(0, HOUR), min_size=6, max_size=6), min_size=1, max_size=30))
def test_columns_fill_their_hour_exactly(hours: list[list[int]]) -> None:
    told = [Hour(index * HOUR, (index + 1) * HOUR, Parts(*spent)) for index, spent in enumerate(hours)]
    for bar in model.columns(told, from_ms=0, to_ms=len(told) * HOUR):
        assert bar.y >= 0
        assert bar.y + bar.height <= model.STRIP_HEIGHT
        assert bar.x + bar.width <= model.STRIP_WIDTH


def test_ticks_stand_on_round_times_of_the_clock_on_the_wall() -> None:
    offset_ms = 7 * HOUR
    for span in (HOUR, 24 * HOUR, 7 * 24 * HOUR):
        found = model.ticks(from_ms=1_795_487_112_000, to_ms=1_795_487_112_000 + span, offset_ms=offset_ms, at_most=6)
        assert 3 <= len(found) <= 8
        assert all((tick.at_ms + offset_ms) % 300_000 == 0 for tick in found)


def test_the_ladder_marks_the_present_row_and_the_cliff() -> None:
    rungs = model.ladder(proposal(1, 2, 0))
    assert [rung.points for rung in rungs] == [0, 1, 2, 3, 4, 5, 10]
    assert [rung.types for rung in rungs if rung.is_current] == [2]
    assert model.ladder(proposal(*[1] * 8))[-1].is_current


@pytest.mark.parametrize(("working", "gain"), [(0, 1), (4, 1), (5, 5), (6, None), (8, None)])
def test_what_one_more_type_would_give(working: int, gain: int | None) -> None:
    sentence = model.next_step(proposal(*[1] * working))
    assert (None if sentence is None else sentence.values["points"]) == gain


def test_too_many_positions_are_cut_to_the_worst() -> None:
    many = positions(*[State.WORKING] * 300, State.FAILED, State.UNKNOWN)
    listed = model.shown(many)
    assert len(listed) == model.MAX_ROWS
    assert [position.state for position in listed[:2]] == [State.FAILED, State.UNKNOWN]


def test_of_several_places_only_what_needs_somebody_is_listed() -> None:
    listed = model.shown(positions(State.WORKING, State.MAINTENANCE, State.DEGRADED, State.FAILED, State.UNKNOWN), is_wide=True)
    assert [position.state for position in listed] == [State.DEGRADED, State.FAILED, State.UNKNOWN]
    assert len(model.shown(positions(*[State.UNKNOWN] * 300), is_wide=True)) == model.MAX_WANTING


def test_a_group_counts_all_of_its_kind_and_not_only_what_is_listed() -> None:
    everything = positions(*[State.WORKING] * 5, State.FAILED)
    (group,) = model.groups([model.row(everything[-1], None)], everything)
    assert (group.working, group.total, len(group.rows)) == (5, 6, 1)


def test_nodes_that_are_not_heard_are_never_left_out_for_others() -> None:
    nodes = [Node(f"n{index}", f"N{index:03}", "", is_online=index != 40) for index in range(50)]
    listed = model.listed_nodes(nodes)
    assert listed[0].serial == "N040"
    assert [node.serial for node in listed[1:3]] == ["N000", "N001"]
    assert len(listed) == model.MAX_NODES


def test_real_presses_come_before_tests_and_the_longest_waiting_first() -> None:
    world = FakeWorld()
    drill = world.press(is_drill=True, age_ms=90_000, n=1)
    young = world.press(age_ms=10_000, n=2)
    old = world.press(age_ms=60_000, n=3)
    assert model.by_urgency([drill, young, old]) == [old, young, drill]


@pytest.mark.parametrize(("state", "what"), [(State.MAINTENANCE, "Under approved maintenance"), (State.EXCUSED, "Excused with a document")])
def test_the_reason_of_an_exemption_is_no_word_of_ours(state: State, what: str) -> None:
    ground = next(iter(FakeWorld().by_code.values()))
    row = model.row(replace(ground, state=state, cause="closed"), None)  # "closed" is a word for cameras that hang up
    assert (row.explanation.what, row.explanation.todo, row.reason, row.says_why) == (what, "", "closed", True)
    assert model.row(replace(ground, state=State.FAILED, cause="closed"), None).reason == ""


def test_every_cause_of_the_server_has_words() -> None:
    assert {cause.value for cause in Cause} <= set(causes.CAUSES)


def test_a_cause_without_words_gets_those_of_its_state() -> None:
    assert causes.explain(Kind.CAMERA, State.FAILED, "e1234") == causes.explain(Kind.CAMERA, State.FAILED, "")
    assert causes.explain(Kind.CAMERA, State.WORKING, "unreachable").todo == ""
