"""Every `GpioPort` keeps the promise of `firmware_agent.gpio.promise`."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from firmware_agent.gpio import Bias, Edge, LineSettings
from hil.simulators.gpio import GpioSimulator
from tests.ports.gpio.bench import Bench, KernelBench, SocketBench, why_no_kernel
from tests.unit.firmware_agent.drivers.live_port import until

ACTIVE_HIGH = LineSettings(Bias.NONE, is_active_low=False)

needs_gpio_sim = pytest.mark.skipif(bool(why_no_kernel()), reason=why_no_kernel())


@pytest.fixture(params=["simulated", pytest.param("gpiod", marks=needs_gpio_sim)])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    if request.param == "simulated":
        async with GpioSimulator(tmp_path / "gpio") as simulator:
            simulated = SocketBench(simulator)
            yield simulated
            await simulated.port.aclose()
        return
    kernel = KernelBench()
    yield kernel
    await kernel.port.aclose()
    kernel.remove()


async def test_the_level_at_the_start_is_read_and_is_no_edge(bench: Bench) -> None:
    bench.pull(3, level=True)
    edges: list[Edge] = []
    line = await bench.port.watch(3, ACTIVE_HIGH, edges.append)
    assert line.read()
    assert edges == []


async def test_edges_come_in_order_with_times_and_numbers(bench: Bench) -> None:
    edges: list[Edge] = []
    line = await bench.port.watch(3, ACTIVE_HIGH, edges.append)
    for i, level in enumerate((True, False, True), start=1):
        bench.pull(3, level)
        await until(lambda wanted=i: len(edges) == wanted)  # type: ignore[misc]  # bound now
    assert [(edge.line, edge.level, edge.seq) for edge in edges] == [(3, True, 1), (3, False, 2), (3, True, 3)]
    assert [edge.at_mono_ms for edge in edges] == sorted(edge.at_mono_ms for edge in edges)
    assert not any(edge.is_resync for edge in edges)
    assert line.read()


async def test_lines_do_not_disturb_each_other(bench: Bench) -> None:
    first: list[Edge] = []
    second: list[Edge] = []
    await bench.port.watch(1, ACTIVE_HIGH, first.append)
    await bench.port.watch(2, ACTIVE_HIGH, second.append)
    bench.pull(2, level=True)
    await until(lambda: len(second) == 1)
    assert first == []


async def test_watching_again_replaces_the_watcher(bench: Bench) -> None:
    before: list[Edge] = []
    after: list[Edge] = []
    await bench.port.watch(1, ACTIVE_HIGH, before.append)
    await bench.port.watch(1, ACTIVE_HIGH, after.append)
    bench.pull(1, level=True)
    await until(lambda: [edge.level for edge in after] == [True])
    assert before == []


async def test_outputs_are_driven_and_let_go_at_the_end(bench: Bench) -> None:
    output = await bench.port.drive(5)
    assert not bench.driven(5)
    output.set(True)
    await until(lambda: bench.driven(5))
    output.set(False)
    await until(lambda: not bench.driven(5))
    output.set(True)
    await until(lambda: bench.driven(5))
    await bench.port.aclose()
    await until(lambda: not bench.driven(5))
