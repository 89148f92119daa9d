"""`fleet init`, `fleet prepare-influxdb`: what is done once."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleet_server.cli.answers import HERE, Data, Json, answer, read_text, said_plainly, settings_at

if TYPE_CHECKING:
    from fleet_server.installation.making import Installed


def init(
    data: Data = HERE,
    host: Annotated[str, typer.Option(help="Name or address by which nodes and browsers reach this server.")] = "127.0.0.1",
    organisation: Annotated[str, typer.Option(help="Name of the organisation, written into every certificate.")] = "Smart Safety Zone",
    bind: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    http_port: Annotated[int, typer.Option(help="Console and API.", min=1, max=65_535)] = 8080,
    est_port: Annotated[int, typer.Option(help="Enrolment of nodes (EST, TLS).", min=1, max=65_535)] = 8443,
    mqtt_port: Annotated[int, typer.Option(help="MQTT, mutual TLS.", min=1, max=65_535)] = 8883,
    administrator: Annotated[str, typer.Option(help="User name of the first administrator.")] = "admin",
    console: Annotated[
        str,
        typer.Option(
            help="Console's certificate: none (plain http, for this machine or behind a proxy), own (the fleet's own CA: phones and"
            " browsers will complain), upload (two files), acme (a public CA issues and renews it; you accept its terms)."
        ),
    ] = "none",
    console_certificate: Annotated[Path | None, typer.Option(help="With --console upload: PEM chain, the server's own first.")] = None,
    console_key: Annotated[Path | None, typer.Option(help="With --console upload: PEM key.")] = None,
    email: Annotated[str, typer.Option(help="With --console acme: where the CA writes to.")] = "",
    acme_directory: Annotated[
        str | None, typer.Option(help="With --console acme: another CA than Let's Encrypt, by its directory.")
    ] = None,
    acme_port: Annotated[int, typer.Option(help="With --console acme: where its question comes in (HTTP-01).", min=1, max=65_535)] = 80,
    acme_ca_file: Annotated[Path | None, typer.Option(help="With --console acme: whom to trust for the directory itself.")] = None,
    offline_root: Annotated[
        bool, typer.Option("--offline-root", help="Make requests only; the root signs them on a machine that stays offline.")
    ] = False,
    signed: Annotated[
        Path | None, typer.Option(help="Finish after --offline-root: the folder that came back. All else is remembered.")
    ] = None,
    also_host: Annotated[list[str] | None, typer.Option(help="One more name for the server's certificate; may be repeated.")] = None,
    settings_file: Annotated[Path | None, typer.Option("--extra-settings", help="TOML to append to the settings.")] = None,
    own_settings: Annotated[Path | None, typer.Option("--settings", help="Use this settings file instead of making one.")] = None,
    if_missing: Annotated[bool, typer.Option("--if-missing", help="Complete what is there instead of refusing.")] = False,
    demo: Annotated[
        bool, typer.Option("--demo", help="A demo: scores simulated nodes, first page open to all. Never in a real fleet.")
    ] = False,
    as_json: Json = False,
) -> None:
    r"""Make a new installation: CAs, secrets, database, settings, first administrator.

    What was interrupted goes on with the same command again.

    \b
    Examples:
      fleet init --data /srv/fleet --host fleet.example.go.th --bind 0.0.0.0 --console own
      fleet init --data /srv/fleet --host fleet.example.go.th --bind 0.0.0.0 --console acme --email it@example.go.th
      fleet init --data /srv/fleet --host fleet.example.go.th --bind 0.0.0.0 --offline-root
      fleet init --data /srv/fleet --signed /media/usb/requests
    """
    from fleet_server.errors import Rejected
    from fleet_server.installation import making
    from fleet_server.installation.plan import AcmePlan, ConsoleCertificate, Plan

    with said_plainly():
        if signed is not None:
            _say(making.finish(data, signed), as_json)
            return
        if console not in list(ConsoleCertificate):
            raise Rejected(f"--console is one of {', '.join(ConsoleCertificate)}, not {console!r}.")
        acme = AcmePlan(email=email, challenge_port=acme_port, ca_file=acme_ca_file)
        plan = Plan(
            data=data,
            organisation=organisation,
            host=host,
            http_port=http_port,
            est_port=est_port,
            mqtt_port=mqtt_port,
            bind=bind,
            is_demo=demo,
            local_root=not offline_root,
            console=ConsoleCertificate(console),
            console_chain=console_certificate,
            console_key=console_key,
            acme=acme if acme_directory is None else replace(acme, directory_url=acme_directory),
            extra_settings=read_text(settings_file) if settings_file else "",
            settings=read_text(own_settings) if own_settings else "",
            also_hosts=tuple(also_host or ()),
            administrator=administrator,
            if_missing=if_missing,
        )
        _say(making.make(plan), as_json)


def _say(made: "Installed", as_json: bool) -> None:
    answer(made.as_json(), as_json, *made.sentences())


def prepare_influxdb(
    operator_token_file: Annotated[Path, typer.Option(help="File with the token that may do everything; used here only.")],
    reader_token_file: Annotated[Path | None, typer.Option(help="Where Grafana's token, which may only read, is to be written.")] = None,
    data: Data = HERE,
    as_json: Json = False,
) -> None:
    """Make InfluxDB ready: buckets with their retention, and tokens. Safe to run again.

    Example: fleet prepare-influxdb --operator-token-file operator --reader-token-file /etc/grafana/influxdb-token
    """
    from fleet_server.main import read_secret
    from fleet_server.telemetry import influx_setup

    with said_plainly():
        section = settings_at(data).telemetry
        done = influx_setup.prepare_influxdb(
            section.url,
            org=section.org,
            operator_token=read_secret(operator_token_file).decode().strip(),
            token_file=data / section.token_file,
            reader_token_file=reader_token_file,
        )
    answer({"done": done}, as_json, *done)
