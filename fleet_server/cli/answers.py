"""What all commands share: their options, how they answer, and how they say that something could not be done."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fleet_server.errors import FleetError

if TYPE_CHECKING:
    from fleet_server.access.service import Access
    from fleet_server.registry.service import Registry
    from fleet_server.settings import Settings
    from fleet_server.storage import Database

HERE: Final = Path("var/fleet")
"""The data folder unless another one is named."""

Data = Annotated[Path, typer.Option("--data", envvar="FLEET_DATA", help="Data folder of the installation.")]
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")]


@contextmanager
def said_plainly() -> Iterator[None]:
    """Turn what this project raises on purpose into one sentence and exit status 1."""
    from provisioning.errors import ProvisioningError

    try:
        yield
    except (FleetError, ProvisioningError) as error:
        typer.echo(f"fleet: {error}", err=True)
        raise typer.Exit(1) from error


def answer(data: Any, as_json: bool, *sentences: str) -> None:  # the shape of all commands
    """Print `data` for programs, or `sentences` for people."""
    if as_json:
        typer.echo(json.dumps(data, ensure_ascii=False, indent=2))
    else:
        for sentence in sentences:
            typer.echo(sentence)


def settings_at(data: Path) -> "Settings":
    """Read the settings of the installation in `data`.

    Raises:
        BadSettings: there are none, or they cannot be used; the message says what to do.
    """
    from fleet_server.settings import FILE_NAME, BadSettings, load_settings

    if not (data / FILE_NAME).exists() and (data / "begun.json").exists():
        raise BadSettings(
            f"The installation in {data} waits for its offline root. Finish it with: fleet init --data {data} --signed FOLDER"
        )
    return load_settings(data / FILE_NAME)


@contextmanager
def opened(data: Path) -> Iterator[tuple["Settings", "Database"]]:
    """Open the database of an installation while the block runs."""
    from fleet_server.settings import database_url
    from fleet_server.storage.schema import open_database

    settings = settings_at(data)
    database = open_database(database_url(settings, data))
    try:
        yield settings, database
    finally:
        database.close()


def registry_of(settings: "Settings", database: "Database") -> "Registry":
    """Return the registry."""
    from fleet_server.clock import SystemClock
    from fleet_server.registry.service import Registry

    return Registry(database, SystemClock(), supervision_ms=settings.supervision.by_kind_ms())


def access_of(database: "Database") -> "Access":
    """Return accounts and tokens."""
    from fleet_server.access.service import Access
    from fleet_server.clock import SystemClock

    return Access(database, SystemClock())


def read_text(file: Path) -> str:
    """Read a file that a person named.

    Raises:
        Rejected: it cannot be read, or is not UTF-8.
    """
    from fleet_server.errors import Rejected

    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Rejected(f"{file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise Rejected(f"{file} is not UTF-8. In a spreadsheet, save it as “CSV UTF-8”.") from error
