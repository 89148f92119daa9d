"""`hil swarm`: as many nodes as a machine can hold, against a server of its own or one that runs already."""

import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from firmware_agent.errors import AgentError
from hil.demo.errors import DemoFailed
from hil.demo.place import write_whole
from hil.processes import ProcessFailed
from hil.scenarios.errors import BrokenPromise
from hil.scenarios.server import Server
from hil.scenarios.setup import Setup
from hil.swarm.identity import Where, enrol, register
from hil.swarm.plan import Plan
from hil.swarm.swarm import Account, Swarm


def swarm(
    nodes: Annotated[int, typer.Option(help="How many nodes.", min=1, max=20_000)] = 1500,
    devices: Annotated[int, typer.Option(help="Devices of each.", min=1, max=200)] = 20,
    rate: Annotated[float, typer.Option(help="Device-heartbeats per second, all together.", min=0.1)] = 10_000.0,
    duration: Annotated[float, typer.Option(help="Seconds, from the moment that all nodes are connected.", min=1.0)] = 60.0,
    server: Annotated[
        Path | None, typer.Option(help="JSON file that says where a running server is; default: start one, and stop it afterwards.")
    ] = None,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="A server of its own: embedded broker, even where Mosquitto is there.")
    ] = False,
    data: Annotated[Path | None, typer.Option(help="Folder for keys and certificates (and the server), kept; default: temporary.")] = None,
    ready_file: Annotated[Path | None, typer.Option(help="Written once all nodes are connected.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the answer in JSON to this file too.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")] = False,
) -> None:
    """Simulate many nodes over mutual TLS. Exit status 1 where a heartbeat was lost or the rate was not reached.

    Example: hil swarm --nodes 200 --rate 2000 --duration 30

    The file for --server: {"console_url","est_url","mqtt_host","mqtt_port","ca_file","token_file"}.
    """
    plan = Plan(nodes, devices, rate)

    def is_ready() -> None:
        if ready_file is not None:
            write_whole(ready_file, "{}\n")

    try:
        with _folder(data) as folder:
            account = asyncio.run(_run(plan, folder, server, embedded, duration, is_ready))
    except (DemoFailed, ProcessFailed, BrokenPromise, AgentError) as error:
        typer.echo(f"hil swarm: {error}", err=True)
        raise typer.Exit(1) from error
    if out is not None:
        write_whole(out, json.dumps(account.as_json(), indent=2) + "\n")
    _answer(account, as_json)
    if account.lost or account.heartbeats_held or account.rate < 0.95 * min(rate, plan.positions * duration):
        raise typer.Exit(1)


async def _run(plan: Plan, folder: Path, server: Path | None, embedded: bool, duration_s: float, is_ready: Callable[[], None]) -> Account:
    if server is not None:
        return await _against(plan, Where.read(server), folder, duration_s, is_ready)
    own = await own_server(folder / "server", Setup(is_mosquitto=not embedded and has_mosquitto()))
    try:
        return await _against(plan, where_is(own), folder, duration_s, is_ready)
    finally:
        await own.aclose()


async def _against(plan: Plan, where: Where, folder: Path, duration_s: float, is_ready: Callable[[], None]) -> Account:
    async with where.api() as api:
        await register(plan, api)
        _say(f"{plan.nodes} nodes with {plan.positions} positions are registered")
        identities = await enrol(plan, where, api, folder / "nodes", say=_say)
        return await Swarm(plan, identities, where).run(duration_s, api, say=_say, is_ready=is_ready)


async def own_server(folder: Path, setup: Setup, settings: str = "") -> Server:
    """Install a server in a folder, where there is none yet, and start it."""
    server = Server(folder, setup)
    await server.install(settings)
    await server.start()
    return server


def where_is(server: Server) -> Where:
    """Say where a server of ours is."""
    return Where(
        console_url=f"http://127.0.0.1:{server.http_port}",
        est_url=server.est_url,
        mqtt_host="127.0.0.1",
        mqtt_port=server.mqtt_port,
        ca_file=server.ca_file,
        token_file=server.folder.parent / "api-token",
    )


def has_mosquitto() -> bool:
    """Whether the program is installed."""
    return any(shutil.which("mosquitto", path=path) for path in (None, "/usr/sbin", "/usr/local/sbin"))


@contextmanager
def _folder(data: Path | None) -> Iterator[Path]:
    if data is None:
        with tempfile.TemporaryDirectory(prefix="hil-swarm-") as folder:
            yield Path(folder)
        return
    data.mkdir(parents=True, exist_ok=True)
    yield data.resolve()


def _answer(account: Account, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(account.as_json(), indent=2))
        return
    typer.echo(
        f"{account.heartbeats_made} heartbeats of {account.devices} devices made, {account.heartbeats_stored} stored, {account.lost} lost:"
        f" {account.rate:.0f} device-heartbeats/s over {account.seconds:.0f} s. {account.acks} acknowledgements, {account.replayed} sent"
        f" again, {account.reconnects} reconnects; the swarm used {account.cpu_s:.1f} CPU-s and was late by {account.worst_delay_s:.2f} s"
        " at most."
    )


def _say(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()
