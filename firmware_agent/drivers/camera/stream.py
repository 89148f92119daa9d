"""A few seconds of a camera's stream through libav. Only the worker imports this."""

import statistics
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any, Final

import av
import av.error
import av.logging

from firmware_agent.drivers.camera import picture
from firmware_agent.drivers.camera.protocol import Sample, SampleRequest

_MAX_CAMERAS: Final = 64
_ANALYSE_US: Final = "1000000"
_CAUSES: Final = (
    (av.error.HTTPUnauthorizedError, "http_401"),
    (av.error.HTTPForbiddenError, "http_403"),
    (av.error.HTTPNotFoundError, "http_404"),
    (av.error.HTTPServerError, "http_503"),
    (av.error.ConnectionRefusedError, "refused"),
)


@dataclass
class _Counts:
    """What demuxing found."""

    times_s: list[float] = field(default_factory=list)
    key_sizes: list[int] = field(default_factory=list)
    other_sizes: list[int] = field(default_factory=list)
    key_packets: list[Any] = field(default_factory=list)

    def add(self, packet: Any) -> None:
        if packet.pts is not None:
            self.times_s.append(float(packet.pts * Fraction(packet.time_base)))
        (self.key_sizes if packet.is_keyframe else self.other_sizes).append(packet.size)
        if packet.is_keyframe:
            self.key_packets = [*self.key_packets[:1], packet]  # the first and the last

    @property
    def span_s(self) -> float:
        return max(self.times_s) - min(self.times_s) if self.times_s else 0.0

    @property
    def fps(self) -> float | None:
        ordered = sorted(self.times_s)
        steps = [later - earlier for earlier, later in pairwise(ordered) if later > earlier]
        return round(1 / statistics.median(steps), 2) if steps else None

    @property
    def kbps(self) -> float | None:
        """The last picture begins at the end of the span, so it does not count."""
        if self.span_s <= 0:
            return None
        return round(sum([*self.key_sizes, *self.other_sizes]) * 8 / 1000 / self.span_s, 1)

    @property
    def p_i_ratio(self) -> float | None:
        if not self.key_sizes or len(self.other_sizes) < 3:
            return None
        return statistics.median(self.other_sizes) / statistics.median(self.key_sizes)


class Sampler:
    """Looks at cameras, one after the other; remembers the last key picture of each, small, to compare."""

    def __init__(self) -> None:
        """Make libav silent: it prints addresses with credentials."""
        av.logging.set_level(None)
        self._last: dict[str, picture.Luma] = {}

    def sample(self, request: SampleRequest) -> Sample:
        """Look once; never raises for what a camera does."""
        counts = _Counts()
        try:
            with _open(request) as container:
                if not container.streams.video:
                    return Sample("no_video")
                stream = container.streams.video[0]
                for packet in _packets(container, stream, request):
                    counts.add(packet)
                    if counts.span_s >= request.seconds and counts.key_packets:
                        break
                return self._judge(request.url, stream, counts)
        except av.error.FFmpegError as error:
            return Sample(next((cause for kind, cause in _CAUSES if isinstance(error, kind)), "no_video"))

    def _judge(self, url: str, stream: Any, counts: _Counts) -> Sample:
        is_short = len(counts.times_s) < 2
        lumas = [] if is_short else _decode(stream.codec_context, counts.key_packets)
        cause = "no_video" if is_short else ("" if lumas else "undecodable")
        numbers = picture.measure(lumas[-1]) if lumas else None
        return Sample(
            cause,
            fps=counts.fps,
            kbps=counts.kbps,
            p_i_ratio=counts.p_i_ratio,
            luma=numbers.mean if numbers else None,
            luma_std=numbers.std if numbers else None,
            changed_share=self._changed(url, lumas),
            codec=stream.codec_context.name,
            width=stream.codec_context.width,
            height=stream.codec_context.height,
        )

    def _changed(self, url: str, lumas: list[picture.Luma]) -> float | None:
        """Compare the two key pictures, or the one with that of the sample before."""
        if not lumas:
            return None
        before = lumas[0] if len(lumas) > 1 else self._last.get(url)
        if len(self._last) >= _MAX_CAMERAS:
            self._last.clear()
        self._last[url] = lumas[-1]
        return None if before is None else picture.changed_share(before, lumas[-1])


def _open(request: SampleRequest) -> Any:
    options = {"rtsp_transport": "tcp", "timeout": str(int(request.timeout_s * 1_000_000)), "analyzeduration": _ANALYSE_US}
    return av.open(request.url, options=options, timeout=(request.timeout_s, request.timeout_s))


def _packets(container: Any, stream: Any, request: SampleRequest) -> Iterator[Any]:
    """Yield packets until the stream ends, stalls, or has had its time."""
    until_s = time.monotonic() + request.seconds + request.timeout_s
    with suppress(av.error.FFmpegError):  # it stalled or broke: what came so far is judged
        for packet in container.demux(stream):
            if packet.size == 0 or time.monotonic() > until_s:
                return
            yield packet


def _decode(context: Any, packets: list[Any]) -> list[picture.Luma]:
    context.thread_type = "NONE"
    frames: list[Any] = []
    with suppress(av.error.FFmpegError):
        for packet in packets:
            frames += context.decode(packet)
        frames += context.decode(None)
    return [picture.luma_of(frame) for frame in frames]
