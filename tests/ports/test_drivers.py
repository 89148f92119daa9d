"""What every driver promises (`firmware_agent.drivers.promise`), over all installed ones. A new driver adds its settings here."""

import asyncio
from importlib.metadata import entry_points
from typing import Any

import pytest

from firmware_agent.contract.ids import EventId
from firmware_agent.contract.vocabulary import FUNCTIONS, Action, ResultStatus
from firmware_agent.drivers.promise import ENTRY_POINTS, Closable, ConfigurationError, Driver, Factory
from tests.unit.firmware_agent.drivers.live_port import LivePort, until

ABSENT = "tcp://127.0.0.1:1"
SETTINGS: dict[str, dict[str, Any]] = {
    "camera": {"url": "rtsp://127.0.0.1:1/x", "probe_interval_s": 0.2, "timeout_s": 0.3},
    "panic_button": {"gpio": "simulated:/nowhere/gpio", "line": 1, "check_interval_s": 0.2},
    "street_light": {"bus": ABSENT, "relay_unit": 1, "meter_unit": 1, "rated_w": 60, "poll_interval_s": 0.2, "timeout_s": 0.1},
    "sensor": {"bus": ABSENT, "unit": 1, "profile": "pm25", "poll_interval_s": 0.2, "timeout_s": 0.1},
}
KNOWN = {"panic_button": {Action.DRILL_BEGIN, Action.DRILL_END}, "street_light": {Action.LAMP_OVERRIDE}}


@pytest.fixture(params=sorted(entry_points(group=ENTRY_POINTS).names))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def make(name: str, port: LivePort, **changes: Any) -> Driver:
    (entry,) = entry_points(group=ENTRY_POINTS, name=name)
    factory: Factory = entry.load()
    return factory({**SETTINGS[name], **changes}, port)


def test_it_says_what_it_is_and_opens_nothing(name: str) -> None:
    port = LivePort()
    driver = make(name, port)
    assert driver.kind.value == name
    assert set(driver.functions) <= set(FUNCTIONS[driver.kind])
    assert driver.functions[0] is FUNCTIONS[driver.kind][0]
    assert port.resources == {}
    assert port.observations == []


def test_it_is_marked_as_simulated_when_it_is(name: str) -> None:
    assert make(name, LivePort(), is_simulated=True).is_simulated


def test_model_and_serial_are_for_people(name: str) -> None:
    make(name, LivePort(), model="Maker X1", serial="0042")


def test_an_unknown_setting_is_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"dev-1.*no_such_setting"):
        make(name, LivePort(), no_such_setting=1)


@pytest.mark.parametrize("action", list(Action))
async def test_an_unknown_action_is_rejected_with_a_sentence(name: str, action: Action) -> None:
    if action in KNOWN.get(name, set()):
        return
    outcome = await make(name, LivePort()).command(action, {}, 0)
    assert outcome.status is ResultStatus.REJECTED
    assert outcome.message.endswith(".")


async def test_a_strange_acknowledgement_is_harmless(name: str) -> None:
    make(name, LivePort()).acknowledged(EventId("nobody:knows:1"))


async def test_a_device_that_is_not_there_is_evidence_and_ends_nothing(name: str) -> None:
    port = LivePort()
    driver = make(name, port)
    task = asyncio.create_task(driver.run())
    await until(lambda: any(observation.verdict.value == "failed" for observation in port.observations))
    assert not task.done()
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=10)
    assert done
    assert task.cancelled()
    for resource in port.resources.values():
        if isinstance(resource, Closable):
            await resource.aclose()
    assert {task.get_name() for task in asyncio.all_tasks()} == {asyncio.current_task().get_name()}  # type: ignore[union-attr]
