from pathlib import Path

import pytest

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
