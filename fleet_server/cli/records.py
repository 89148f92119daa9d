"""`fleet import` and `fleet rebuild`: what the database holds."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from fleet_server.cli.answers import HERE, Data, Json, answer, opened, read_text, registry_of, said_plainly


def import_csv(
    kind: Annotated[str, typer.Argument(help="units, zones, positions or nodes.")],
    file: Annotated[Path, typer.Argument(help="CSV in UTF-8.")],
    data: Data = HERE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check every row, write nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Import units, zones, positions or nodes: all rows, or none when one is wrong.

    Example: fleet import positions positions.csv --dry-run
    """
    from fleet_server.errors import Rejected
    from fleet_server.registry.csv_cells import ImportKind
    from fleet_server.registry.routes import ReportOut

    with said_plainly(), opened(data) as (settings, database):
        if kind not in list(ImportKind):
            raise Rejected(f"There is no import of {kind!r}: choose from {', '.join(ImportKind)}.")
        report = registry_of(settings, database).import_csv(ImportKind(kind), read_text(file), dry_run=dry_run, actor="fleet import")
    if not as_json:
        for fault in report.errors:
            typer.echo(f"row {fault.row}, {fault.column}: {fault.message}", err=True)
        for warning in report.warnings:
            typer.echo(f"row {warning.row}, {warning.column}: warning: {warning.message}", err=True)
    done = "would be " if dry_run or report.errors else ""
    summary = f"{report.rows} rows: {report.created} {done}created, {report.updated} {done}updated, {len(report.errors)} errors"
    answer(ReportOut.model_validate(report).model_dump(mode="json"), as_json, summary)
    if report.errors:
        raise typer.Exit(1)


def rebuild(data: Data = HERE, as_json: Json = False) -> None:
    """Make the uptime ledger again from the journal; the result equals the old one byte for byte.

    Example: fleet rebuild --data /srv/fleet
    """
    from fleet_server.clock import SystemClock
    from fleet_server.exemptions.service import Exemptions
    from fleet_server.ingest.journal import Journal
    from fleet_server.uptime.service import Uptime

    def progress(done: int, of: int) -> None:
        if sys.stderr.isatty():
            typer.echo(f"\r{done}/{of} node-hours", err=True, nl=done == of)

    with said_plainly(), opened(data) as (settings, database):
        clock, directory = SystemClock(), registry_of(settings, database).directory
        uptime = Uptime(database, Journal(database), directory, Exemptions(database, directory, clock), clock)
        uptime.settle()
        before = uptime.fingerprint()
        hours = uptime.rebuild(progress)
        after = uptime.fingerprint()
    same = "the same as before" if before == after else "different from before: the old ledger was incomplete or damaged"
    answer(
        {"hours": hours, "before": before, "after": after, "is_same": before == after},
        as_json,
        f"{hours} hours made again, {same} ({after[:16]})",
    )
