"""One run of the demo: start, say that it is ready, follow the script, keep the timeline, report."""

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import typer

from hil.demo import layout
from hil.demo.acts import Act
from hil.demo.control import control_app, serving
from hil.demo.errors import DemoFailed
from hil.demo.place import Place, Ports, write_whole
from hil.demo.report import Moment, StreamCount, broken_promises, uptime_s
from hil.demo.script import Step
from hil.demo.zone import DemoZone

_WATCH_S: Final = 0.4
_DRAIN_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Wishes:
    """What this run was asked for."""

    ready_file: Path | None = None
    exit_after_s: float | None = None
    json_file: Path | None = None
    steps: tuple[Step, ...] = ()


class Run:
    """Starts the zone, plays the script, and keeps the books."""

    def __init__(self, place: Place, ports: Ports, runtime: Path, wishes: Wishes) -> None:
        """See `DemoZone`."""
        self._place = place
        self._ports = ports
        self._runtime = runtime
        self._wishes = wishes
        self._zone: DemoZone
        self._began_s = time.monotonic()
        self._timeline: list[Moment] = []
        self._presses = 0
        self._count = 0

    async def run(self) -> int:
        """Run to the end; return the exit status.

        Raises:
            DemoFailed, ProcessFailed: it could not go on.
        """
        started_s = time.monotonic()
        typer.echo("Starting a demo zone")
        async with serving(control_app(lambda: self._zone.acts(), done=self._note_act)) as control_url:
            self._zone = DemoZone(self._place, self._ports, runtime=self._runtime, control_url=control_url, say=_say)
            try:
                await self._zone.start()
                self._presses = len(self._zone.drills)
                self._began_s = time.monotonic()
                self._count = await self._innovation_count()
                self._note("ready")
                await self._announce(time.monotonic() - started_s)
                return await self._play()
            finally:
                await asyncio.shield(self._zone.stop())

    async def _play(self) -> int:
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(self._watch(), name="watch")
            try:
                for step in self._wishes.steps:
                    await self._sleep_until(step.at_s)
                    await self._do(step)
                if self._wishes.exit_after_s is None:
                    await asyncio.Event().wait()
                    return 0
                await self._sleep_until(self._wishes.exit_after_s)
            finally:
                watch.cancel()
        return await self._finish()

    async def _do(self, step: Step) -> None:
        act = await self._zone.acts().do(step.act, step.target)
        self._note_act(act)

    def _note_act(self, act: Act) -> None:
        self._presses += act.name == "press"
        self._note(f"{act.name} {act.target}".strip())

    def _note(self, what: str) -> None:
        moment = Moment(time.monotonic() - self._began_s, what, self._count)
        self._timeline.append(moment)
        if self._wishes.exit_after_s is not None:
            _say(f"{moment.at_s:5.1f} s  {what}  (innovation types that work: {self._count})")

    async def _watch(self) -> None:
        """Follow the innovation count and the processes; a server that does not answer now (the machine slept) is asked again."""
        while True:
            self._zone.check()
            with suppress(DemoFailed):
                count = await self._innovation_count()
                if count != self._count:
                    self._count = count
                    self._note("innovation count changed")
            await asyncio.sleep(_WATCH_S)

    async def _announce(self, took_s: float) -> None:
        zone = self._zone
        password = self._place.password_file.read_text()
        typer.echo(f"\nReady after {took_s:.0f} s. The console: {zone.console_url}")
        typer.echo(f"  user admin, password {password}")
        typer.echo("  Ctrl-C stops everything; run again to go on.\n")
        if self._wishes.ready_file is not None:
            write_whole(self._wishes.ready_file, json.dumps(self._ready(), indent=2) + "\n")

    def _ready(self) -> dict[str, Any]:
        zone, place = self._zone, self._place
        return {
            "console_url": zone.console_url,
            "est_url": f"https://127.0.0.1:{self._ports.est}",
            "device_url": None,
            "mqtt": {"host": "127.0.0.1", "port": self._ports.mqtt},
            "ca_file": str(place.ca_file),
            "admin": {"user": "admin", "password_file": str(place.password_file)},
            "api_token_file": str(place.token_file),
            "spare_claims": zone.spare_claims,
            "data_dir": str(place.data),
        }

    # ---- the end ----------------------------------------------------------------------------------------------------

    async def _finish(self) -> int:
        await self._drain()
        report = await self._report()
        findings = broken_promises(
            report, pressed=self._presses, expects_outage=any(step.act == "kill_all_cameras" for step in self._wishes.steps)
        )
        if self._wishes.json_file is not None:
            write_whole(self._wishes.json_file, json.dumps(report, ensure_ascii=False, indent=2) + "\n")
        for finding in findings:
            typer.echo(f"Broken promise: {finding}", err=True)
        if not findings:
            typer.echo(
                f"All promises kept: {report['heartbeats']['stored']} heartbeats and {len(report['presses'])} presses stored, none lost"
            )
        return 1 if findings else 0

    async def _drain(self) -> None:
        """Give the last acknowledgements time to arrive, so that the count of what is lost is exact."""
        until_s = time.monotonic() + _DRAIN_S
        while time.monotonic() < until_s:
            held = [self._zone.agent_status(serial).get("streams", [{"held": 1}])[-1]["held"] for serial in layout.NODES]
            if all(count <= 1 for count in held):
                return
            await asyncio.sleep(0.2)

    async def _report(self) -> dict[str, Any]:
        counts = [count for serial in layout.NODES for count in await self._streams(serial)]
        made, stored = sum(count.made for count in counts), sum(count.stored for count in counts)
        innovation = await self._zone.api.get("/innovation")
        return {
            "nodes": [await self._node(serial) for serial in layout.NODES],
            "heartbeats": {"sent": made, "stored": stored, "lost": sum(count.lost for count in counts)},
            "positions": await self._positions(),
            "presses": await self._stored_presses(),
            "innovation": {"types": innovation["types"], "count": innovation["count"], "score": innovation["score"]},
            "timeline": [moment.as_json() for moment in self._timeline],
        }

    async def _streams(self, serial: str) -> list[StreamCount]:
        made = self._zone.agent_status(serial).get("streams", [])
        known = {stream["stream"]: stream for stream in await self._zone.api.get(f"/nodes/{serial}/streams")}
        nothing: dict[str, Any] = {"through": 0, "gaps": []}
        return [
            StreamCount(
                s["stream"], s["made"], s["held"], known.get(s["stream"], nothing)["through"], known.get(s["stream"], nothing)["gaps"]
            )
            for s in made
        ]

    async def _node(self, serial: str) -> dict[str, Any]:
        status = self._zone.agent_status(serial)
        claim = await self._zone.api.get(f"/claims/{serial}")
        return {
            "node": status["node_id"],
            "serial": serial,
            "certificate_serial": claim["certificates"][0]["serial"],
            "online": bool(status["is_connected"]),
        }

    async def _positions(self) -> list[dict[str, Any]]:
        states = {state["code"]: state for state in await self._zone.api.all("/states")}
        shown = []
        for position in layout.POSITIONS:
            usage = await self._zone.api.get(f"/positions/{position.code}/uptime")
            shown.append(
                {
                    "position": position.code,
                    "kind": position.kind,
                    "state": states[position.code]["state"],
                    "uptime": uptime_s(usage["whole"]["parts"]),
                }
            )
        return shown

    async def _stored_presses(self) -> list[dict[str, Any]]:
        presses = await self._zone.api.all("/presses")
        since = self._zone.since_ms
        return [
            {"event_id": p["event_id"], "latency_ms": p["latency_ms"], "drill": p["is_drill"]}
            for p in presses
            if p["received_at_ms"] >= since
        ]

    async def _innovation_count(self) -> int:
        return int((await self._zone.api.get("/innovation"))["count"])

    async def _sleep_until(self, at_s: float) -> None:
        await asyncio.sleep(max(0.0, self._began_s + at_s - time.monotonic()))


def _say(sentence: str) -> None:
    typer.echo(f"  {sentence}")
