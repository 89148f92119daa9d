import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from firmware_agent.errors import ConfigurationError
from firmware_agent.gpio import Edge, GpioUnavailable, LineSettings, open_gpio
from firmware_agent.gpio.gpiod_port import GpiodPort, _Input
from firmware_agent.gpio.simulated import SimulatedGpio
from hil.simulators.gpio import GpioSimulator
from tests.unit.firmware_agent.drivers.live_port import until


@pytest.fixture
async def gpio(tmp_path: Path) -> AsyncIterator[SimulatedGpio]:
    port = SimulatedGpio(tmp_path / "gpio")
    yield port
    await port.aclose()


@pytest.mark.parametrize("address", ["", "gpiochip:", "simulated:", "gpiochip0", "pigpio:17"])
def test_a_wrong_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match="gpio"):
        open_gpio(address)


def test_simulated_lines_say_that_they_are_insecure(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert open_gpio("simulated:/run/x").is_simulated
    assert "insecure" in caplog.text


def test_real_lines_without_their_package_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gpiod", None)
    with pytest.raises(ConfigurationError, match=r"smart-safety-zone\[gpio\]"):
        open_gpio("gpiochip:pinctrl-rp1")


def test_a_chip_is_found_by_its_label(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    labels = {"gpiochip0": "brcmvirt-gpio", "gpiochip4": "pinctrl-rp1"}

    class Chip:
        def __init__(self, path: str) -> None:
            self.label = labels[Path(path).name]

        def __enter__(self) -> "Chip":
            return self

        def __exit__(self, *_: Any) -> None:
            pass

        def get_info(self) -> SimpleNamespace:
            return SimpleNamespace(label=self.label)

    for name in labels:
        (tmp_path / name).touch()
    monkeypatch.setitem(__import__("sys").modules, "gpiod", SimpleNamespace(Chip=Chip))
    assert GpiodPort("pinctrl-rp1", folder=tmp_path)._find_chip() == tmp_path / "gpiochip4"
    with pytest.raises(GpioUnavailable, match="pinctrl-bcm2711"):
        GpiodPort("pinctrl-bcm2711", folder=tmp_path)._find_chip()


async def test_a_chip_that_goes_away_is_told_and_does_not_keep_the_loop_busy() -> None:
    class Gone:
        def __init__(self) -> None:
            self.near, self.far = socket.socketpair()
            self.far.close()
            self.fd = self.near.fileno()
            self.reads = 0

        def read_edge_events(self) -> list[Any]:
            self.reads += 1
            raise OSError(19, "No such device")

    request = Gone()
    watched = _Input(request, 17, active=1, rising=1, on_edge=lambda _: None)
    asyncio.get_running_loop().add_reader(request.fd, watched.on_readable)
    await until(lambda: request.reads > 0)
    with pytest.raises(GpioUnavailable, match=r"line 17.*No such device"):
        watched.read()
    assert not asyncio.get_running_loop().remove_reader(request.fd)
    request.near.close()


async def test_without_a_bench_a_line_cannot_be_read_and_then_it_can(gpio: SimulatedGpio) -> None:
    edges: list[Edge] = []
    line = await gpio.watch(1, LineSettings(), edges.append)
    with pytest.raises(GpioUnavailable):
        line.read()
    async with GpioSimulator(gpio.path) as bench:
        await until(lambda: gpio._watched[1].known.is_set())
        assert not line.read()
        bench.set(1, level=True)
        await until(line.read)


async def test_edges_lost_while_disconnected_become_a_resync(gpio: SimulatedGpio) -> None:
    edges: list[Edge] = []
    async with GpioSimulator(gpio.path) as bench:
        line = await gpio.watch(1, LineSettings(), edges.append)
        await bench.fault("disconnect")
        await until(lambda: gpio._watched[1].level is None)
        bench.set(1, level=True)
        await bench.fault("ok")
        await until(lambda: len(edges) == 1)
        assert (edges[0].level, edges[0].is_resync) == (True, True)
        assert line.read()


async def test_outputs_set_while_disconnected_are_set_later(gpio: SimulatedGpio) -> None:
    async with GpioSimulator(gpio.path) as bench:
        output = await gpio.drive(4)
        await until(lambda: gpio._writer is not None)
        await bench.fault("disconnect")
        output.set(True)
        await bench.fault("ok")
        await until(lambda: bench.get(4))


async def test_nonsense_from_the_socket_does_not_end_the_agent(gpio: SimulatedGpio) -> None:
    async def nonsense(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"not json\n")
        writer.close()

    server = await asyncio.start_unix_server(nonsense, gpio.path)
    line = await gpio.watch(1, LineSettings(), lambda _: None)
    with pytest.raises(GpioUnavailable):
        line.read()
    server.close()
    async with GpioSimulator(gpio.path):
        await until(lambda: gpio._watched[1].known.is_set())
        assert not line.read()
