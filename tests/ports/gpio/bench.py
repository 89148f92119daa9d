"""The other end of GPIO lines under test: pulls inputs and sees outputs."""

import importlib.util
from pathlib import Path
from typing import Protocol

from firmware_agent.gpio import GpioPort
from firmware_agent.gpio.simulated import SimulatedGpio
from hil.simulators.gpio import GpioSimulator

_CONFIGFS = Path("/sys/kernel/config/gpio-sim")
_LABEL = "ssz-bench"


class Bench(Protocol):
    port: GpioPort

    def pull(self, line: int, level: bool) -> None: ...

    def driven(self, line: int) -> bool: ...


class SocketBench:
    """`SimulatedGpio` against hil's simulator."""

    def __init__(self, simulator: GpioSimulator) -> None:
        self.simulator = simulator
        self.port: GpioPort = SimulatedGpio(simulator.path)

    def pull(self, line: int, level: bool) -> None:
        self.simulator.set(line, level)

    def driven(self, line: int) -> bool:
        return self.simulator.get(line)


class KernelBench:
    """`GpiodPort` against the kernel's gpio-sim: a Pi or a development host with the module, as root.

    Source: docs.kernel.org/admin-guide/gpio/gpio-sim.html.
    """

    def __init__(self) -> None:
        from firmware_agent.gpio.gpiod_port import GpiodPort

        self._device = _CONFIGFS / _LABEL
        bank = self._device / "bank0"
        bank.mkdir(parents=True)
        (bank / "num_lines").write_text("8")
        (bank / "label").write_text(_LABEL)
        (self._device / "live").write_text("1")
        chip, platform = (bank / "chip_name").read_text().strip(), (self._device / "dev_name").read_text().strip()
        self._lines = Path("/sys/devices/platform") / platform / chip
        self.port: GpioPort = GpiodPort(_LABEL)

    def pull(self, line: int, level: bool) -> None:
        (self._lines / f"sim_gpio{line}" / "pull").write_text("pull-up" if level else "pull-down")

    def driven(self, line: int) -> bool:
        return (self._lines / f"sim_gpio{line}" / "value").read_text().strip() == "1"

    def remove(self) -> None:
        (self._device / "live").write_text("0")
        (self._device / "bank0").rmdir()
        self._device.rmdir()


def why_no_kernel() -> str:
    """Say why gpio-sim cannot be used here; empty when it can."""
    if not _CONFIGFS.exists():
        return "this kernel has no gpio-sim (modprobe gpio-sim, configfs mounted)"
    return "" if importlib.util.find_spec("gpiod") else "the extra gpio is not installed"
