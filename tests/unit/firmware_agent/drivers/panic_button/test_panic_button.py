import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from firmware_agent.contract.ids import event_id
from firmware_agent.contract.vocabulary import Action, EventType, Function, ResultStatus, Verdict
from firmware_agent.drivers.fake import NODE, STREAM
from firmware_agent.drivers.panic_button import create
from firmware_agent.errors import ConfigurationError
from firmware_agent.gpio import GpioUnavailable
from firmware_agent.gpio.simulated import SimulatedGpio
from hil.simulators.gpio import Button, GpioSimulator
from tests.unit.firmware_agent.drivers.live_port import LivePort, running, until

FAST = {"check_interval_s": 0.3, "stuck_ms": 600, "delivered_within_ms": 300, "fault_after_ms": 700}
FIRST = event_id(NODE, STREAM, 1)


@pytest.fixture
async def gpio(tmp_path: Path) -> AsyncIterator[GpioSimulator]:
    async with GpioSimulator(tmp_path / "gpio") as simulator:
        yield simulator


@pytest.fixture
def button(gpio: GpioSimulator) -> Button:
    return gpio.button("btn-1")


async def drill(driver: Any) -> None:
    outcome = await driver.command(Action.DRILL_BEGIN, {"duration_s": 60}, 10**9)
    assert outcome.status is ResultStatus.SUCCEEDED


async def test_a_bouncing_press_is_one_event_amber_at_once_green_on_the_servers_word(button: Button) -> None:
    port = LivePort("btn-1")
    driver = create({**button.settings(), **FAST, "delivered_within_ms": 60_000}, port)
    async with running(driver, port):
        await port.saw(Function.PRESS, Verdict.UNKNOWN, "never_tested")
        await button.press()
        await until(lambda: bool(port.happened(EventType.RELEASE)))
        assert [(h.type, h.is_drill, h.is_boot_asserted) for h in port.happenings] == [
            (EventType.PRESS, False, False),
            (EventType.RELEASE, False, False),
        ]
        assert button.amber
        assert not button.green
        driver.acknowledged(FIRST)
        await until(lambda: button.green and button.buzzer and not button.amber)
        await until(lambda: not button.buzzer)


async def test_only_an_acknowledged_drill_proves_the_button_and_it_is_remembered(button: Button) -> None:
    port = LivePort("btn-1")
    driver = create({**button.settings(), **FAST}, port)
    async with running(driver, port):
        await port.saw(Function.PRESS, Verdict.UNKNOWN, "never_tested")
        await drill(driver)
        await button.press()
        await until(lambda: bool(port.happened(EventType.PRESS)))
        assert port.happened(EventType.PRESS)[0].is_drill
        assert port.newest(Function.PRESS) == (Verdict.UNKNOWN, "never_tested")
        driver.acknowledged(FIRST)
        await port.saw(Function.PRESS, Verdict.WORKING)
        assert port.metrics(Function.PRESS)["drill_age_s"] < 60
    again = LivePort("btn-1")
    again.memory().values.update(port.memory().values)
    async with running(create({**button.settings(), **FAST}, again), again):
        await again.saw(Function.PRESS, Verdict.WORKING)
    overdue = LivePort("btn-1")
    overdue.memory().values.update(port.memory().values)
    async with running(create({**button.settings(), **FAST, "drill_max_age_days": 1e-9}, overdue), overdue):
        await overdue.saw(Function.PRESS, Verdict.UNKNOWN, "test_overdue")


async def test_a_light_that_cannot_be_had_does_not_silence_the_button(button: Button) -> None:
    class Dark(SimulatedGpio):
        async def drive(self, line: int) -> Any:
            raise GpioUnavailable(f"line {line}: busy")

    port = LivePort("btn-1")
    address = button.settings()["gpio"]
    port.resources[f"gpio:{address}"] = Dark(Path(address.removeprefix("simulated:")))
    driver = create({**button.settings(), **FAST}, port)
    async with running(driver, port):
        await port.saw(Function.PRESS, Verdict.UNKNOWN, "never_tested")
        await button.press()
        await until(lambda: bool(port.happened(EventType.PRESS)))
        driver.acknowledged(FIRST)
        await port.saw(Function.PRESS, Verdict.DEGRADED, "lights_unavailable")


async def test_after_drill_end_a_press_is_meant(button: Button) -> None:
    port = LivePort("btn-1")
    driver = create({**button.settings(), **FAST}, port)
    async with running(driver, port):
        await port.saw(Function.PRESS, Verdict.UNKNOWN, "never_tested")
        await drill(driver)
        assert (await driver.command(Action.DRILL_END, {}, 10**9)).status is ResultStatus.SUCCEEDED
        await button.press()
        await until(lambda: bool(port.happened(EventType.PRESS)))
        assert not port.happened(EventType.PRESS)[0].is_drill


@pytest.mark.parametrize("duration_s", [0, -1, 1801, "600", True, None])
async def test_a_drill_lasts_at_most_half_an_hour(button: Button, duration_s: Any) -> None:
    driver = create({**button.settings()}, LivePort("btn-1"))
    assert (await driver.command(Action.DRILL_BEGIN, {"duration_s": duration_s}, 10**9)).status is ResultStatus.REJECTED
    assert (await driver.command(Action.LAMP_OVERRIDE, {}, 10**9)).status is ResultStatus.REJECTED


async def test_an_undelivered_press_blinks_and_becomes_a_fault_until_it_is_delivered(button: Button) -> None:
    port = LivePort("btn-1")
    driver = create({**button.settings(), **FAST}, port)
    async with running(driver, port):
        await port.saw(Function.PRESS, Verdict.UNKNOWN, "never_tested")
        await button.press()
        await until(lambda: button.amber)
        await until(lambda: not button.amber)
        await until(lambda: button.amber)
        await until(lambda: [h.cause for h in port.happened(EventType.FAULT)] == ["not_delivered"])
        assert not button.green
        driver.acknowledged(FIRST)
        await until(lambda: [h.cause for h in port.happened(EventType.FAULT_CLEARED)] == ["not_delivered"])
        await until(lambda: button.green)


async def test_an_acknowledgement_that_overtakes_its_press_still_counts(button: Button) -> None:
    port = LivePort("btn-1")
    driver = create({**button.settings(), **FAST}, port)
    async with running(driver, port):
        await port.saw(Function.PRESS, Verdict.UNKNOWN, "never_tested")
        driver.acknowledged(FIRST)
        assert not button.green
        await button.press()
        await until(lambda: button.green)


async def test_a_cut_wire_fails_and_heals(button: Button) -> None:
    port = LivePort("btn-1")
    async with running(create({**button.settings(), **FAST}, port), port):
        await port.saw(Function.PRESS, Verdict.UNKNOWN, "never_tested")
        await button.fault("cut")
        await port.saw(Function.PRESS, Verdict.FAILED, "wire_fault")
        await button.fault("ok")
        await port.saw(Function.PRESS, Verdict.UNKNOWN, "never_tested")
        await until(lambda: bool(port.happened(EventType.FAULT_CLEARED)))
        assert not port.happened(EventType.PRESS)


async def test_a_stuck_button_alarms_once_and_fails(button: Button) -> None:
    port = LivePort("btn-1")
    async with running(create({**button.settings(), **FAST}, port), port):
        await port.saw(Function.PRESS, Verdict.UNKNOWN, "never_tested")
        await button.fault("stuck")
        await port.saw(Function.PRESS, Verdict.FAILED, "stuck")
        assert len(port.happened(EventType.PRESS)) == 1
        await until(lambda: len(port.happened(EventType.STUCK)) == 1)
        await button.fault("ok")
        await until(lambda: bool(port.happened(EventType.STUCK_CLEARED)))


async def test_closed_at_the_start_is_a_press_that_says_so_and_proves_nothing(button: Button) -> None:
    button.hold()
    port = LivePort("btn-1")
    driver = create({**button.settings(), **FAST, "stuck_ms": 60_000}, port)
    async with running(driver, port):
        await until(lambda: bool(port.happened(EventType.PRESS)))
        assert port.happened(EventType.PRESS)[0].is_boot_asserted
        driver.acknowledged(FIRST)
        await until(lambda: button.green)
        assert port.newest(Function.PRESS) == (Verdict.UNKNOWN, "never_tested")


async def test_a_press_that_cannot_be_stored_yet_is_tried_until_it_is(button: Button) -> None:
    port = LivePort("btn-1")
    port.refusals = 1
    async with running(create({**button.settings(), **FAST}, port), port):
        await port.saw(Function.PRESS, Verdict.UNKNOWN, "never_tested")
        await button.press()
        await until(lambda: len(port.happenings) >= 2)
        assert [h.type for h in port.happenings][:2] == [EventType.PRESS, EventType.RELEASE]


@pytest.mark.parametrize("refusals", [0, 1])
async def test_a_press_untold_when_the_driver_stops_is_told_first(button: Button, refusals: int) -> None:
    port = LivePort("btn-1")
    port.refusals = refusals
    driver = create({**button.settings(), **FAST}, port)
    task = asyncio.create_task(driver.run())
    await port.saw(Function.PRESS, Verdict.UNKNOWN, "never_tested")
    button.hold()
    await until(lambda: button.amber and port.refusals == 0)
    task.cancel()
    await asyncio.wait([task])
    await until(lambda: len(port.happened(EventType.PRESS)) == 1)
    await port.resources["gpio:" + button.settings()["gpio"]].aclose()  # type: ignore[attr-defined]


async def test_lines_that_cannot_be_read_fail_and_heal_and_a_press_meanwhile_is_found(gpio: GpioSimulator, button: Button) -> None:
    port = LivePort("btn-1")
    async with running(create({**button.settings(), **FAST, "stuck_ms": 60_000}, port), port):
        await port.saw(Function.PRESS, Verdict.UNKNOWN, "never_tested")
        await gpio.fault("disconnect")
        await port.saw(Function.PRESS, Verdict.FAILED, "gpio_unreadable")
        button.hold()
        await gpio.fault("ok")
        await until(lambda: len(port.happened(EventType.PRESS)) == 1)
        await port.saw(Function.PRESS, Verdict.UNKNOWN, "never_tested")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "gpio"),
        ({"gpio": "gpiochip:x"}, "line"),
        ({"gpio": "gpiochip0", "line": 3}, "gpio"),
        ({"gpio": "simulated:/x", "line": -1}, "line"),
        ({"gpio": "simulated:/x", "line": 1, "colour": "red"}, "colour"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=f"btn-1.*{words}"):
        create(settings, LivePort("btn-1"))
