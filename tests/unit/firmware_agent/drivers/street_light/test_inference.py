import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_agent.contract.vocabulary import Verdict
from firmware_agent.drivers.street_light.inference import LIT, Cause, Cycling, Finding, Lamp, Measured, is_dark, is_lit, judge

LAMP = Lamp(rated_w=60, standby_w=0.5, rated_v=230, warm_up_s=30)
LONG = 3_600_000
ON, OFF = 100, 0


def finding(verdict: Verdict, cause: Cause) -> Finding:
    return Finding(verdict, cause)


@pytest.mark.parametrize(
    ("level", "coil", "power_w", "voltage_v", "expected"),
    [
        (ON, True, 60, 230, LIT),
        (ON, True, 43, 230, LIT),
        (ON, True, 0.4, 230, finding(Verdict.FAILED, Cause.LAMP_FAILURE)),
        (ON, True, 17, 230, finding(Verdict.FAILED, Cause.LAMP_FAILURE)),
        (ON, True, 30, 230, finding(Verdict.DEGRADED, Cause.LAMP_POWER_TOO_LOW)),
        (ON, True, 90, 230, finding(Verdict.DEGRADED, Cause.LAMP_POWER_TOO_HIGH)),
        (ON, False, 0.4, 230, finding(Verdict.FAILED, Cause.RELAY_FAILURE)),
        (ON, True, 0, 0, finding(Verdict.FAILED, Cause.SUPPLY_LOSS)),
        (OFF, False, 0, 10, finding(Verdict.FAILED, Cause.SUPPLY_LOSS)),
        (ON, True, 60, 190, finding(Verdict.UNKNOWN, Cause.SUPPLY_VOLTAGE)),
        (ON, True, 60, 270, finding(Verdict.UNKNOWN, Cause.SUPPLY_VOLTAGE)),
        (OFF, False, 0.4, 230, None),
        (OFF, False, 60, 230, finding(Verdict.DEGRADED, Cause.RELAY_FAILURE)),
        (OFF, True, 60, 230, finding(Verdict.DEGRADED, Cause.LAMP_UNEXPECTED_ON)),
        (OFF, True, 0.4, 230, finding(Verdict.FAILED, Cause.RELAY_FAILURE)),
    ],
)
def test_what_relay_and_meter_say(level: int, coil: bool, power_w: float, voltage_v: float, expected: Finding | None) -> None:
    assert judge(LAMP, level, Measured(coil, power_w, voltage_v), LONG) == expected


def test_a_cold_lamp_is_not_judged_but_a_lit_one_is() -> None:
    dark, lit = Measured(True, 0.4, 230), Measured(True, 60, 230)
    assert judge(LAMP, ON, dark, 29_999) == Finding(Verdict.UNKNOWN, Cause.WARMING_UP)
    assert judge(LAMP, ON, dark, 30_000) == Finding(Verdict.FAILED, Cause.LAMP_FAILURE)
    assert judge(LAMP, ON, lit, 0) == LIT


def test_a_small_lamp_needs_3_watts() -> None:
    small = Lamp(rated_w=8)
    assert judge(small, ON, Measured(True, 2.9, 230), LONG) == Finding(Verdict.FAILED, Cause.LAMP_FAILURE)
    assert not is_lit(small, Measured(True, 2.9, 230))


@given(st.sampled_from([ON, OFF]), st.booleans(), st.floats(0, 500), st.floats(0, 400), st.integers(0, LONG))
def test_working_is_only_said_of_a_lamp_that_gives_light(level: int, coil: bool, power_w: float, voltage_v: float, steady_ms: int) -> None:
    measured = Measured(coil, power_w, voltage_v)
    found = judge(LAMP, level, measured, steady_ms)
    if found == LIT:
        assert level == ON
        assert is_lit(LAMP, measured)
    if found is None:
        assert level == OFF
        assert is_dark(LAMP, measured)


def test_a_lamp_that_goes_on_and_off_by_itself_cycles() -> None:
    cycling = Cycling(most=4, within_ms=1_800_000)
    seen = [cycling.see(i * 60_000, ON, i % 2 == 0) for i in range(6)]
    assert seen == [False, False, False, False, False, True]
    assert not cycling.see(6 * 60_000, OFF, False)
    assert not cycling.see(7 * 60_000, ON, True)


def test_old_swings_are_forgotten() -> None:
    cycling = Cycling(most=4, within_ms=1_800_000)
    assert not any(cycling.see(i * 600_000, ON, i % 2 == 0) for i in range(20))
