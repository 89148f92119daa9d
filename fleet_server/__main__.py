"""`fleet`: the server and its administration.

Exit statuses: 0 done; 1 it could not be done, and one sentence says why; 2 the command line is wrong.
"""

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fleet_server.errors import FleetError
from fleet_server.settings import FILE_NAME, Settings, load_settings

if TYPE_CHECKING:
    from fleet_server.storage import Database

PLUGINS: Final = "fleet.commands"
"""Entry points of this group are commands that other houses add."""

app = typer.Typer(
    help="The fleet server and its administration.", no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
)
node_app = typer.Typer(help="Nodes and their claim codes.", no_args_is_help=True)
account_app = typer.Typer(help="People who may sign in.", no_args_is_help=True)
token_app = typer.Typer(help="API tokens for programs.", no_args_is_help=True)
app.add_typer(node_app, name="node")
app.add_typer(account_app, name="account")
app.add_typer(token_app, name="token")

Data = Annotated[Path, typer.Option("--data", envvar="FLEET_DATA", help="Data folder of the installation.")]
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")]
_HERE: Final = Path("var/fleet")


@contextmanager
def said_plainly() -> Iterator[None]:
    """Turn what this project raises on purpose into one sentence and exit status 1."""
    from provisioning.errors import ProvisioningError

    try:
        yield
    except (FleetError, ProvisioningError) as error:
        typer.echo(f"fleet: {error}", err=True)
        raise typer.Exit(1) from error


@app.command()
def init(
    data: Data = _HERE,
    host: Annotated[str, typer.Option(help="Name or address by which nodes and browsers reach this server.")] = "127.0.0.1",
    organisation: Annotated[str, typer.Option(help="Name of the organisation, written into every certificate.")] = "Smart Safety Zone",
    http_port: Annotated[int, typer.Option(help="Console and API.")] = 8080,
    est_port: Annotated[int, typer.Option(help="Enrolment of nodes (EST, TLS).")] = 8443,
    mqtt_port: Annotated[int, typer.Option(help="MQTT, mutual TLS.")] = 8883,
    bind: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    offline_root: Annotated[bool, typer.Option(help="Make requests only; the root signs them on an offline machine.")] = False,
    console: Annotated[str, typer.Option(help="Console's certificate: none, upload, own.")] = "none",
    console_certificate: Annotated[Path | None, typer.Option(help="With --console upload: PEM chain.")] = None,
    console_key: Annotated[Path | None, typer.Option(help="With --console upload: PEM key.")] = None,
    administrator: Annotated[str, typer.Option(help="User name of the first administrator.")] = "admin",
    demo: Annotated[bool, typer.Option(help="A demo: scores simulated nodes, first page open to all. Never in a real fleet.")] = False,
    settings_file: Annotated[Path | None, typer.Option("--extra-settings", help="TOML to append to the settings.")] = None,
    own_settings: Annotated[Path | None, typer.Option("--settings", help="Use this settings file instead of making one.")] = None,
    also_host: Annotated[list[str] | None, typer.Option(help="One more name for the server's certificate; may be repeated.")] = None,
    if_missing: Annotated[bool, typer.Option("--if-missing", help="Complete what is there instead of refusing.")] = False,
    as_json: Json = False,
) -> None:
    """Make a new installation: CAs, secrets, database, settings, first administrator.

    Example: fleet init --data /srv/fleet --host fleet.example.go.th --bind 0.0.0.0 --console own
    """
    from fleet_server import installation
    from fleet_server.errors import Rejected

    with said_plainly():
        if console not in list(installation.ConsoleCertificate):
            raise Rejected(f"--console is one of {', '.join(installation.ConsoleCertificate)}, not {console!r}.")
        plan = installation.Plan(
            data=data,
            organisation=organisation,
            host=host,
            http_port=http_port,
            est_port=est_port,
            mqtt_port=mqtt_port,
            bind=bind,
            is_demo=demo,
            local_root=not offline_root,
            console=installation.ConsoleCertificate(console),
            console_chain=console_certificate,
            console_key=console_key,
            extra_settings=_read_text(settings_file) if settings_file else "",
            settings=_read_text(own_settings) if own_settings else "",
            also_hosts=tuple(also_host or ()),
            if_missing=if_missing,
        )
        made = installation.make(plan, administrator=administrator)
    _answer(made.as_json(), as_json, *made.sentences())


@app.command()
def serve(
    data: Data = _HERE,
    demo_control: Annotated[str | None, typer.Option(help="Loopback address of the demo that started this server.")] = None,
    ready_file: Annotated[Path | None, typer.Option(help="Written, whole, once everything answers.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
) -> None:
    """Run the server until Ctrl-C or SIGTERM.

    Example: fleet serve --data /srv/fleet
    """
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    for name in ("aiomqtt", "mqtt", "urllib3", "httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with said_plainly():
        settings = _settings(data)
        from fleet_server import serve as serving

        serving.run(settings, data, demo_control=demo_control, ready_file=ready_file)


@app.command("prepare-influxdb")
def prepare_influxdb(
    operator_token_file: Annotated[Path, typer.Option(help="File with the token that may do everything; used here only.")],
    reader_token_file: Annotated[Path | None, typer.Option(help="Where Grafana's token, which may only read, is to be written.")] = None,
    data: Data = _HERE,
    as_json: Json = False,
) -> None:
    """Make InfluxDB ready: buckets with their retention, and tokens. Safe to run again.

    Example: fleet prepare-influxdb --operator-token-file operator --reader-token-file /etc/grafana/influxdb-token
    """
    from fleet_server.main import read_secret
    from fleet_server.telemetry import influx_setup

    with said_plainly():
        section = _settings(data).telemetry
        done = influx_setup.prepare_influxdb(
            section.url,
            org=section.org,
            operator_token=read_secret(operator_token_file).decode().strip(),
            token_file=data / section.token_file,
            reader_token_file=reader_token_file,
        )
    _answer({"done": done}, as_json, *done)


@app.command("import")
def import_csv(
    kind: Annotated[str, typer.Argument(help="units, zones, positions or nodes.")],
    file: Annotated[Path, typer.Argument(help="CSV in UTF-8.")],
    data: Data = _HERE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check every row, write nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Import units, zones, positions or nodes: all rows, or none when one is wrong.

    Example: fleet import positions positions.csv --dry-run
    """
    from fleet_server.errors import Rejected
    from fleet_server.registry.csv_cells import ImportKind
    from fleet_server.registry.routes import ReportOut

    with said_plainly(), _opened(data) as (settings, database):
        if kind not in list(ImportKind):
            raise Rejected(f"There is no import of {kind!r}: choose from {', '.join(ImportKind)}.")
        report = _registry(settings, database).import_csv(ImportKind(kind), _read_text(file), dry_run=dry_run, actor="fleet import")
    if not as_json:
        for fault in report.errors:
            typer.echo(f"row {fault.row}, {fault.column}: {fault.message}", err=True)
        for warning in report.warnings:
            typer.echo(f"row {warning.row}, {warning.column}: warning: {warning.message}", err=True)
    done = "would be " if dry_run or report.errors else ""
    summary = f"{report.rows} rows: {report.created} {done}created, {report.updated} {done}updated, {len(report.errors)} errors"
    _answer(ReportOut.model_validate(report).model_dump(mode="json"), as_json, summary)
    if report.errors:
        raise typer.Exit(1)


@app.command()
def rebuild(data: Data = _HERE, as_json: Json = False) -> None:
    """Make the uptime ledger again from the journal; the result equals the old one byte for byte.

    Example: fleet rebuild --data /srv/fleet
    """
    from fleet_server.clock import SystemClock
    from fleet_server.ingest.journal import Journal
    from fleet_server.uptime.service import Uptime

    def progress(done: int, of: int) -> None:
        if sys.stderr.isatty():
            typer.echo(f"\r{done}/{of} node-hours", err=True, nl=done == of)

    with said_plainly(), _opened(data) as (settings, database):
        clock = SystemClock()
        uptime = Uptime(database, Journal(database), _registry(settings, database).directory, clock)
        uptime.settle()
        before = uptime.fingerprint()
        hours = uptime.rebuild(progress)
        after = uptime.fingerprint()
    same = "the same as before" if before == after else "different from before: the old ledger was incomplete or damaged"
    _answer(
        {"hours": hours, "before": before, "after": after, "is_same": before == after},
        as_json,
        f"{hours} hours made again, {same} ({after[:16]})",
    )


@app.command()
def status(data: Data = _HERE, as_json: Json = False) -> None:
    """Ask the running server how it is.

    Example: fleet status --data /srv/fleet
    """
    import httpx

    from fleet_server.errors import Transient

    with said_plainly():
        url = _settings(data).console_url
        try:
            answer = httpx.get(f"{url}/readyz", timeout=5.0, verify=False)  # noqa: S501  # our own machine, perhaps our own CA
        except httpx.TransportError as error:
            raise Transient(f"No server answers at {url}: start it with fleet serve --data {data}") from error
        said: dict[str, Any] = answer.json()
    _answer({"url": url, **said}, as_json, *(f"{name}: {state}" for name, state in said["checks"].items()))
    if not said["ready"]:
        raise typer.Exit(1)


@node_app.command("add")
def node_add(
    serial: Annotated[str, typer.Option(help="Serial number on the node's label.")],
    unit: Annotated[str, typer.Option(help="Path of the station, such as /bpp/n1/lumpini/.")],
    data: Data = _HERE,
    approve: Annotated[bool, typer.Option(help="Let it enrol at once, without a technician's claim.")] = False,
    simulated: Annotated[bool, typer.Option(help="Mark it as simulated, for ever.")] = False,
    label: Annotated[str, typer.Option(help="Name for people.")] = "",
    as_json: Json = False,
) -> None:
    """Make a node known and print its claim code, once.

    Example: fleet node add --serial SSZ-0001 --unit /bpp/n1/lumpini/ --approve
    """
    from fleet_server.access.model import Scope

    with said_plainly(), _opened(data) as (settings, database):
        registry = _registry(settings, database)
        node = registry.add_node(serial, unit_path=unit, is_simulated=simulated, label=label or serial, actor="fleet node add")
        claim = _enrolment(settings, data, database, registry).register(node, actor="fleet node add", scope=Scope.ALL, approve=approve)
    _answer(
        {"node": node, "serial": serial, "code": claim.code, "state": claim.state},
        as_json,
        f"Claim code of {serial}: {claim.code}",
        "It is shown this once, and works once: zone-agent enrol --serial … --code …",
    )


@account_app.command("create")
def account_create(
    user: Annotated[str, typer.Argument(help="User name.")],
    role: Annotated[str, typer.Option(help="administrator, technician, ccoc_operator, evaluator, station_chief, …")],
    unit: Annotated[str, typer.Option(help="Path of the unit whose subtree the account sees; / is all.")] = "/",
    data: Data = _HERE,
    as_json: Json = False,
) -> None:
    """Make an account; prints a one-time link that sets its password.

    Example: fleet account create somsri --role ccoc_operator --unit /bpp/n1/
    """
    from fleet_server.access.model import Principal, Role
    from fleet_server.errors import Rejected

    with said_plainly(), _opened(data) as (settings, database):
        if role not in list(Role):
            raise Rejected(f"There is no role {role!r}: choose from {', '.join(Role)}.")
        link = _access(database).create_account(user, Role(role), unit, by=Principal.LOCAL)
    _answer_link(settings, link.user, link.secret, as_json)


@account_app.command("disable")
def account_disable(user: str, data: Data = _HERE) -> None:
    """Close an account at once: its sessions and tokens are dead."""
    from fleet_server.access.model import Principal

    with said_plainly(), _opened(data) as (_settings, database):
        _access(database).disable(user, by=Principal.LOCAL)
    typer.echo(f"{user} is disabled")


@account_app.command("reset")
def account_reset(user: str, data: Data = _HERE, as_json: Json = False) -> None:
    """Take an account's password away; prints a one-time link that sets a new one."""
    from fleet_server.access.model import Principal

    with said_plainly(), _opened(data) as (settings, database):
        link = _access(database).reset(user, by=Principal.LOCAL)
    _answer_link(settings, link.user, link.secret, as_json)


@token_app.command("create")
def token_create(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    role: Annotated[str, typer.Option(help="What it may do.")] = "auditor",
    unit: Annotated[str, typer.Option(help="Path of the unit whose subtree it sees.")] = "/",
    out: Annotated[Path | None, typer.Option(help="Write it to this file (0600) instead of showing it.")] = None,
    data: Data = _HERE,
    as_json: Json = False,
) -> None:
    """Make an API token; it cannot be shown again.

    Example: fleet token create grafana --role auditor --out secrets/token
    """
    from fleet_server.access.model import Principal, Role, Scope
    from fleet_server.errors import Rejected
    from provisioning.files import SECRET, write_file

    with said_plainly(), _opened(data) as (_settings, database):
        if role not in list(Role):
            raise Rejected(f"There is no role {role!r}: choose from {', '.join(Role)}.")
        secret = _access(database).create_token(name, Role(role), Scope(unit), by=Principal.LOCAL)
        if out is not None:
            write_file(out, secret.encode(), SECRET)
    if out is not None:
        _answer({"name": name, "file": str(out)}, as_json, f"written to {out}")
    else:
        _answer({"name": name, "token": secret}, as_json, secret)


def _answer(data: Any, as_json: bool, *sentences: str) -> None:  # the shape of all commands
    if as_json:
        typer.echo(json.dumps(data, ensure_ascii=False, indent=2))
    else:
        for sentence in sentences:
            typer.echo(sentence)


def _answer_link(settings: Settings, user: str, secret: str, as_json: bool) -> None:
    url = f"{settings.console_url}/setup/{secret}"
    _answer({"user": user, "link": url}, as_json, f"Open once, to set the password of {user}: {url}")


def _settings(data: Path) -> Settings:
    return load_settings(data / FILE_NAME)


@contextmanager
def _opened(data: Path) -> Iterator[tuple[Settings, "Database"]]:
    from fleet_server.settings import database_url
    from fleet_server.storage.schema import open_database

    settings = _settings(data)
    database = open_database(database_url(settings, data))
    try:
        yield settings, database
    finally:
        database.close()


def _registry(settings: Settings, database: "Database") -> Any:
    from fleet_server.clock import SystemClock
    from fleet_server.registry.service import Registry

    return Registry(database, SystemClock(), supervision_ms=settings.supervision.by_kind_ms())


def _access(database: "Database") -> Any:
    from fleet_server.access.service import Access
    from fleet_server.clock import SystemClock

    return Access(database, SystemClock())


def _enrolment(settings: Settings, data: Path, database: "Database", registry: Any) -> Any:
    from fleet_server.main import enrolment_service

    return enrolment_service(settings, data, database, registry)


def _read_text(file: Path) -> str:
    from fleet_server.errors import Rejected

    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise Rejected(f"{file} cannot be read as UTF-8: {error}") from error


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
