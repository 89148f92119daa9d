"""Simulated header lines: serves the socket that `firmware_agent.gpio.simulated` speaks to, with buttons on it."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import msgspec

from firmware_agent.gpio.simulated import Ask, Tell

_ask = msgspec.json.Decoder(Ask)
_BOUNCES_MS: Final = (1, 2, 1, 3)
"""Lengths of the false contacts before a mechanical one holds."""


@dataclass
class _Line:
    level: bool = False
    seq: int = 0
    watchers: set[asyncio.StreamWriter] = field(default_factory=set)


class GpioSimulator:
    """Lines of one node. `path` is the Unix socket (≤ 100 bytes: a limit of the kernel)."""

    def __init__(self, path: Path) -> None:
        """Serves nothing yet; add buttons at any time."""
        self.path: Final = path
        self.buttons: Final[dict[str, Button]] = {}
        self._lines: dict[int, _Line] = {}
        self._connections: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> "GpioSimulator":
        """Serve the socket; only the owner may open it."""
        await self._serve()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Drop all connections and remove the socket."""
        await self._stop()

    def button(self, name: str, *, is_pair: bool = True) -> "Button":
        """Return the button of that name, wired to lines of its own at the first call; a pair has a supervised wire."""
        if name not in self.buttons:
            first = 2 + 5 * len(self.buttons)
            self.buttons[name] = Button(self, first, is_pair=is_pair)
        return self.buttons[name]

    def get(self, line: int) -> bool:
        """Return the level of a line, driven by us or by the agent."""
        return self._line(line).level

    def set(self, line: int, level: bool, *, at_mono_ms: int | None = None) -> None:
        """Drive a line; watchers are told of each change, which was at `at_mono_ms` (None: now)."""
        known = self._line(line)
        if known.level == level:
            return
        known.level = level
        known.seq += 1
        for writer in list(known.watchers):
            self._tell(writer, Tell("edge", line, level, known.seq, _now_ms() if at_mono_ms is None else at_mono_ms))

    async def fault(self, name: str, **args: Any) -> None:
        """Break or heal the port itself: `disconnect` (the socket goes away), `ok`.

        Raises:
            ValueError: no such fault.
        """
        match name:
            case "ok":
                if self._server is None:
                    await self._serve()
            case "disconnect":
                await self._stop()
            case _:
                raise ValueError(f"GPIO lines have no fault {name!r}")

    async def _serve(self) -> None:
        self.path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._converse, self.path)
        self.path.chmod(0o600)

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._connections):
            writer.close()
        self.path.unlink(missing_ok=True)
        await asyncio.sleep(0)

    def _line(self, line: int) -> _Line:
        return self._lines.setdefault(line, _Line())

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while text := await reader.readline():
                self._hear(_ask.decode(text), writer)
        except (OSError, ValueError):  # gone, or not our agent: it may come again
            pass
        finally:
            self._connections.discard(writer)
            for line in self._lines.values():
                line.watchers.discard(writer)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def _hear(self, ask: Ask, writer: asyncio.StreamWriter) -> None:
        known = self._line(ask.line)
        if ask.op == "set":
            known.level = ask.level
            return
        known.watchers.add(writer)
        self._tell(writer, Tell("level", ask.line, known.level, known.seq, _now_ms()))

    @staticmethod
    def _tell(writer: asyncio.StreamWriter, tell: Tell) -> None:
        if not writer.is_closing():
            writer.write(msgspec.json.encode(tell) + b"\n")


class Button:
    """A push button with its two contacts, two lights and a buzzer."""

    def __init__(self, gpio: GpioSimulator, first_line: int, *, is_pair: bool) -> None:
        """Uses five lines from `first_line` on: contact, antivalent contact, amber, green, buzzer."""
        self._gpio: Final = gpio
        self._first: Final = first_line
        self._is_pair: Final = is_pair
        self._is_pressed = False
        self._is_cut = False
        self._apply()

    def settings(self) -> dict[str, Any]:
        """Return the settings of the driver `panic_button` for this button."""
        pair = {"line_nc": self._first + 1} if self._is_pair else {}
        return {
            "gpio": f"simulated:{self._gpio.path}",
            "line": self._first,
            **pair,
            "led_amber": self._first + 2,
            "led_green": self._first + 3,
            "buzzer": self._first + 4,
        }

    async def press(self, *, hold_s: float = 0.25, bounces: bool = True) -> None:
        """Press and release it, as a finger does: the contact bounces.

        Edges carry their own times, as a kernel's do; else a machine too busy to wait for one
        millisecond would make a long contact of a bounce.
        """
        at_ms = _now_ms()
        if bounces and not self._is_cut:
            for length_ms in _BOUNCES_MS:
                self._gpio.set(self._first, level=True, at_mono_ms=at_ms)
                self._gpio.set(self._first, level=False, at_mono_ms=at_ms + length_ms)
                at_ms += length_ms + 1
        self._is_pressed = True
        self._apply(at_ms)
        await asyncio.sleep(hold_s)
        self.release()

    def hold(self) -> None:
        """Press it and keep it pressed."""
        self._is_pressed = True
        self._apply()

    def release(self) -> None:
        """Let it go."""
        self._is_pressed = False
        self._apply()

    async def fault(self, name: str, **args: Any) -> None:
        """Break or heal it: `cut` (the wire), `stuck` (the button stays pressed), `ok`.

        Raises:
            ValueError: no such fault.
        """
        match name:
            case "ok":
                self._is_cut = self._is_pressed = False
            case "cut":
                self._is_cut = True
            case "stuck":
                self._is_pressed = True
            case _:
                raise ValueError(f"a button has no fault {name!r}")
        self._apply()

    @property
    def amber(self) -> bool:
        """Whether the amber light is on now."""
        return self._gpio.get(self._first + 2)

    @property
    def green(self) -> bool:
        """Whether the green light is on now."""
        return self._gpio.get(self._first + 3)

    @property
    def buzzer(self) -> bool:
        """Whether the buzzer sounds now."""
        return self._gpio.get(self._first + 4)

    def _apply(self, at_mono_ms: int | None = None) -> None:
        """A cut wire reads open on both contacts."""
        if self._is_pair:
            self._gpio.set(self._first + 1, level=not self._is_pressed and not self._is_cut, at_mono_ms=at_mono_ms)
        self._gpio.set(self._first, level=self._is_pressed and not self._is_cut, at_mono_ms=at_mono_ms)


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
