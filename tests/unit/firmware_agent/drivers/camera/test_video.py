import asyncio
import importlib.util
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from firmware_agent.drivers.camera import create
from firmware_agent.drivers.camera.protocol import SampleRequest
from firmware_agent.drivers.camera.video import VideoWorker, WorkerFailed
from firmware_agent.errors import ConfigurationError
from hil.simulators.rtsp import CameraSimulator
from tests.unit.firmware_agent.drivers.live_port import LivePort, until


@pytest.fixture
async def camera() -> AsyncIterator[CameraSimulator]:
    async with CameraSimulator() as simulator:
        yield simulator


@pytest.fixture
async def worker() -> AsyncIterator[VideoWorker]:
    one = VideoWorker()
    yield one
    await one.aclose()


def request(camera: CameraSimulator, *, seconds: float = 1.0, timeout_s: float = 3.0) -> SampleRequest:
    return SampleRequest(camera.url, seconds, timeout_s)


async def test_a_sample_says_what_the_stream_is(camera: CameraSimulator, worker: VideoWorker) -> None:
    seen = await worker.sample(request(camera))
    assert seen.cause == ""
    assert (seen.codec, seen.width, seen.height) == ("h264", 320, 240)
    assert seen.fps is not None
    assert 5 < seen.fps < 15
    assert seen.kbps is not None
    assert 50 < seen.kbps < 5000
    assert seen.luma is not None
    assert 100 < seen.luma < 150
    assert 0 < seen.rss_mb < 128


async def test_one_process_serves_many_samples_one_at_a_time(camera: CameraSimulator, worker: VideoWorker) -> None:
    seen = await asyncio.gather(*(worker.sample(request(camera, seconds=0.5)) for _ in range(3)))
    assert [sample.cause for sample in seen] == ["", "", ""]
    assert worker.starts == 1


async def test_a_hanging_worker_is_killed_and_replaced(camera: CameraSimulator, worker: VideoWorker) -> None:
    await worker.sample(request(camera, seconds=0.5))
    hanging = worker.pid
    assert hanging is not None
    os.kill(hanging, signal.SIGSTOP)
    with pytest.raises(WorkerFailed):
        await worker.sample(request(camera, seconds=0.5, timeout_s=0.2))
    with pytest.raises(ProcessLookupError):
        os.kill(hanging, 0)
    assert (await worker.sample(request(camera))).cause == ""
    assert worker.starts == 2


async def test_a_worker_that_dies_is_replaced(camera: CameraSimulator, worker: VideoWorker) -> None:
    await worker.sample(request(camera, seconds=0.5))
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    try:
        await worker.sample(request(camera))
    except WorkerFailed:
        assert (await worker.sample(request(camera))).cause == ""
    assert worker.starts == 2


@pytest.mark.skipif(sys.platform != "linux", reason="other systems choose by themselves whom to end when memory is short")
async def test_a_worker_dies_before_the_agent_when_memory_is_short(camera: CameraSimulator, worker: VideoWorker) -> None:
    await worker.sample(request(camera, seconds=0.5))
    assert await asyncio.to_thread(Path(f"/proc/{worker.pid}/oom_score_adj").read_text) == "1000\n"


async def test_a_sample_given_up_does_not_answer_the_next(camera: CameraSimulator, worker: VideoWorker) -> None:
    task = asyncio.create_task(worker.sample(request(camera, seconds=20)))
    await until(lambda: camera.plays > 0)
    task.cancel()
    await asyncio.wait([task])
    await camera.fault("black")
    seen = await worker.sample(request(camera))
    assert seen.luma is not None
    assert seen.luma < 32


async def test_a_worker_is_recycled(camera: CameraSimulator) -> None:
    worker = VideoWorker(max_samples=1)
    await worker.sample(request(camera, seconds=0.5))
    assert worker.pid is None
    await worker.sample(request(camera, seconds=0.5))
    assert worker.starts == 2
    await worker.aclose()


async def test_the_worker_ends_with_its_input() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "firmware_agent.drivers.camera.worker", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert await process.stdout.readline() == b'{"error":""}\n'
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), 30) == 0


@pytest.mark.parametrize(
    ("fault", "args", "cause"), [("stall", {}, "no_video"), ("status", {"code": 404}, "http_404"), ("dead", {}, "refused")]
)
async def test_bad_streams(camera: CameraSimulator, worker: VideoWorker, fault: str, args: dict[str, int], cause: str) -> None:
    asked = request(camera, timeout_s=0.5)
    await camera.fault(fault, **args)
    assert (await worker.sample(asked)).cause == cause


async def test_a_wrong_password_is_said(worker: VideoWorker) -> None:
    async with CameraSimulator(user="admin", password="s3cret") as locked:
        assert (await worker.sample(request(locked))).cause == "http_401"


def test_without_the_extra_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "av" else find(name))
    with pytest.raises(ConfigurationError, match=r"cam-1: cameras need av: install smart-safety-zone\[video\]"):
        create({"url": "rtsp://127.0.0.1/x"}, LivePort("cam-1"))
