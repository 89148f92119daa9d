import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from firmware_agent.contract.vocabulary import Action, Function, ResultStatus, Verdict
from firmware_agent.drivers.street_light import create
from firmware_agent.errors import ConfigurationError
from hil.simulators.modbus import Lamp, ModbusSimulator
from tests.unit.firmware_agent.drivers.live_port import LivePort, running, until

FAST = {"poll_interval_s": 0.3, "timeout_s": 0.3, "warm_up_s": 0.0}
SOON = 10**12


@pytest.fixture
async def lamp() -> AsyncIterator[Lamp]:
    bus = ModbusSimulator()
    lamp = bus.add_lamp("lamp-1", rated_w=60)
    async with bus:
        yield lamp


@pytest.mark.parametrize(
    ("fault", "args", "verdict", "cause"),
    [
        ("burnt_out", {}, Verdict.FAILED, "lamp_failure"),
        ("relay_open", {}, Verdict.FAILED, "lamp_failure"),
        ("dim", {"factor": 0.5}, Verdict.DEGRADED, "lamp_power_too_low"),
        ("dim", {"factor": 1.6}, Verdict.DEGRADED, "lamp_power_too_high"),
        ("voltage", {"volts": 0}, Verdict.FAILED, "supply_loss"),
        ("voltage", {"volts": 180}, Verdict.UNKNOWN, "supply_voltage"),
        ("voltage", {"volts": 600}, Verdict.UNKNOWN, "meter_implausible"),
        ("silent", {}, Verdict.FAILED, "unreachable"),
    ],
)
async def test_faults_of_a_lit_lamp_are_seen_and_heal(lamp: Lamp, fault: str, args: dict[str, float], verdict: Verdict, cause: str) -> None:
    port = LivePort("lamp-1")
    async with running(create({**lamp.settings(), **FAST}, port), port):
        await port.saw(Function.LIT, Verdict.WORKING)
        assert 55 < port.metrics(Function.LIT)["power_w"] < 65
        await lamp.fault(fault, **args)
        await port.saw(Function.LIT, verdict, cause)
        await lamp.fault("ok")
        await port.saw(Function.LIT, Verdict.WORKING)


async def test_one_bad_poll_is_no_evidence(lamp: Lamp) -> None:
    port = LivePort("lamp-1")
    async with running(create({**lamp.settings(), **FAST, "poll_interval_s": 60}, port), port):
        await port.saw(Function.LIT, Verdict.WORKING)
    await lamp.fault("burnt_out")
    driver = create({**lamp.settings(), **FAST, "poll_interval_s": 60}, port)
    before = len(port.observations)
    measured, _ = await driver._poll()
    assert measured is not None
    assert measured.power_w < 1
    assert len(port.observations) == before
    await port.resources[f"modbus:{lamp.settings()['bus']}"].aclose()  # type: ignore[attr-defined]


async def test_the_level_is_asserted_again_when_somebody_else_switches(lamp: Lamp) -> None:
    port = LivePort("lamp-1")
    async with running(create({**lamp.settings(), **FAST}, port), port):
        await port.saw(Function.LIT, Verdict.WORKING)
        lamp.coil = False
        await until(lambda: lamp.coil)


async def test_dark_by_schedule_counts_as_last_seen_and_never_longer(lamp: Lamp) -> None:
    port = LivePort("lamp-1")
    async with running(create({**lamp.settings(), **FAST, "schedule": "always_off"}, port), port):
        await port.saw(Function.LIT, Verdict.UNKNOWN, "not_seen_lit")
        assert not lamp.is_lit
    async with running(create({**lamp.settings(), **FAST}, port), port):
        await port.saw(Function.LIT, Verdict.WORKING)
    port.resources.clear()
    async with running(create({**lamp.settings(), **FAST, "schedule": "always_off"}, port), port):
        await until(lambda: not lamp.is_lit)
        await port.saw(Function.LIT, Verdict.WORKING)
    port.resources.clear()
    async with running(create({**lamp.settings(), **FAST, "schedule": "always_off", "proof_max_age_h": 1e-9}, port), port):
        await port.saw(Function.LIT, Verdict.UNKNOWN, "not_seen_lit")


async def test_a_lamp_that_failed_by_night_is_failed_by_day(lamp: Lamp) -> None:
    port = LivePort("lamp-1")
    await lamp.fault("burnt_out")
    async with running(create({**lamp.settings(), **FAST}, port), port):
        await port.saw(Function.LIT, Verdict.FAILED, "lamp_failure")
    port.resources.clear()
    async with running(create({**lamp.settings(), **FAST, "schedule": "always_off"}, port), port):
        await until(lambda: not lamp.coil)
        await port.saw(Function.LIT, Verdict.FAILED, "lamp_failure")


async def test_a_welded_relay_burns_by_day(lamp: Lamp) -> None:
    port = LivePort("lamp-1")
    await lamp.fault("relay_welded")
    async with running(create({**lamp.settings(), **FAST, "schedule": "always_off"}, port), port):
        await port.saw(Function.LIT, Verdict.DEGRADED, "relay_failure")


async def test_an_override_is_proven_by_power_and_ends_by_itself(lamp: Lamp) -> None:
    port = LivePort("lamp-1")
    driver = create({**lamp.settings(), **FAST}, port)
    async with running(driver, port):
        await port.saw(Function.LIT, Verdict.WORKING)
        outcome = await driver.command(Action.LAMP_OVERRIDE, {"level_percent": 0, "duration_s": 1.0}, SOON)
        assert outcome.status is ResultStatus.SUCCEEDED
        assert outcome.measured["power_w"] < 5
        assert not lamp.is_lit
        await until(lambda: lamp.is_lit)
        outcome = await driver.command(Action.LAMP_OVERRIDE, {"level_percent": 0, "duration_s": 600}, SOON)
        assert outcome.status is ResultStatus.SUCCEEDED
        outcome = await driver.command(Action.LAMP_OVERRIDE, {"level_percent": 100, "duration_s": 0}, SOON)
        assert outcome.status is ResultStatus.SUCCEEDED
        assert outcome.measured["power_w"] > 50
        assert lamp.is_lit


async def test_an_override_that_is_not_measured_fails_and_is_taken_back(lamp: Lamp) -> None:
    port = LivePort("lamp-1")
    driver = create({**lamp.settings(), **FAST}, port)
    await lamp.fault("relay_welded")
    async with running(driver, port):
        outcome = await driver.command(Action.LAMP_OVERRIDE, {"level_percent": 0}, port.clock.mono_ms() + 500)
        assert outcome.status is ResultStatus.FAILED
        assert outcome.measured["power_w"] > 50
        await until(lambda: lamp.coil)
        await lamp.fault("silent")
        outcome = await driver.command(Action.LAMP_OVERRIDE, {"level_percent": 0}, port.clock.mono_ms() + 100)
        assert outcome.status is ResultStatus.FAILED
        assert outcome.measured == {}


async def test_an_override_that_is_given_up_is_taken_back(lamp: Lamp) -> None:
    """A command may expire while the bus is silent: the server is told that it failed, so the lamp must not go dark later."""
    port = LivePort("lamp-1")
    driver = create({**lamp.settings(), **FAST}, port)
    async with running(driver, port):
        await port.saw(Function.LIT, Verdict.WORKING)
        await lamp.fault("silent")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await driver.command(Action.LAMP_OVERRIDE, {"level_percent": 0, "duration_s": 3600}, SOON)
        await lamp.fault("ok")
        seen = len(port.observations)
        await until(lambda: len(port.observations) > seen + 3)
        assert lamp.is_lit


async def test_an_override_is_proven_only_while_it_lasts(lamp: Lamp) -> None:
    port = LivePort("lamp-1")
    driver = create({**lamp.settings(), **FAST}, port)
    await lamp.fault("relay_welded")
    async with running(driver, port):
        outcome = await driver.command(Action.LAMP_OVERRIDE, {"level_percent": 0, "duration_s": 0.5}, SOON)
        assert outcome.status is ResultStatus.FAILED, "lit by schedule again is not dark as asked"


async def test_the_end_of_an_override_is_not_overslept(lamp: Lamp) -> None:
    port = LivePort("lamp-1")
    driver = create({**lamp.settings(), **FAST, "poll_interval_s": 3600}, port)
    async with running(driver, port):
        await port.saw(Function.LIT, Verdict.WORKING)
        outcome = await driver.command(Action.LAMP_OVERRIDE, {"level_percent": 0, "duration_s": 2.0}, SOON)
        assert outcome.status is ResultStatus.SUCCEEDED
        await until(lambda: lamp.is_lit)


@pytest.mark.parametrize(
    "args",
    [{}, {"level_percent": 50}, {"level_percent": True}, {"level_percent": 0, "duration_s": -1}, {"level_percent": 0, "duration_s": "x"}],
)
async def test_wrong_commands_are_rejected(lamp: Lamp, args: dict[str, Any]) -> None:
    driver = create(lamp.settings(), LivePort("lamp-1"))
    assert (await driver.command(Action.LAMP_OVERRIDE, args, SOON)).status is ResultStatus.REJECTED
    assert (await driver.command(Action.DRILL_BEGIN, {}, SOON)).status is ResultStatus.REJECTED


async def test_two_lamps_of_one_bus_share_one_connection_and_a_dead_one_does_not_stop_the_other() -> None:
    bus = ModbusSimulator()
    first, second = bus.add_lamp("lamp-1"), bus.add_lamp("lamp-2")
    async with bus:
        port, other = LivePort("lamp-1"), LivePort("lamp-2")
        other.resources = port.resources
        await first.fault("silent")
        async with running(create({**first.settings(), **FAST}, port), port):
            same_bus = {**second.settings(), "bus": f"{second.settings()['bus']}/"}  # spelt otherwise
            task = asyncio.create_task(create({**same_bus, **FAST}, other).run())
            await port.saw(Function.LIT, Verdict.FAILED, "unreachable")
            await other.saw(Function.LIT, Verdict.WORKING)
            seen = len(other.observations)
            await until(lambda: len(other.observations) > seen + 3)
            assert len(port.resources) == 1
            await first.fault("ok")
            await port.saw(Function.LIT, Verdict.WORKING)
            task.cancel()
            await asyncio.wait([task])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rated_w": 0}, "rated_w"),
        ({"bus": "udp://x"}, "bus"),
        ({"meter_profile": "nonsense"}, "eastron_sdm230"),
        ({"meter_profile": "/nowhere/x.toml"}, "nowhere"),
        ({"schedule": "hours"}, "hours"),
        ({"schedule": "hours", "hours": ["25:00-06:00"]}, "hours"),
        ({"utc_offset": "Bangkok"}, "utc_offset"),
        ({"dimmer": 1}, "dimmer"),
    ],
)
async def test_wrong_settings_are_named(lamp: Lamp, change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=f"lamp-1.*{words}"):
        create({**lamp.settings(), **change}, LivePort("lamp-1"))
