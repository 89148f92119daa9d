"""`fleet demo`: the demo zone as a person or a program starts it. Registered as a command of `fleet` by entry point."""

import asyncio
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hil.demo.errors import DemoFailed
from hil.processes import ProcessFailed

if TYPE_CHECKING:
    from hil.demo.run import Run


def demo(
    data: Annotated[Path, typer.Option(help="Folder of the demo; a second run goes on where the first stopped.")] = Path("var/demo"),
    http_port: Annotated[int | None, typer.Option(help="Port of the console.")] = None,
    ready_file: Annotated[Path | None, typer.Option(help="Written, whole, once every position has been seen working.")] = None,
    exit_after: Annotated[
        float | None, typer.Option(help="Seconds from readiness; runs the script, then exits 0, or 1 where a promise was broken.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="With --exit-after: where the report goes.")] = None,
    script: Annotated[
        str | None,
        typer.Option(
            help="TOML file of [[step]] at_s, act, target; or none. Default with --exit-after: press at 20 s, all cameras dead 30-60 s."
        ),
    ] = None,
) -> None:
    """Run a demo zone on this machine: real agents, real certificates, simulated devices at their real protocols.

    Examples: fleet demo --data var/demo

    fleet demo --exit-after 90 --json out.json
    """
    # Loaded here, because each start of `fleet` loads this file.
    from hil.demo.place import choose_ports, taken
    from hil.demo.run import Run, Wishes
    from hil.demo.script import load_script

    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    try:
        steps = load_script(script if exit_after is not None or script is not None else "none")
        with taken(data) as place, _short_folder() as runtime:
            wishes = Wishes(ready_file=ready_file, exit_after_s=exit_after, json_file=json_file, steps=steps)
            status = asyncio.run(_until_signal(Run(place, choose_ports(place, http_port), runtime, wishes)))
    except (DemoFailed, ProcessFailed) as error:
        typer.echo(f"fleet demo: {error}", err=True)
        raise typer.Exit(1) from error
    raise typer.Exit(status)


async def _until_signal(run: "Run") -> int:
    """Run to the end, or until Ctrl-C or SIGTERM; what went wrong is raised by itself, not in a group."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    work = asyncio.create_task(run.run(), name="demo")
    stopping = asyncio.create_task(stop.wait(), name="signals")
    await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not work.done():
        typer.echo("\nStopping", err=True)
        work.cancel()
        await asyncio.wait({work})
        return 0
    try:
        return work.result()
    except BaseExceptionGroup as group:
        raise _first_of(group) from group


def _first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error in a group, however deep."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@contextmanager
def _short_folder() -> Iterator[Path]:
    """Yield a private folder whose path is short enough for Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="ssz-") as folder:
        os.chmod(folder, 0o700)  # noqa: PTH101  # a str is at hand
        yield Path(folder)
