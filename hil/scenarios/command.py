"""`hil list` and `hil run`: the scenarios by hand."""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from hil.demo.errors import DemoFailed
from hil.processes import ProcessFailed
from hil.scenarios.catalogue import SCENARIOS, Scenario, find
from hil.scenarios.errors import BrokenPromise
from hil.scenarios.setup import Influx, Setup
from hil.scenarios.world import World


def list_scenarios(
    as_json: Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")] = False,
) -> None:
    """Show what can be run.

    Example: hil list
    """
    if as_json:
        import json

        typer.echo(json.dumps([{"name": each.name, "summary": each.summary, "needs": each.needs or None} for each in SCENARIOS], indent=2))
        return
    for each in SCENARIOS:
        typer.echo(f"{each.name:<15} {each.summary}{f' (needs {each.needs})' if each.needs else ''}")


def run_scenario(
    name: Annotated[str, typer.Argument(help="One of those that hil list shows.")],
    data: Annotated[Path | None, typer.Option(help="New folder for the world, kept afterwards; default: a temporary one.")] = None,
    nodes: Annotated[int, typer.Option(help="How many nodes.", min=1, max=50)] = 2,
    seed: Annotated[int | None, typer.Option(help="Repeats the random points of an earlier run.")] = None,
    mosquitto: Annotated[bool, typer.Option("--mosquitto", help="Mosquitto instead of the embedded broker.")] = False,
    database_url: Annotated[str, typer.Option(help="Empty PostgreSQL database, SQLAlchemy's URL, instead of SQLite.")] = "",
    influxdb_url: Annotated[str, typer.Option(help="InfluxDB 2 with the fleet's buckets, instead of SQLite.")] = "",
    influxdb_org: Annotated[str, typer.Option(help="Its organisation.")] = "fleet",
    influxdb_token_file: Annotated[Path | None, typer.Option(help="File with its token.")] = None,
) -> None:
    """Run a scenario against real processes on this machine. Exit status 1 where a promise was broken.

    Example: hil run kills --seed 7

    hil run influxdb-down --influxdb-url http://127.0.0.1:8086 --influxdb-token-file token
    """
    scenario = find(name)
    if scenario is None:
        raise typer.BadParameter(f"there is no scenario {name!r}: choose from {', '.join(each.name for each in SCENARIOS)}")
    influx = None
    if influxdb_url:
        if influxdb_token_file is None:
            raise typer.BadParameter("--influxdb-url needs --influxdb-token-file")
        influx = Influx(influxdb_url, influxdb_org, influxdb_token_file.read_text().strip())
    setup = Setup(is_mosquitto=mosquitto, database_url=database_url, influx=influx)
    try:
        with _folder(data) as folder:
            asyncio.run(_play(scenario, folder, setup, nodes, seed))
    except (BrokenPromise, DemoFailed, ProcessFailed) as error:
        typer.echo(f"hil run {name}: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo("All promises kept")


async def _play(scenario: Scenario, folder: Path, setup: Setup, nodes: int, seed: int | None) -> None:
    typer.echo(f"{scenario.summary}, in {folder}")
    async with World(folder, setup, nodes=nodes, seed=seed, say=_say) as world:
        await scenario.play(world)


def _say(sentence: str) -> None:
    typer.echo(f"  {sentence}")


@contextmanager
def _folder(data: Path | None) -> Iterator[Path]:
    if data is None:
        with tempfile.TemporaryDirectory(prefix="hil-") as folder:
            yield Path(folder)
        return
    try:
        data.mkdir(parents=True)
    except OSError as error:
        raise BrokenPromise(f"The folder {data} cannot be made ({error.strerror}): name a new one with --data.") from error
    yield data.resolve()
