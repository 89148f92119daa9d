import time

from hypothesis import given
from hypothesis import strategies as st

from firmware_agent.contract.ids import EventId
from firmware_agent.drivers.panic_button.feedback import Feedback, Lights, Times

A, B, C = EventId("a"), EventId("b"), EventId("c")
TIMES = Times(delivered_within_ms=10_000, fault_after_ms=100_000, green_ms=5_000, buzzer_ms=1_000, blink_ms=500)


def test_amber_at_once_green_only_after_the_servers_word() -> None:
    feedback = Feedback(TIMES)
    assert feedback.lights(0) == Lights()
    feedback.pressed(1000)
    assert feedback.lights(1000) == Lights(amber=True)
    feedback.stored(A)
    assert feedback.lights(1200) == Lights(amber=True)
    assert feedback.acknowledged(A, 2000)
    assert feedback.lights(2000) == Lights(green=True, buzzer=True)
    assert feedback.lights(3000) == Lights(green=True)
    assert feedback.lights(7000) == Lights()


def test_amber_blinks_when_it_takes_too_long() -> None:
    feedback = Feedback(TIMES)
    feedback.pressed(0)
    shown = [feedback.lights(at).amber for at in (9_999, 10_000, 10_500, 11_000, 11_500)]
    assert shown == [True, False, True, False, True]


def test_an_undelivered_press_is_reported_once() -> None:
    feedback = Feedback(TIMES)
    feedback.pressed(0)
    assert not feedback.overdue(99_999)
    assert feedback.overdue(100_000)
    assert not feedback.overdue(100_001)
    assert feedback.is_undelivered
    feedback.stored(A)
    assert feedback.acknowledged(A, 200_000)
    assert not feedback.is_undelivered


def test_two_presses_need_two_words() -> None:
    feedback = Feedback(TIMES)
    feedback.pressed(0)
    feedback.pressed(600)
    feedback.stored(A)
    feedback.stored(B)
    feedback.acknowledged(B, 700)
    assert feedback.lights(700).amber
    feedback.acknowledged(A, 800)
    assert not feedback.lights(800).amber


def test_each_press_that_is_late_is_reported_for_itself() -> None:
    feedback = Feedback(TIMES)
    for at_ms, event_id in ((0, A), (600, B), (5_000, C)):
        feedback.pressed(at_ms)
        feedback.stored(event_id)
    feedback.acknowledged(B, 700)
    assert feedback.due_ms(99_999) == 100_000
    assert feedback.overdue(100_000)
    assert not feedback.overdue(104_999), "the second was delivered"
    assert feedback.overdue(105_000)
    feedback.acknowledged(A, 105_001)
    assert feedback.is_undelivered
    feedback.acknowledged(C, 105_002)
    assert not feedback.is_undelivered


def test_presses_of_a_chattering_contact_cost_in_proportion() -> None:
    def cost_s(count: int) -> float:
        feedback, began_s = Feedback(TIMES), time.process_time()
        for n in range(count):
            feedback.pressed(n)
            feedback.stored(EventId(str(n)))
            feedback.lights(n)
            feedback.due_ms(n)
        assert feedback.overdue(10**9)
        for n in reversed(range(count)):
            assert feedback.acknowledged(EventId(str(n)), 10**9)
        assert feedback.due_ms(10**10) is None
        return time.process_time() - began_s

    small_s, large_s = (min(cost_s(count) for _ in range(3)) for count in (250, 2_000))
    assert large_s < 24 * small_s


def test_a_strange_acknowledgement_shows_nothing() -> None:
    feedback = Feedback(TIMES)
    assert not feedback.acknowledged(A, 0)
    assert feedback.lights(0) == Lights()


@given(st.integers(0, 200_000), st.booleans(), st.integers(0, 200_000))
def test_lights_change_only_when_due(pressed_ms: int, is_acknowledged: bool, later_ms: int) -> None:
    feedback = Feedback(TIMES)
    feedback.pressed(0)
    if is_acknowledged:
        feedback.stored(A)
        feedback.acknowledged(A, pressed_ms)
    now_ms = pressed_ms + later_ms
    due_ms = feedback.due_ms(now_ms)
    until_ms = now_ms + 1_000 if due_ms is None else due_ms
    assert until_ms > now_ms
    assert {feedback.lights(at) for at in range(now_ms, until_ms, max(1, (until_ms - now_ms) // 7))} == {feedback.lights(now_ms)}


@given(st.lists(st.sampled_from(["press", "store", "tick"]), max_size=30))
def test_green_never_without_the_servers_word(acts: list[str]) -> None:
    feedback, now_ms = Feedback(TIMES), 0
    for act in acts:
        now_ms += 700
        match act:
            case "press":
                feedback.pressed(now_ms)
            case "store":
                feedback.stored(A)
            case _:
                feedback.overdue(now_ms)
        assert not feedback.lights(now_ms).green
        assert not feedback.lights(now_ms).buzzer
