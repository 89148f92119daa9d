import asyncio
import time
from itertools import pairwise
from pathlib import Path

import pytest

from firmware_agent.gpio.promise import Edge, LineSettings
from firmware_agent.gpio.simulated import SimulatedGpio
from hil.simulators.gpio import GpioSimulator


async def test_only_the_owner_may_press(tmp_path: Path) -> None:
    async with GpioSimulator(tmp_path / "gpio") as gpio:
        assert gpio.path.stat().st_mode & 0o077 == 0
    assert not gpio.path.exists()


async def test_buttons_have_lines_of_their_own(tmp_path: Path) -> None:
    gpio = GpioSimulator(tmp_path / "gpio")
    first, second = gpio.button("a"), gpio.button("b", is_pair=False)
    assert gpio.button("a") is first
    lines = [value for button in (first, second) for key, value in button.settings().items() if key != "gpio"]
    assert len(set(lines)) == len(lines) == 9


async def test_unknown_faults_are_refused(tmp_path: Path) -> None:
    gpio = GpioSimulator(tmp_path / "gpio")
    with pytest.raises(ValueError, match="melted"):
        await gpio.fault("melted")
    with pytest.raises(ValueError, match="melted"):
        await gpio.button("a").fault("melted")


async def test_contact_bounces_as_long_as_it_says_however_busy_the_machine_is(tmp_path: Path) -> None:
    edges: list[Edge] = []
    async with GpioSimulator(tmp_path / "gpio") as gpio:
        button, port = gpio.button("a"), SimulatedGpio(gpio.path)
        await port.watch(int(button.settings()["line"]), LineSettings(), edges.append)
        pressing = asyncio.create_task(button.press(hold_s=0.05))
        await asyncio.sleep(0)
        time.sleep(0.1)  # noqa: ASYNC251  # nobody else gets to run meanwhile
        await pressing
        async with asyncio.timeout(10):
            while len(edges) < 10:  # noqa: ASYNC110  # the port has no other sign
                await asyncio.sleep(0.01)
        await port.aclose()
    assert [edge.level for edge in edges] == [True, False] * 5
    closed_ms = [off.at_mono_ms - on.at_mono_ms for on, off in pairwise(edges) if on.level]
    assert closed_ms[:-1] == [1, 2, 1, 3]
    assert closed_ms[-1] >= 50
