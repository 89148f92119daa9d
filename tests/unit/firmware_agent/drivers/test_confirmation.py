from firmware_agent.drivers.confirmation import Confirmation


def test_three_bad_checks_in_a_row_confirm() -> None:
    confirmation = Confirmation()
    assert [confirmation.bad(t) for t in (0, 1, 2, 3)] == [False, False, True, True]
    confirmation.good()
    assert not confirmation.bad(4)


def test_a_good_check_between_forgets() -> None:
    confirmation = Confirmation()
    confirmation.bad(0)
    confirmation.bad(1)
    confirmation.good()
    assert not confirmation.is_pending
    assert not confirmation.bad(2)


def test_long_trouble_is_confirmed_by_the_second_check() -> None:
    confirmation = Confirmation(within_ms=45_000)
    assert not confirmation.bad(0)
    assert confirmation.bad(45_000)
    assert confirmation.bad(45_001)


def test_a_suspicion_is_checked_soon() -> None:
    confirmation = Confirmation()
    assert confirmation.pause_s(10) == 10
    confirmation.bad(0)
    assert confirmation.pause_s(10) == 2
    confirmation.bad(1)
    confirmation.bad(2)
    assert confirmation.pause_s(10) == 10
