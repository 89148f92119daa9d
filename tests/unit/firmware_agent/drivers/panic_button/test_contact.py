from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from firmware_agent.drivers.panic_button.contact import Contact, Sign, Signal, Timing

TIMING = Timing(debounce_ms=30, rearm_ms=500, stuck_ms=30_000, fault_ms=200)
RAW = st.lists(st.tuples(st.integers(0, 40_000), st.booleans()), max_size=40)
BOUNCES = st.lists(st.integers(1, 12), max_size=8)


def idle() -> Contact:
    contact = Contact(TIMING)
    contact.edge(0, level=False)
    contact.tick(100)
    return contact


def signs(signals: list[Signal]) -> list[Sign]:
    return [signal.sign for signal in signals]


def train(contact: Contact, at_ms: int, level: bool, bounces: list[int]) -> tuple[list[Signal], int]:
    """Feed a bouncing change to `level`; return what was signalled and when the last edge was."""
    found: list[Signal] = []
    for length_ms in bounces:
        found += contact.edge(at_ms, level)
        found += contact.edge(at_ms + length_ms, not level)
        at_ms += 2 * length_ms
    return found + contact.edge(at_ms, level), at_ms


def test_a_glitch_is_no_press() -> None:
    contact = idle()
    assert contact.edge(1000, level=True) == []
    assert contact.edge(1005, level=False) == []
    assert contact.tick(2000) == []


def test_the_alarm_is_on_the_press_dated_at_its_edge() -> None:
    contact = idle()
    contact.edge(1000, level=True)
    assert contact.due_ms == 1030
    assert contact.tick(1029) == []
    assert contact.tick(1030) == [Signal(Sign.PRESS, 1000)]


def test_a_press_that_is_over_before_we_look_is_still_a_press() -> None:
    contact = idle()
    found = contact.edge(1000, level=True) + contact.edge(1040, level=False) + contact.tick(1200)
    assert found == [Signal(Sign.PRESS, 1000), Signal(Sign.RELEASE, 1040)]


def test_closed_at_the_start_is_a_press_and_says_so() -> None:
    contact = Contact(TIMING)
    assert not contact.is_known
    assert contact.edge(500, level=True) + contact.tick(600) == [Signal(Sign.PRESS, 500, is_boot_asserted=True)]


def test_a_press_right_after_the_start_was_seen_and_is_not_boot_asserted() -> None:
    contact = Contact(TIMING)
    found = contact.edge(500, level=False) + contact.edge(510, level=True) + contact.tick(600)
    assert found == [Signal(Sign.PRESS, 510)]


def test_open_at_the_start_is_nothing() -> None:
    contact = Contact(TIMING)
    assert contact.edge(500, level=False) + contact.tick(600) == []
    assert contact.is_known


def test_a_stuck_button_alarms_once_and_is_reported_once() -> None:
    contact = idle()
    found = contact.edge(1000, level=True) + contact.tick(500_000)
    assert found == [Signal(Sign.PRESS, 1000), Signal(Sign.STUCK, 31_000)]
    assert contact.is_stuck
    assert contact.due_ms is None
    contact.edge(600_000, level=False)
    assert signs(contact.tick(600_100)) == [Sign.STUCK_CLEARED, Sign.RELEASE]
    assert not contact.is_stuck


def test_a_second_press_within_the_rearm_time_is_the_same_alarm() -> None:
    contact = idle()
    found = contact.edge(1000, level=True) + contact.edge(1100, level=False) + contact.edge(1200, level=True) + contact.tick(1300)
    found += contact.edge(1300, level=False) + contact.tick(1400)
    assert signs(found) == [Sign.PRESS, Sign.RELEASE]


def test_a_contact_that_chatters_tells_no_more_releases_than_presses() -> None:
    """Each event is synced to the card and never evicted: a loose contact must not tell ten a second."""
    contact, found = idle(), []
    for at_ms in range(1_000, 61_000, 100):
        found += contact.edge(at_ms, level=at_ms % 200 == 0)
    presses = signs(found).count(Sign.PRESS)
    assert 60 < presses <= 120
    assert presses - 1 <= signs(found).count(Sign.RELEASE) <= presses


@given(RAW)
def test_no_two_presses_within_the_rearm_time(raw: list[tuple[int, bool]]) -> None:
    contact, now_ms, found = Contact(TIMING), 0, []
    for pause_ms, level in raw:
        now_ms += pause_ms
        found += contact.edge(now_ms, level)
    found += contact.tick(now_ms + 60_000)
    presses = [signal.at_ms for signal in found if signal.sign is Sign.PRESS]
    assert all(later - earlier >= TIMING.rearm_ms for earlier, later in pairwise(presses))


@given(st.lists(st.tuples(BOUNCES, st.integers(31, 29_000), BOUNCES, st.integers(600, 5_000)), max_size=8))
def test_each_steady_press_is_one_press_however_it_bounces(presses: list[tuple[list[int], int, list[int], int]]) -> None:
    contact, now_ms, found, expected = idle(), 1_000, [], []
    for closing, hold_ms, opening, pause_ms in presses:
        more, closed_ms = train(contact, now_ms, True, closing)
        expected.append(closed_ms)
        evenmore, opened_ms = train(contact, closed_ms + hold_ms, False, opening)
        found += more + evenmore
        now_ms = opened_ms + pause_ms
    found += contact.tick(now_ms + 1_000)
    assert [signal.at_ms for signal in found if signal.sign is Sign.PRESS] == expected
    assert signs(found).count(Sign.RELEASE) == len(presses)


@given(RAW)
def test_held_to_the_end_is_stuck(raw: list[tuple[int, bool]]) -> None:
    contact, now_ms = Contact(TIMING), 0
    for pause_ms, level in raw:
        now_ms += pause_ms
        contact.edge(now_ms, level)
    contact.edge(now_ms + 1, level=True)
    contact.tick(now_ms + 1 + TIMING.stuck_ms)
    assert contact.is_stuck


@given(RAW, st.lists(st.integers(0, 200_000), max_size=20), st.booleans())
def test_looking_more_often_changes_nothing(raw: list[tuple[int, bool]], ticks: list[int], is_pair: bool) -> None:
    quiet, busy = Contact(TIMING, is_pair=is_pair), Contact(TIMING, is_pair=is_pair)
    said: tuple[list[Signal], list[Signal]] = ([], [])
    now_ms, left = 0, sorted(ticks)
    for i, (pause_ms, level) in enumerate(raw):
        now_ms += pause_ms
        while left and left[0] <= now_ms:
            said[1].extend(busy.tick(left.pop(0)))
        is_second = is_pair and i % 2 == 1
        said[0].extend(quiet.edge(now_ms, level, is_second=is_second))
        said[1].extend(busy.edge(now_ms, level, is_second=is_second))
    said[0].extend(quiet.tick(now_ms + 100_000))
    said[1].extend(busy.tick(now_ms + 100_000))
    assert said[0] == said[1]


def pair() -> Contact:
    contact = Contact(TIMING, is_pair=True)
    contact.edge(0, level=False)
    contact.edge(0, level=True, is_second=True)
    assert contact.tick(1000) == []
    return contact


def test_a_pair_that_changes_over_is_a_press_and_no_fault() -> None:
    contact = pair()
    found = contact.edge(2000, level=False, is_second=True) + contact.edge(2015, level=True) + contact.tick(3000)
    assert signs(found) == [Sign.PRESS]
    assert not contact.has_wire_fault


def test_a_cut_wire_is_a_fault_and_heals() -> None:
    contact = pair()
    assert contact.edge(2000, level=False, is_second=True) + contact.tick(2199) == []
    assert contact.tick(2200) == [Signal(Sign.FAULT, 2000)]
    assert contact.has_wire_fault
    contact.edge(5000, level=True, is_second=True)
    assert contact.tick(6000) == [Signal(Sign.FAULT_CLEARED, 5000)]


def test_a_fault_never_silences_the_button() -> None:
    contact = pair()
    contact.edge(2000, level=False, is_second=True)
    contact.tick(2500)
    contact.edge(3000, level=True)
    assert signs(contact.tick(3100)) == [Sign.PRESS]
    shorted = pair()
    found = shorted.edge(2000, level=True) + shorted.tick(3000)
    assert signs(found) == [Sign.PRESS, Sign.FAULT]
