"""Real lines: libgpiod v2 by the package `gpiod`.

The chip is found by its label (`pinctrl-rp1`, `pinctrl-bcm2711`, `pinctrl-bcm2835`), never by number: a kernel update moved the
header of the Pi 5 from gpiochip4 to gpiochip0. The kernel debounces 10 ms; the button's own state machine does the rest.

Source: reference `edge.md` §2.1; gpiod 2.5.
"""

import asyncio
import importlib
import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from firmware_agent.errors import ConfigurationError
from firmware_agent.gpio.promise import Bias, Edge, GpioUnavailable, LineSettings

_CONSUMER: Final = "zone-agent"
_DEBOUNCE: Final = timedelta(milliseconds=10)
_NS_PER_MS: Final = 1_000_000
_BIAS: Final = {Bias.PULL_UP: "PULL_UP", Bias.PULL_DOWN: "PULL_DOWN", Bias.NONE: "DISABLED"}

_log = logging.getLogger(__name__)


class GpiodPort:
    """The lines of one chip of this machine."""

    is_simulated: Final = False

    def __init__(self, label: str, *, folder: Path = Path("/dev")) -> None:
        """`label` as `gpiodetect` shows it; opens nothing.

        Raises:
            ConfigurationError: the extra `gpio` is not installed.
        """
        try:
            self._gpiod: Any = importlib.import_module("gpiod")  # no types here: only machines with GPIO have it
        except ImportError as error:
            raise ConfigurationError("gpio: real lines need the package gpiod: install smart-safety-zone[gpio]") from error
        self._label: Final = label
        self._folder: Final = folder
        self._requests: dict[int, Any] = {}
        self._outputs: dict[int, _Output] = {}

    async def watch(self, line: int, settings: LineSettings, on_edge: Callable[[Edge], None]) -> "_Input":
        """See `GpioPort`."""
        kind = self._gpiod.line
        request = self._request(
            line,
            self._gpiod.LineSettings(
                direction=kind.Direction.INPUT,
                edge_detection=kind.Edge.BOTH,
                bias=getattr(kind.Bias, _BIAS[settings.bias]),
                active_low=settings.is_active_low,
                debounce_period=_DEBOUNCE,
                event_clock=kind.Clock.MONOTONIC,
            ),
        )
        watched = _Input(request, line, kind.Value.ACTIVE, self._gpiod.EdgeEvent.Type.RISING_EDGE, on_edge)
        asyncio.get_running_loop().add_reader(request.fd, watched.on_readable)
        return watched

    async def drive(self, line: int) -> "_Output":
        """See `GpioPort`."""
        kind = self._gpiod.line
        request = self._request(line, self._gpiod.LineSettings(direction=kind.Direction.OUTPUT, output_value=kind.Value.INACTIVE))
        output = self._outputs[line] = _Output(request, line, kind.Value)
        return output

    async def aclose(self) -> None:
        """See `GpioPort`."""
        for line in list(self._requests):
            self._release(line)

    def _request(self, line: int, settings: Any) -> Any:
        self._release(line)
        path = self._find_chip()
        try:
            request = self._gpiod.request_lines(str(path), consumer=_CONSUMER, config={line: settings})
        except (OSError, ValueError) as error:
            raise GpioUnavailable(f"line {line} of {path} ({self._label}): {error}") from error
        self._requests[line] = request
        return request

    def _release(self, line: int) -> None:
        output, request = self._outputs.pop(line, None), self._requests.pop(line, None)
        if output is not None:
            output.set(False)
        if request is not None:
            asyncio.get_running_loop().remove_reader(request.fd)
            request.release()

    def _find_chip(self) -> Path:
        for path in sorted(self._folder.glob("gpiochip*")):
            try:
                with self._gpiod.Chip(str(path)) as chip:
                    if chip.get_info().label == self._label:
                        return path
            except OSError as error:
                _log.warning("%s cannot be opened: %s", path, error)
        raise GpioUnavailable(f"no GPIO chip with the label {self._label}; gpiodetect shows those that are there")


class _Input:
    def __init__(self, request: Any, line: int, active: Any, rising: Any, on_edge: Callable[[Edge], None]) -> None:
        self._request: Final = request
        self._line: Final = line
        self._active: Final = active
        self._rising: Final = rising
        self._on_edge: Final = on_edge
        self._seq = 0
        self._failure = ""

    def read(self) -> bool:
        if self._failure:
            raise GpioUnavailable(self._failure)
        try:
            return bool(self._request.get_value(self._line) == self._active)
        except OSError as error:
            raise GpioUnavailable(f"line {self._line} cannot be read: {error}") from error

    def on_readable(self) -> None:
        try:
            events = self._request.read_edge_events()
        except OSError as error:  # the chip is gone; its file would be "readable" for ever
            self._failure = f"line {self._line} tells of no edge any more: {error}"
            asyncio.get_running_loop().remove_reader(self._request.fd)
            return
        for event in events:
            has_hole = event.line_seqno != self._seq + 1
            self._seq = event.line_seqno
            level = self._level_after_hole(event) if has_hole else event.event_type == self._rising
            self._on_edge(Edge(self._line, level, event.timestamp_ns // _NS_PER_MS, event.line_seqno, is_resync=has_hole))

    def _level_after_hole(self, event: Any) -> bool:
        try:
            return self.read()
        except GpioUnavailable as error:
            _log.error("%s", error)
            return bool(event.event_type == self._rising)


class _Output:
    def __init__(self, request: Any, line: int, values: Any) -> None:
        self._request: Final = request
        self._line: Final = line
        self._values: Final = values

    def set(self, level: bool) -> None:
        try:
            self._request.set_value(self._line, self._values.ACTIVE if level else self._values.INACTIVE)
        except OSError as error:
            _log.error("line %d cannot be set: %s", self._line, error)
