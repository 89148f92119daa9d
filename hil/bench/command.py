"""`hil bench`: the figures of docs/benchmarks.md, on this machine."""

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from hil.bench.bench import FULL, QUICK, bench, save
from hil.bench.installation import Parts
from hil.bench.servers import NotInstalled
from hil.bench.table import as_text
from hil.demo.errors import DemoFailed
from hil.processes import ProcessFailed
from hil.scenarios.errors import BrokenPromise


def bench_command(
    quick: Annotated[bool, typer.Option("--quick", help="A small version, in about a minute; its figures prove nothing.")] = False,
    embedded: Annotated[bool, typer.Option("--embedded", help="Load the embedded default instead of Mosquitto and InfluxDB.")] = False,
    postgres: Annotated[bool, typer.Option("--postgres", help="PostgreSQL instead of SQLite.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the report in JSON to this file too.")] = None,
) -> None:
    """Measure speed, memory and latencies with real processes. Run it on a machine that does nothing else.

    Example: hil bench --out bench.json
    """
    parts = Parts(False, postgres, False) if embedded else Parts.best(is_postgres=postgres)
    try:
        with tempfile.TemporaryDirectory(prefix="hil-bench-") as folder:
            report = asyncio.run(bench(QUICK if quick else FULL, parts, Path(folder), say=_say))
    except (DemoFailed, ProcessFailed, BrokenPromise, NotInstalled) as error:
        typer.echo(f"hil bench: {error}", err=True)
        raise typer.Exit(1) from error
    if out is not None:
        save(report, out)
    typer.echo(json.dumps(report, indent=2) if as_json else as_text(report))


def _say(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()
