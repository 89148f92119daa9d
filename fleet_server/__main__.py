"""`fleet`: the server and its administration.

Exit statuses: 0 done; 1 it could not be done, and one sentence says why; 2 the command line is wrong.
"""

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Final

import typer

from fleet_server.cli import install, records, running
from fleet_server.cli.nodes import node_app
from fleet_server.cli.people import account_app, token_app

PLUGINS: Final = "fleet.commands"
"""Entry points of this group are commands that other houses add."""

_HELP: Final = """The fleet server and its administration.

\b
A new installation on one machine:
  fleet init --data /srv/fleet --host fleet.example.go.th --bind 0.0.0.0 --console acme --email it@example.go.th
  fleet serve --data /srv/fleet
  fleet import units units.csv --data /srv/fleet --dry-run
Every command explains itself with an example: fleet COMMAND --help
"""
_STATUSES: Final = """Exit status: 0 done; 1 not done, and one sentence on standard error says why; 2 wrong usage. With --json the answer
on standard output is one JSON value; what went wrong is still a sentence on standard error. FLEET_DATA names the data folder."""

app: Final = typer.Typer(
    help=_HELP,
    epilog=_STATUSES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(install.init)
app.command()(running.serve)
app.command()(running.status)
app.command("import")(records.import_csv)
app.command()(records.rebuild)
app.command("prepare-influxdb")(install.prepare_influxdb)
app.add_typer(node_app, name="node")
app.add_typer(account_app, name="account")
app.add_typer(token_app, name="token")


def _add_plugins() -> None:
    for entry in entry_points(group=PLUGINS):
        try:
            command = entry.load()
        except ModuleNotFoundError as error:  # a server need not have the libraries of a demo
            command = _not_installed(entry.name, str(error.name))
        app.command(entry.name)(command)


def _not_installed(name: str, library: str) -> Callable[[], None]:
    def command() -> None:
        typer.echo(f"fleet {name} needs the library {library}, which is not installed here.", err=True)
        raise typer.Exit(1)

    command.__doc__ = f"Not installed here: it needs {library}."
    return command


_add_plugins()

if __name__ == "__main__":
    app()
