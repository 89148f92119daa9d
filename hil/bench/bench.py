"""All measurements in their order, and the report they make."""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hil.bench import server_alone
from hil.bench.agent import idle_agent
from hil.bench.installation import Parts, installed
from hil.bench.processes import machine
from hil.bench.whole_path import Load, whole_path
from hil.swarm.plan import Plan

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    load: Load
    cold_starts: int
    agent_window_s: float
    page_times: int
    settle_s: float
    """After an import, before anything is measured."""


FULL = Size(Load(Plan(1500, 20, 10_000), warm_up_s=30, window_s=60, presses=50), 5, 60.0, 5, 30.0)
QUICK = Size(Load(Plan(20, 20, 400), warm_up_s=1, window_s=3, presses=2), 1, 2.0, 1, 0.5)


async def bench(size: Size, parts: Parts, folder: Path, *, say: Say) -> dict[str, Any]:
    """Measure everything once.

    Args:
        size: how much.
        parts: of the installation under load.
        folder: new and empty; what the measured processes say is under it.
        say: told of each step.
    """
    report: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["hil", *sys.argv[1:]]),
        "machine": machine(),
    }
    say("cold start")
    report["cold_start"] = await server_alone.cold_start(folder / "cold", times=size.cold_starts)
    say("one station, everything embedded")
    report["station"] = await _station(size, folder / "station")
    say(f"{size.load.plan.nodes} nodes with {size.load.plan.positions} positions: {parts}")
    report["fleet"] = await _fleet(size, parts, folder / "fleet", say=say)
    report["machine"]["load_after"] = os.getloadavg()[0]
    return report


async def _station(size: Size, folder: Path) -> dict[str, Any]:
    """200 positions of 10 nodes on the embedded default: pages, idle agents, bytes, and the ledger made again."""
    parts, plan = Parts(False, False, False), Plan(10, 20, 20.0 * 10 if size is QUICK else 1000.0)
    async with installed(folder, parts) as installation, installation.where.api() as api:
        load = replace(size.load, plan=plan)
        measured = await whole_path(installation, load, folder, settle_s=size.settle_s, say=lambda _: None)
        heartbeats = measured["swarm"]["heartbeats_made"]
        with tempfile.TemporaryDirectory(prefix="ssz-") as runtime:  # a short path, for the socket
            agent = await idle_agent(installation.where, api, Path(runtime), window_s=size.agent_window_s)
        return {
            "load": measured,
            "pages": await server_alone.pages(installation.where.console_url, times=size.page_times),
            "agent": agent,
            "rebuild": await server_alone.rebuild(installation, heartbeats=heartbeats),
        }


async def _fleet(size: Size, parts: Parts, folder: Path, *, say: Say) -> dict[str, Any]:
    async with installed(folder, parts) as installation, installation.where.api() as api:
        measured = await whole_path(installation, size.load, folder, settle_s=size.settle_s, say=say)
        pages = await server_alone.pages(installation.where.console_url, times=size.page_times)
        return {
            "load": measured,
            "pages": pages,
            "api_ms": await server_alone.api_times(api, times=size.page_times),
            "rebuild": await server_alone.rebuild(installation, heartbeats=measured["swarm"]["heartbeats_made"]),
        }


def save(report: dict[str, Any], path: Path) -> None:
    """Write the report as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")
