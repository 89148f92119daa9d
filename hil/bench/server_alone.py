"""Figures of a server by itself: how soon it is ready, how fast its pages are, what it stores, how fast the ledger is made again."""

import importlib.util
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import httpx

from hil.bench.installation import Installation
from hil.bench.processes import used
from hil.demo.fleet import FleetApi
from hil.processes import run
from hil.scenarios.programs import program
from hil.scenarios.server import Server
from hil.scenarios.setup import Setup

_BARE: Final = "import fastapi, sqlalchemy"
_PAGES: Final = {"overview": "/", "presses": "/presses", "score": "/score"}
_DAY_S: Final = 86_400
INTERVAL_S: Final = 10.0
"""Between two heartbeats of a node as agents are set: what bytes per day are counted for."""


async def cold_start(folder: Path, *, times: int) -> dict[str, Any]:
    """Start a server (all embedded) so often; ready is when it says so itself, with its broker connected."""
    server = Server(folder / "server", Setup())
    await server.install("")
    ready, cpu = [], []
    for _ in range(times):
        begin_s = time.monotonic()
        await server.start()
        ready.append(time.monotonic() - begin_s)
        cpu.append(used(server.pid).cpu_s)
        await server.stop()
    await server.aclose()
    bare = [await _timed([sys.executable, "-c", _BARE]) for _ in range(times)]
    return {
        "ready_s": round(statistics.median(ready), 2),
        "server_cpu_s": round(statistics.median(cpu), 2),
        "bare_import_s": round(statistics.median(bare), 2),
        "ratio_to_bare_import": round(statistics.median(ready) / statistics.median(bare), 2),
        "bare_import": f"python -c '{_BARE}'",
        "times": times,
    }


async def _timed(argv: Sequence[str]) -> float:
    begin_s = time.monotonic()
    await run("python", argv)
    return time.monotonic() - begin_s


async def pages(url: str, *, times: int) -> dict[str, Any]:
    """Load the console's pages as a visitor does, one after the other."""
    found = {}
    async with httpx.AsyncClient(base_url=url, timeout=120.0) as http:
        for name, path in _PAGES.items():
            spent, size = [], 0
            for _ in range(times):
                begin_s = time.monotonic()
                answer = await http.get(path)
                answer.raise_for_status()
                spent.append(time.monotonic() - begin_s)
                size = len(answer.content)
            found[name] = {"ms": round(1000 * statistics.median(spent), 1), "kb": round(size / 1024, 1)}
    return found


async def api_times(api: FleetApi, *, times: int) -> dict[str, float]:
    """Ask the API for a page of 100 positions with their states, and for the proposed score."""
    found = {}
    for name, path in (("positions", "/positions?limit=100"), ("innovation", "/innovation")):
        spent = []
        for _ in range(times):
            begin_s = time.monotonic()
            await api.get(path)
            spent.append(time.monotonic() - begin_s)
        found[name] = round(1000 * statistics.median(spent), 1)
    return found


def stored_bytes(installation: Installation) -> dict[str, int]:
    """Return what lies on disk now, by part."""
    folder = installation.server.folder
    return {
        "database": sum(path.stat().st_size for path in folder.glob("fleet.db*")),
        "embedded_time_series": sum(path.stat().st_size for path in folder.glob("telemetry.db*")),
        "influxdb": sum(path.stat().st_size for path in (folder.parent / "influxdb").rglob("*") if path.is_file()),
    }


def bytes_per_device_and_day(before: dict[str, int], after: dict[str, int], device_heartbeats: int) -> dict[str, float]:
    """Return the growth for one device that is heard of every 10 s; only parts that grew."""
    per_day = _DAY_S / INTERVAL_S
    grown = {name: after[name] - before[name] for name in after}
    return {name: round(size / device_heartbeats * per_day) for name, size in grown.items() if size > 0}


async def rebuild(installation: Installation, *, heartbeats: int) -> dict[str, Any] | None:
    """Make the ledger again from the journal, as of hours later so that all of it is closed; None without libfaketime."""
    library = _libfaketime()
    if library is None:
        return None
    await installation.server.stop()
    env = {"LD_PRELOAD": str(library), "FAKETIME": "+3h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    begin_s, cpu_s = time.monotonic(), os.times().children_user
    said = await run("fleet rebuild", [program("fleet"), "rebuild", "--data", installation.server.folder, "--json"], env=env, within_s=1800)
    report = json.loads(said)
    seconds = time.monotonic() - begin_s
    return {
        "seconds": round(seconds, 2),
        "cpu_s": round(os.times().children_user - cpu_s, 2),
        "rows": report["hours"],
        "is_same": report["is_same"],
        "heartbeats": heartbeats,
        "folded_twice": "the command first folds what is open, then drops all and folds again; the time is that of both",
        "heartbeats_per_s": round(2 * heartbeats / seconds),
    }


def _libfaketime() -> Path | None:
    found = importlib.util.find_spec("libfaketime")
    if found is None or found.origin is None:
        return None
    library = Path(found.origin).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
    return library if library.exists() else None
