"""`zone-agent`: enrol a node, run its agent, show its status."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from firmware_agent.errors import AgentError

app = typer.Typer(
    name="zone-agent",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="The agent of a Smart Safety Zone node.",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


@app.command(
    epilog="Example: zone-agent enrol --server https://fleet.example.go.th:8443 --ca root.pem"
    " --serial SSZ-000123 --code ABCD-EFGH-JKMN-PQRS-T --data /var/lib/zone-agent"
)
def enrol(
    server: Annotated[str, typer.Option(help="EST server, https://host:port.")],
    ca: Annotated[Path, typer.Option(help="PEM file with the fleet's root certificate.")],
    serial: Annotated[str, typer.Option(help="Serial on the label of this node.")],
    code: Annotated[str, typer.Option(help="One-time claim code.")],
    data: Annotated[Path, typer.Option(help="Data folder of the node.")],
    wait: Annotated[float, typer.Option(help="Seconds to go on while the server is away or a person has not approved.", min=0)] = 600.0,
    json: Json = False,
) -> None:
    """Make this node's key and get its certificate. Safe to run again: the same key asks again."""
    with _one_sentence():
        from firmware_agent.clock import SystemClock
        from firmware_agent.identity.enrol import Patience, Request, enrol
        from firmware_agent.identity.est import EstClient

        clock = SystemClock()
        request = Request(serial, code, ca, data / "identity")
        patience = Patience(wait, clock, time.sleep, lambda text: typer.echo(text, err=True))
        identity = enrol(request, EstClient(server, ca, clock=clock), patience)
        if json:
            typer.echo(_json({"node_id": identity.node, "serial": identity.serial, "not_after_ms": identity.record.not_after_ms}))
        else:
            typer.echo(f"Enrolled as node {identity.node} (serial {identity.serial}).")


@app.command(epilog="Example: zone-agent run --config /etc/zone-agent/node.toml")
def run(
    config: Annotated[Path, typer.Option(help="Configuration file (node.toml).")],
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Watch the devices and report, until SIGTERM or Ctrl-C."""
    if log_level.upper() not in logging.getLevelNamesMapping():
        raise typer.BadParameter(f"unknown level {log_level!r}", param_hint="--log-level")
    from firmware_agent.service import become_service

    become_service(config, log_level)


@app.command(epilog="Example: zone-agent status --config /etc/zone-agent/node.toml --json")
def status(
    config: Annotated[Path | None, typer.Option(help="Configuration file (node.toml).")] = None,
    data: Annotated[Path | None, typer.Option(help="Data folder, instead of --config.")] = None,
    json: Json = False,
) -> None:
    """Show what the agent on this machine knows of itself. Exit status 1 when it does not run."""
    if (config is None) == (data is None):
        raise typer.BadParameter("give either --config or --data")
    with _one_sentence():
        from firmware_agent.config import load_config
        from firmware_agent.status import is_alive, load_status
        from firmware_agent.status_text import describe

        path = load_config(config).status_file if config else (data or Path()) / "status.json"
        found = load_status(path)
        alive = is_alive(found)
        typer.echo(path.read_text().rstrip() if json else describe(found, is_alive=alive))
        if not alive:
            raise typer.Exit(1)


@contextmanager
def _one_sentence() -> Iterator[None]:
    """End with status 1 and one clear sentence, not a traceback, when the agent says why it cannot."""
    try:
        yield
    except AgentError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    except OSError as error:
        where = f"{error.filename} cannot" if error.filename else "The node's files cannot"
        typer.echo(f"{where} be read or written: {error.strerror}.", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _json(value: object) -> str:
    import msgspec

    return msgspec.json.encode(value).decode()


if __name__ == "__main__":
    app()
