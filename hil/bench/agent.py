"""What a node's agent costs while nothing happens: real `zone-agent` processes on simulated devices, against a running server."""

import asyncio
import json
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from hil.bench.processes import Used, used
from hil.demo.fleet import FleetApi
from hil.demo.place import write_whole
from hil.processes import Process, run
from hil.scenarios.programs import children_of, program
from hil.scenarios.waiting import until
from hil.simulators.gpio import GpioSimulator
from hil.simulators.modbus import ModbusSimulator
from hil.simulators.rtsp import CameraSimulator
from hil.swarm.identity import Where
from hil.swarm.plan import Plan

_CORE: Final = {"btn-1": "panic_button", "lamp-1": "street_light", "air-1": "sensor"}
_VIDEO: Final = {**_CORE, "cam-1": "camera"}
_PLAN: Final = Plan(2, 20, prefix="AGT")


async def idle_agent(where: Where, api: FleetApi, folder: Path, *, window_s: float) -> dict[str, Any]:
    """Measure two nodes: one with button, lamp and sensor, one with a camera besides."""
    await api.import_csv("units", _PLAN.units_csv())
    await api.import_csv("nodes", _PLAN.nodes_csv())
    core, video = _PLAN.serials
    without = await _one(where, api, folder / core, core, _CORE, window_s=window_s)
    with_camera = await _one(where, api, folder / video, video, _VIDEO, window_s=window_s)
    return {
        "heartbeat_s": 10,
        "seconds": window_s,
        "core": without["agent"],
        "with_one_camera": with_camera,
    }


async def _one(where: Where, api: FleetApi, folder: Path, serial: str, channels: dict[str, str], *, window_s: float) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        gpio, bus, camera = GpioSimulator(folder.parent / f"{serial}.sock"), ModbusSimulator(), CameraSimulator("cam-1")
        button, lamp, sensor = gpio.button("btn-1"), bus.add_lamp("lamp-1"), bus.add_sensor("air-1")
        for part in (gpio, bus, camera):
            await stack.enter_async_context(part)
        settings = {"btn-1": button.settings(), "lamp-1": lamp.settings(), "air-1": sensor.settings(), "cam-1": camera.settings()}
        claim = await api.post("/claims", {"node": serial, "approve": True})
        enrol: list[str | Path] = [program("zone-agent"), "enrol", "--data", folder, "--serial", serial, "--code", claim["code"]]
        await run("zone-agent enrol", [*enrol, "--server", where.est_url, "--ca", where.ca_file, "--wait", "30"])
        write_whole(folder / "node.toml", _config(where, {name: (kind, settings[name]) for name, kind in channels.items()}))
        agent = Process("zone-agent", [program("zone-agent"), "run", "--config", folder / "node.toml"], log=folder / "agent.log")
        stack.push_async_callback(agent.kill)
        await agent.start()
        await until(lambda: _is_connected(folder), "the agent is connected", within_s=60)
        return await _measure(agent, window_s=window_s)


async def _measure(agent: Process, *, window_s: float) -> dict[str, Any]:
    await asyncio.sleep(min(10.0, window_s))
    first, begin_s = used(agent.pid), time.monotonic()
    first_children = {pid: used(pid) for pid in children_of(agent.pid)}
    await asyncio.sleep(window_s)
    seconds = time.monotonic() - begin_s
    found = {"agent": _spent(first, used(agent.pid), seconds)}
    for number, pid in enumerate(pid for pid in children_of(agent.pid)):
        found[f"child_{number}"] = _spent(first_children.get(pid, Used(0.0, 0.0)), used(pid), seconds)
    return found


def _spent(first: Used, last: Used, seconds: float) -> dict[str, float]:
    return {"cpu_percent_of_a_core": round(100 * (last.cpu_s - first.cpu_s) / seconds, 2), "rss_mb": round(last.rss_mb, 1)}


def _is_connected(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / "status.json").read_text()).get("is_connected"))
    except (FileNotFoundError, ValueError):
        return False


def _config(where: Where, channels: dict[str, tuple[str, dict[str, Any]]]) -> str:
    lines = [
        '[node]\ndata_dir = "."\nis_simulated = true',
        f'[server]\nmqtt_host = "{where.mqtt_host}"\nmqtt_port = {where.mqtt_port}',
        '[clock]\nassume = "ntp"',
    ]
    for channel, (kind, settings) in channels.items():
        lines.append(f'[[channel]]\nchannel = "{channel}"\nkind = "{kind}"\ndriver = "{kind}"\n[channel.settings]')
        lines += [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    return "\n".join(lines) + "\n"
