"""The agent's side of the video worker: one process, one sample at a time, and a hard deadline."""

import asyncio
import importlib.util
import logging
import sys
from typing import Final

import msgspec

from firmware_agent.drivers.camera.protocol import Ready, Sample, SampleRequest
from firmware_agent.errors import ConfigurationError, Transient

_START_S: Final = 30.0
_MAX_SAMPLES: Final = 500
_MAX_RSS_MB: Final = 128.0
_SOFTNESS: Final = 2.0
"""libav needs up to twice its timeouts."""
_MARGIN_S: Final = 2.0

_log = logging.getLogger(__name__)


class WorkerFailed(Transient):
    """The worker ended or had to be killed; the next sample starts a new one."""


def require_video() -> None:
    """Make sure the worker can run.

    Raises:
        ConfigurationError: the extra `video` is not installed.
    """
    missing = [name for name in ("av", "numpy") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigurationError(f"cameras need {' and '.join(missing)}: install smart-safety-zone[video]")


class VideoWorker:
    """The worker process of this node, started when first needed and recycled now and then (libraries leak)."""

    def __init__(self, *, max_samples: int = _MAX_SAMPLES, max_rss_mb: float = _MAX_RSS_MB) -> None:
        """Starts nothing."""
        self.starts = 0
        """How often a process was started."""
        self._max_samples: Final = max_samples
        self._max_rss_mb: Final = max_rss_mb
        self._lock = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._samples = 0

    @property
    def pid(self) -> int | None:
        """The process, if one runs."""
        return self._process.pid if self._process is not None else None

    async def sample(self, request: SampleRequest) -> Sample:
        """Look at a camera; samples wait for each other.

        Raises:
            WorkerFailed: the worker died or overran its deadline and was killed.
            ConfigurationError: it cannot work on this machine.
        """
        deadline_s = request.seconds + _SOFTNESS * request.timeout_s * 2 + _MARGIN_S
        async with self._lock:
            try:
                process = await self._running()
                async with asyncio.timeout(deadline_s):
                    seen = await _ask(process, request)
            except (TimeoutError, OSError, asyncio.IncompleteReadError, ValueError) as error:
                await self._kill()
                raise WorkerFailed(f"the video worker failed: {type(error).__name__}: {error}") from error
            except BaseException:  # cancelled: an answer that nobody reads must not meet the next request
                await self._kill()
                raise
            self._samples += 1
            if self._samples >= self._max_samples or seen.rss_mb > self._max_rss_mb:
                await self._kill()
            return seen

    async def aclose(self) -> None:
        """End the process."""
        await self._kill()

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "firmware_agent.drivers.camera.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self.starts += 1
        self._samples = 0
        assert self._process.stdout is not None
        async with asyncio.timeout(_START_S):
            ready = msgspec.json.decode(await self._process.stdout.readuntil(b"\n"), type=Ready)
        if ready.error:
            await self._kill()
            raise ConfigurationError(f"the video worker cannot run: {ready.error}")
        return self._process

    async def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.kill()
        await asyncio.shield(process.wait())


async def _ask(process: asyncio.subprocess.Process, request: SampleRequest) -> Sample:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(msgspec.json.encode(request) + b"\n")
    await process.stdin.drain()
    return msgspec.json.decode(await process.stdout.readuntil(b"\n"), type=Sample)
