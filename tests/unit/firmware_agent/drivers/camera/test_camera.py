from collections.abc import AsyncIterator
from typing import Any

import pytest

from firmware_agent.contract.vocabulary import Action, Function, ResultStatus, Verdict
from firmware_agent.drivers.camera import create
from firmware_agent.errors import ConfigurationError
from hil.simulators.rtsp import CameraSimulator
from tests.unit.firmware_agent.drivers.live_port import LivePort, running, until

FAST = {"probe_interval_s": 0.4, "sample_interval_s": 1.0, "sample_s": 0.8, "timeout_s": 1.0, "min_fps": 0.0}


@pytest.fixture
async def camera() -> AsyncIterator[CameraSimulator]:
    async with CameraSimulator("cam-1", user="admin", password="s3cret") as simulator:
        yield simulator


@pytest.mark.parametrize(
    ("fault", "args", "verdict", "cause"),
    [
        ("dead", {}, Verdict.FAILED, "refused"),
        ("silent", {}, Verdict.FAILED, "silent"),
        ("status", {"code": 401}, Verdict.FAILED, "http_401"),
        ("status", {"code": 503}, Verdict.FAILED, "http_503"),
        ("stall", {}, Verdict.FAILED, "no_video"),
        ("black", {}, Verdict.FAILED, "black"),
        ("covered", {}, Verdict.FAILED, "covered"),
        ("frozen", {}, Verdict.FAILED, "frozen"),
        ("overexposed", {}, Verdict.DEGRADED, "overexposed"),
    ],
)
async def test_faults_are_seen_and_heal(camera: CameraSimulator, fault: str, args: dict[str, int], verdict: Verdict, cause: str) -> None:
    port = LivePort("cam-1")
    async with running(create({**camera.settings(), **FAST}, port), port):
        await port.saw(Function.LIVE, Verdict.WORKING)
        assert set(port.metrics(Function.LIVE)) == {"rtt_ms", "fps", "kbps", "luma"}
        await camera.fault(fault, **args)
        await port.saw(Function.LIVE, verdict, cause)
        await camera.fault("ok")
        await port.saw(Function.LIVE, Verdict.WORKING)


async def test_too_few_pictures(camera: CameraSimulator) -> None:
    port = LivePort("cam-1")
    async with running(create({**camera.settings(), **FAST, "min_fps": 30.0}, port), port):
        await port.saw(Function.LIVE, Verdict.DEGRADED, "low_fps")


async def test_a_wrong_password_is_said(camera: CameraSimulator) -> None:
    port = LivePort("cam-1")
    async with running(create({**camera.settings(), **FAST, "password": "wrong"}, port), port):
        await port.saw(Function.LIVE, Verdict.FAILED, "http_401")


async def test_a_probe_alone_proves_nothing(camera: CameraSimulator) -> None:
    """The camera answers, but its video was never seen."""
    await camera.fault("stall")
    port = LivePort("cam-1")
    async with running(create({**camera.settings(), **FAST}, port), port):
        await port.saw(Function.LIVE, Verdict.FAILED, "no_video")
    assert all(observation.verdict is Verdict.FAILED for observation in port.observations)


async def test_recording_is_never_inferred(camera: CameraSimulator) -> None:
    port = LivePort("cam-1")
    driver = create({**camera.settings(), **FAST, "recording": True}, port)
    assert driver.functions == (Function.LIVE, Function.RECORDING)
    async with running(driver, port):
        await port.saw(Function.LIVE, Verdict.WORKING)
        await port.saw(Function.RECORDING, Verdict.UNKNOWN, "not_checkable")


async def test_the_usual_size_of_pictures_is_remembered(camera: CameraSimulator) -> None:
    port = LivePort("cam-1")
    async with running(create({**camera.settings(), **FAST}, port), port):
        await port.saw(Function.LIVE, Verdict.WORKING)
        await until(lambda: port.memory().get("p_i_ratio") is not None)
    await camera.fault("frozen")
    again = LivePort("cam-1")
    again.memory().values.update(port.memory().values)
    async with running(create({**camera.settings(), **FAST}, again), again):
        await again.saw(Function.LIVE, Verdict.FAILED, "frozen")


async def test_it_knows_no_command(camera: CameraSimulator) -> None:
    outcome = await create(camera.settings(), LivePort()).command(Action.DRILL_BEGIN, {}, 0)
    assert outcome.status is ResultStatus.REJECTED


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "url"),
        ({"url": "http://x/"}, "url"),
        ({"url": "rtsp://x/", "probe_interval_s": 0}, "probe_interval_s"),
        ({"url": "rtsp://x/", "pan": 1}, "pan"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=f"cam-1.*{words}"):
        create(settings, LivePort("cam-1"))
