"""The whole path under load: swarm → broker → server → journal → time series, and what each process of it costs."""

import asyncio
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hil.bench.installation import Installation, Reading
from hil.bench.latency import Prober
from hil.bench.server_alone import bytes_per_device_and_day, stored_bytes
from hil.demo.fleet import FleetApi
from hil.processes import Process, ProcessFailed
from hil.scenarios.programs import program
from hil.scenarios.waiting import until
from hil.swarm.identity import enrol, register
from hil.swarm.plan import Plan

_HEARTBEATS: Final = "ssz_ingest_device_heartbeats_total"
_LAG_ROWS: Final = "ssz_telemetry_lag_rows"
_LAG_S: Final = "ssz_telemetry_lag_seconds"
_TASK: Final = 'ssz_cpu_seconds_total{task="%s"}'
INGEST_TASKS: Final = ("event-loop", "ingest-writer", "ingest-registry", "ingest-bad-messages")
"""The data path from the broker into the journal. The event loop also serves HTTP and wakes all other tasks."""
_PRESS_S: Final = 1.5
"""At most, for one press under load and the pause after it: so long the load goes on while presses are measured."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Load:
    """What is to be done."""

    plan: Plan
    warm_up_s: float
    window_s: float
    presses: int


async def whole_path(installation: Installation, load: Load, folder: Path, *, settle_s: float, say: Say) -> dict[str, Any]:
    """Measure one installation; the swarm runs as a process of its own.

    Costs are those of a window in which nodes speak and nobody looks; `watched` has the same figures for the time in which a
    button is pressed again and again, while a browser and a program follow the news.
    """
    prober_plan = Plan(1, 20, prefix="PRB")
    async with installation.where.api() as api:
        await register(load.plan, api)
        await register(prober_plan, api)
        identity = (await enrol(prober_plan, installation.where, api, folder / "prober", say=say))[0]
        await asyncio.sleep(settle_s)
        idle = await _idle(installation, api, Prober(installation.where, identity, prober_plan, view="presses"), load)
        say(f"idle: {json.dumps(idle['press'])}")
        before = stored_bytes(installation)
        swarm = await _start_swarm(installation, load, folder)
        try:
            await asyncio.sleep(load.warm_up_s)
            first, begin_s = await installation.read(api), time.monotonic()
            await asyncio.sleep(load.window_s)
            last, seconds = await installation.read(api), time.monotonic() - begin_s
            async with Prober(installation.where, identity, prober_plan, view="presses").ready() as prober:
                watched_from, begin_s = await installation.read(api), time.monotonic()
                press = await prober.press(load.presses)
                watched_to, watched_s = await installation.read(api), time.monotonic() - begin_s
            status = await asyncio.wait_for(swarm.wait(), 300)
        finally:
            await swarm.kill()
        account = _account(swarm, folder, status)
        time_series = await _catch_up(installation, api, last)
        made = account["heartbeats_made"] * account["devices"]
        return {
            "parts": str(installation.parts),
            "nodes": load.plan.nodes,
            "devices": load.plan.devices,
            "wanted_device_heartbeats_per_s": load.plan.rate,
            **_compare(first, last, seconds),
            "swarm": account,
            "idle": idle,
            "press_under_load": press.as_json(),
            "watched": _compare(watched_from, watched_to, watched_s),
            "time_series": time_series,
            "bytes_per_device_and_day": bytes_per_device_and_day(before, stored_bytes(installation), made),
            "load_average": os.getloadavg()[0],
        }


async def _idle(installation: Installation, api: FleetApi, prober: Prober, load: Load) -> dict[str, Any]:
    """Let nobody but one node speak: presses, and what the server costs meanwhile."""
    async with prober.ready():
        first, begin_s = await installation.read(api), time.monotonic()
        press = await prober.press(load.presses)
        last, seconds = await installation.read(api), time.monotonic() - begin_s
    percent = {name: round(100 * (last.processes[name].cpu_s - used.cpu_s) / seconds, 2) for name, used in first.processes.items()}
    return {"press": press.as_json(), "cpu_percent_of_a_core": percent}


async def _start_swarm(installation: Installation, load: Load, folder: Path) -> Process:
    plan = load.plan
    server = folder / "server.json"
    await asyncio.to_thread(server.write_text, installation.where.as_json())
    argv: list[str | Path] = [program("hil"), "swarm", "--server", server, "--data", folder / "swarm", "--out", folder / "swarm.json"]
    argv += ["--nodes", str(plan.nodes), "--devices", str(plan.devices), "--rate", str(plan.rate)]
    argv += ["--duration", str(load.warm_up_s + load.window_s + _PRESS_S * load.presses + 5), "--ready-file", folder / "swarm.ready"]
    swarm = Process("hil swarm", argv, log=folder / "swarm.log")
    await swarm.start()
    await until(lambda: _is_ready(swarm, folder / "swarm.ready"), "the swarm is connected", within_s=900)
    return swarm


def _is_ready(swarm: Process, ready: Path) -> bool:
    swarm.check()
    return ready.exists()


def _account(swarm: Process, folder: Path, status: int) -> dict[str, Any]:
    try:
        account: dict[str, Any] = json.loads((folder / "swarm.json").read_text())
    except FileNotFoundError as error:
        raise ProcessFailed(f"hil swarm ended with status {status}: {swarm.last_line()}") from error
    return account


def _compare(first: Reading, last: Reading, seconds: float) -> dict[str, Any]:
    """Return the rate, and what each process and each task of the server used for 100,000 device-heartbeats."""
    heartbeats = last.figures[_HEARTBEATS] - first.figures[_HEARTBEATS]
    lots = heartbeats / 100_000
    cpu = {name: (last.processes[name].cpu_s - used.cpu_s) / lots for name, used in first.processes.items()}
    names = sorted({key for key in last.figures if key.startswith("ssz_cpu_seconds_total{")})
    tasks = {key.split('"')[1]: (last.figures[key] - first.figures.get(key, 0.0)) / lots for key in names}
    return {
        "seconds": round(seconds, 2),
        "device_heartbeats_per_s": round(heartbeats / seconds, 1),
        "cpu_s_per_100k": {name: round(value, 3) for name, value in cpu.items()},
        "server_cpu_s_per_100k_by_task": {name: round(value, 3) for name, value in tasks.items() if value >= 0.0005},
        "ingest_cpu_s_per_100k": round(sum(tasks.get(name, 0.0) for name in INGEST_TASKS), 3),
        "rss_mb": {name: round(used.rss_mb, 1) for name, used in last.processes.items()},
        "bad_messages": sum(v for k, v in last.figures.items() if k.startswith("ssz_ingest_bad_messages_total")),
    }


async def _catch_up(installation: Installation, api: FleetApi, last: Reading) -> dict[str, Any]:
    """Wait until the time series hold all of the journal."""
    begin_s = time.monotonic()

    async def is_done() -> bool:
        return (await installation.read(api)).figures[_LAG_ROWS] == 0

    await until(is_done, "the time series have caught up", within_s=600)
    return {
        "lag_rows_at_end": last.figures[_LAG_ROWS],
        "lag_s_at_end": round(last.figures[_LAG_S], 2),
        "caught_up_after_s": round(time.monotonic() - begin_s, 1),
        "dead_letters": (await installation.read(api)).figures["ssz_telemetry_dead_letters"],
    }
