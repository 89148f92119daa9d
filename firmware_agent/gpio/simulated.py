"""Simulated lines over a Unix socket, one JSON object per line. INSECURE: whoever may open the socket presses the buttons.

    agent → bench   {"op": "watch", "line": 17}   {"op": "set", "line": 5, "level": true}
    bench → agent   {"op": "level", "line": 17, "level": false, "seq": 0, "mono_ms": 123}     answer to a watch: the level now
                    {"op": "edge", "line": 17, "level": true, "seq": 1, "mono_ms": 456}

`seq` counts the edges of a line since the bench started; after a new connection or a hole the level given is believed and
told on as a resync. The other side is `hil.simulators.gpio`.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from firmware_agent.gpio.promise import Edge, GpioUnavailable, LineSettings

_RETRY_S: Final = 0.2
_CONNECT_TIMEOUT_S: Final = 2.0

_log = logging.getLogger(__name__)


class Ask(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the agent says."""

    op: Literal["watch", "set"]
    line: Annotated[int, msgspec.Meta(ge=0, le=1023)]
    level: bool = False


class Tell(msgspec.Struct, frozen=True):
    """What the bench says."""

    op: Literal["level", "edge"]
    line: int
    level: bool
    seq: int
    mono_ms: int


_tell = msgspec.json.Decoder(Tell)


@dataclass
class _Watched:
    port: "SimulatedGpio"
    line: int
    on_edge: Callable[[Edge], None]
    level: bool | None = None
    seq: int = 0
    known: asyncio.Event = field(default_factory=asyncio.Event)
    is_handed_out: bool = False
    """Whether somebody may have read the level already; from then on each new one is told."""

    def read(self) -> bool:
        if self.level is None:
            raise GpioUnavailable(f"simulated line {self.line}: {self.port.path} does not answer")
        return self.level


@dataclass
class _Driven:
    port: "SimulatedGpio"
    line: int
    level: bool = False

    def set(self, level: bool) -> None:
        if level != self.level:
            self.level = level
            self.port.say(Ask("set", self.line, level))


class SimulatedGpio:
    """A `GpioPort` on the socket of a test bench; it connects when first used and again whenever the line breaks."""

    is_simulated: Final = True

    def __init__(self, path: Path) -> None:
        """`path` is the bench's socket; it need not be there yet."""
        self.path: Final = path
        self._watched: dict[int, _Watched] = {}
        self._driven: dict[int, _Driven] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None
        _log.warning("insecure: GPIO lines are simulated by %s; whoever may open it presses the buttons", path)

    async def watch(self, line: int, settings: LineSettings, on_edge: Callable[[Edge], None]) -> _Watched:
        """See `GpioPort`; waits up to 2 s for the bench to say the level. Bias and polarity are the bench's business."""
        watched = self._watched[line] = _Watched(self, line, on_edge)
        self._start()
        self.say(Ask("watch", line))
        with suppress(TimeoutError):
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await watched.known.wait()
        watched.is_handed_out = True
        return watched

    async def drive(self, line: int) -> _Driven:
        """See `GpioPort`."""
        driven = self._driven[line] = _Driven(self, line)
        self._start()
        self.say(Ask("set", line, level=False))
        return driven

    async def aclose(self) -> None:
        """See `GpioPort`."""
        for driven in self._driven.values():
            driven.set(False)
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def say(self, ask: Ask) -> None:
        """Send it if connected; if not, the connection will begin with all that holds then."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(msgspec.json.encode(ask) + b"\n")

    def _start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._stay_connected(), name=f"gpio:{self.path.name}")

    async def _stay_connected(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                    reader, writer = await asyncio.open_unix_connection(self.path)
            except (OSError, TimeoutError):
                await asyncio.sleep(_RETRY_S)
                continue
            try:
                await self._converse(reader, writer)
            finally:
                self._disconnected(writer)
            await asyncio.sleep(_RETRY_S)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        for line in self._watched:
            self.say(Ask("watch", line))
        for driven in self._driven.values():
            self.say(Ask("set", driven.line, driven.level))
        try:
            while text := await reader.readline():
                self._hear(_tell.decode(text))
        except (OSError, ValueError) as error:  # a broken line, an over-long one, or not what the bench says
            _log.warning("simulated GPIO %s: %s", self.path, error)

    def _disconnected(self, writer: asyncio.StreamWriter) -> None:
        self._writer = None
        writer.close()
        for watched in self._watched.values():
            watched.level = None
            watched.known.clear()

    def _hear(self, tell: Tell) -> None:
        watched = self._watched.get(tell.line)
        if watched is None:
            return
        has_hole = tell.seq != watched.seq + 1
        watched.level, watched.seq = tell.level, tell.seq
        watched.known.set()
        if tell.op == "edge":
            watched.on_edge(Edge(tell.line, tell.level, tell.mono_ms, tell.seq, is_resync=has_hole))
        elif watched.is_handed_out:
            watched.on_edge(Edge(tell.line, tell.level, tell.mono_ms, tell.seq, is_resync=True))
