"""Fingers on buttons: what was really pressed, whatever happened to the agent meanwhile. The other side of every comparison."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hil.scenarios.node import Node, now_ms
from hil.simulators.gpio import Button

_HOLD_S: Final = 0.15
_WATCH_S: Final = 1.2


@dataclass(slots=True)
class Touch:
    """One press of one button by a finger, on the wall clock."""

    code: str
    at_ms: int
    is_amber_seen: bool = False
    """The agent noticed it."""
    is_green_seen: bool = False
    """The agent said that the server has it, and no other press can have been meant."""
    until_ms: int = 0
    """The finger was off, and the lights were watched, until then."""


class Fingers:
    """Press all buttons of some nodes again and again, each with a finger of its own."""

    def __init__(self, nodes: Sequence[Node], *, rng: random.Random) -> None:
        """Nothing is pressed yet."""
        self.touches: Final[list[Touch]] = []
        self._nodes: Final = nodes
        self._rng: Final = rng
        self._tasks: list[asyncio.Task[None]] = []
        self._is_over = False

    def start(self) -> None:
        """Begin, or begin again."""
        self._is_over = False
        buttons = [(code, button) for node in self._nodes for code, button in node.buttons.items()]
        self._tasks = [asyncio.create_task(self._press_for_ever(code, button), name=f"finger on {code}") for code, button in buttons]

    async def stop(self) -> None:
        """Take all fingers off; no touch is left half done."""
        self._is_over = True
        await asyncio.gather(*self._tasks)
        self._tasks = []

    async def _press_for_ever(self, code: str, button: Button) -> None:
        while not self._is_over:
            await asyncio.sleep(self._rng.uniform(0.2, 1.0))
            await self._press(code, button)

    async def _press(self, code: str, button: Button) -> None:
        touch = Touch(code, now_ms())
        self.touches.append(touch)
        was_waiting = button.amber or button.green
        loop = asyncio.get_running_loop()
        pressing = asyncio.create_task(button.press(hold_s=_HOLD_S), name=f"press {code}")
        give_up_s = loop.time() + _WATCH_S
        while loop.time() < give_up_s:
            touch.is_amber_seen |= button.amber and not was_waiting
            if button.green and touch.is_amber_seen:
                touch.is_green_seen = True
                break
            await asyncio.sleep(0.005)
        await pressing
        touch.until_ms = now_ms()
