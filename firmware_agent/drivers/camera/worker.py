"""The video worker: a process that demuxes a few seconds of a camera and decodes key pictures only (PyAV, numpy).

A process of its own because libav's timeouts are soft (twice the value set), a broken stream may crash it, and it costs
memory the agent must not carry. The agent kills it when it takes too long. It ends when its standard input does.

Run as `python -m firmware_agent.drivers.camera.worker`. Source: reference `edge.md` §1.3, §1.4.
"""

import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec

from firmware_agent.drivers.camera.protocol import Ready, SampleRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_agent.drivers.camera.protocol import Sample

_PR_SET_PDEATHSIG: Final = 1
_NICE: Final = 5


def main() -> None:
    """Answer requests from standard input until it ends."""
    out = _take_stdout()
    _die_with_parent()
    _die_first()
    os.nice(_NICE)
    try:
        from firmware_agent.drivers.camera.stream import Sampler
    except ImportError as error:
        _say(out, Ready(str(error)))
        return
    _say(out, Ready())
    _serve(sys.stdin.buffer, out, Sampler().sample)


def _serve(requests: BinaryIO, out: BinaryIO, sample: "Callable[[SampleRequest], Sample]") -> None:
    for line in requests:
        seen = sample(msgspec.json.decode(line, type=SampleRequest))
        _say(out, msgspec.structs.replace(seen, rss_mb=_rss_mb()))


def _rss_mb() -> float:
    """Return our memory now; 0 where the system does not say. (`ru_maxrss` would count the agent we were forked from.)"""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return round(pages * resource.getpagesize() / 1_048_576, 1)


def _say(out: BinaryIO, message: msgspec.Struct) -> None:
    out.write(msgspec.json.encode(message) + b"\n")
    out.flush()


def _take_stdout() -> BinaryIO:
    """Keep the answers' stream for ourselves: what a C library prints goes to standard error."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return out


def _die_first() -> None:
    """Out of memory, the kernel is to end us, whom a camera may feed what it likes, and not the agent with its panic buttons."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
