"""The camera at work: probe often, look at the video now and then, and say what was proven.

Only a look at the video proves `live`; a probe alone proves nothing but trouble. Trouble is confirmed by quick repetition (see
`firmware_agent.drivers.confirmation`). After trouble a good probe is followed by a look at once: two good checks, and it works.
"""

import asyncio
import logging
import random
from collections.abc import Mapping
from typing import Any, Final

from firmware_agent.contract.ids import EventId
from firmware_agent.contract.vocabulary import Action, Function, Kind, ResultStatus, Verdict
from firmware_agent.drivers.camera.judge import Finding, judge, learn
from firmware_agent.drivers.camera.probe import Probe, probe
from firmware_agent.drivers.camera.protocol import Sample, SampleRequest
from firmware_agent.drivers.camera.settings import CameraSettings, Target
from firmware_agent.drivers.camera.video import VideoWorker, WorkerFailed, require_video
from firmware_agent.drivers.confirmation import QUICK_SHARE, Confirmation
from firmware_agent.drivers.promise import CommandOutcome, ConfigurationError, Observation, Port
from firmware_agent.drivers.settings import parse

_BASELINE: Final = "p_i_ratio"
_TTL_SHARE: Final = 2.5
_RELEARN_SHARE: Final = 0.1

_log = logging.getLogger(__name__)


def create(settings: Mapping[str, Any], port: Port) -> "Camera":
    """Return the driver of a camera (entry point `camera`).

    Raises:
        ConfigurationError: a setting is missing, unknown or wrong, or the extra `video` is not installed.
    """
    camera = parse(settings, CameraSettings, port.channel)
    try:
        require_video()
        return Camera(camera, port, Target(camera))
    except ConfigurationError as error:
        raise ConfigurationError(f"{port.channel}: {error}") from error


class Camera:
    """One camera."""

    kind: Final = Kind.CAMERA

    def __init__(self, settings: CameraSettings, port: Port, target: Target) -> None:
        """Opens nothing."""
        self.is_simulated: Final = settings.is_simulated
        self.functions: Final = (Function.LIVE, Function.RECORDING) if settings.recording else (Function.LIVE,)
        self._settings: Final = settings
        self._port: Final = port
        self._target: Final = target
        self._probes = Confirmation(within_ms=int(settings.probe_interval_s * 3000))
        self._samples = Confirmation(within_ms=int(settings.sample_interval_s * 3000))
        self._is_working = False
        self._sample_due_ms = 0
        self._rtt_ms: float | None = None
        self._baseline = self._remembered()

    async def run(self) -> None:
        """See `Driver`."""
        settings = self._settings
        await asyncio.sleep(random.uniform(0, min(1.0, settings.probe_interval_s / QUICK_SHARE)))
        while True:
            found = await probe(self._target, timeout_s=settings.timeout_s)
            if found.cause:
                self._trouble(found)
            else:
                await self._reachable(found)
            self._recording()
            await asyncio.sleep(self._pause_s())

    async def command(self, action: Action, args: Mapping[str, Any], expires_mono_ms: int) -> CommandOutcome:
        """See `Driver`; a camera knows no command."""
        return CommandOutcome(ResultStatus.REJECTED, f"A camera does not know {action.value}.")

    def acknowledged(self, event_id: EventId) -> None:
        """See `Driver`; a camera has no light for it."""

    def _pause_s(self) -> float:
        """Return how long until the next check, jittered so that cameras do not march in step."""
        pause_s = self._probes.pause_s(self._settings.probe_interval_s) * random.uniform(0.9, 1.0)
        if self._probes.is_pending or self._sample_due_ms == 0:
            return pause_s
        until_sample_s = (self._sample_due_ms - self._port.clock.mono_ms()) / 1000
        return max(0.05, min(pause_s, until_sample_s))

    def _trouble(self, found: Probe) -> None:
        if not self._probes.bad(self._port.clock.mono_ms()):
            return
        self._is_working = False
        self._sample_due_ms = 0  # the next good probe is followed by a look
        self._observe(Finding(Verdict.FAILED, found.cause), {}, self._settings.probe_interval_s)

    async def _reachable(self, found: Probe) -> None:
        self._probes.good()
        self._rtt_ms = found.rtt_ms
        if self._port.clock.mono_ms() >= self._sample_due_ms:
            await self._look()

    async def _look(self) -> None:
        settings = self._settings
        worker = self._port.shared("video", VideoWorker)
        try:
            sample = await worker.sample(SampleRequest(self._target.secret_url, settings.sample_s, settings.timeout_s))
        except WorkerFailed as error:
            _log.warning("%s: %s", self._port.channel, error)
            self._conclude(Finding(Verdict.UNKNOWN, "worker_failed"), Sample())
        else:
            finding = judge(sample, self._baseline, min_fps=settings.min_fps, has_frozen_check=settings.frozen_check)
            self._conclude(finding, sample)
            if finding.verdict is Verdict.WORKING:
                self._learn(sample)
        share = 1 if self._is_working and not self._samples.is_pending else QUICK_SHARE
        self._sample_due_ms = self._port.clock.mono_ms() + int(settings.sample_interval_s * 1000 / share * random.uniform(0.9, 1.0))

    def _conclude(self, finding: Finding, sample: Sample) -> None:
        if finding.verdict is Verdict.WORKING:
            self._samples.good()
        elif not self._samples.bad(self._port.clock.mono_ms()):
            return
        self._is_working = finding.verdict is Verdict.WORKING
        numbers = {"rtt_ms": self._rtt_ms, "fps": sample.fps, "kbps": sample.kbps, "luma": sample.luma}
        self._observe(finding, {name: value for name, value in numbers.items() if value is not None}, self._settings.sample_interval_s)

    def _observe(self, finding: Finding, metrics: Mapping[str, float], interval_s: float) -> None:
        now_ms = self._port.clock.mono_ms()
        self._port.observe(Observation(Function.LIVE, finding.verdict, now_ms, int(_TTL_SHARE * interval_s * 1000), finding.cause, metrics))

    def _recording(self) -> None:
        """Live video says nothing of a recording: never inferred, always said."""
        if Function.RECORDING in self.functions:
            ttl_ms = int(_TTL_SHARE * self._settings.probe_interval_s * 1000)
            now_ms = self._port.clock.mono_ms()
            self._port.observe(Observation(Function.RECORDING, Verdict.UNKNOWN, now_ms, ttl_ms, "not_checkable"))

    def _remembered(self) -> float | None:
        try:
            return float(self._port.memory().get(_BASELINE) or "")
        except ValueError:
            return None

    def _learn(self, sample: Sample) -> None:
        """Follow what is usual; remembered only when it has moved, to spare the card."""
        self._baseline = learn(self._baseline, sample)
        stored = self._remembered()
        if self._baseline is not None and (stored is None or abs(self._baseline - stored) > _RELEARN_SHARE * stored):
            self._port.memory().set(_BASELINE, f"{self._baseline:.6f}")
