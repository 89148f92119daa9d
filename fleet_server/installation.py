"""A new installation: data folder, CAs, secrets, database, settings, first administrator. `fleet init` in code."""

import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from fleet_server.access.model import Principal, Role, Scope
from fleet_server.access.service import Access, Link
from fleet_server.clock import SystemClock
from fleet_server.errors import Conflict, Rejected
from fleet_server.settings import FILE_NAME, BrokerMode, Settings, database_url, load_settings
from fleet_server.storage import Database
from fleet_server.storage.schema import open_database
from provisioning import ca
from provisioning.broker.export import MosquittoExport
from provisioning.broker.promise import BrokerFiles, Endpoint
from provisioning.crl import refresh_crls
from provisioning.files import SECRET, write_file

PKI: Final = "pki"
SERVER_CHAIN: Final = f"{PKI}/server/chain.pem"
SERVER_KEY: Final = f"{PKI}/server/key.pem"
CORE_CERTIFICATE: Final = f"{PKI}/service/svc-core.pem"
CORE_KEY: Final = f"{PKI}/service/svc-core.key.pem"
CLAIM_KEY: Final = "secrets/claim-key"
CONSOLE_CHAIN: Final = f"{PKI}/console/chain.pem"
CONSOLE_KEY: Final = f"{PKI}/console/key.pem"


class ConsoleCertificate(StrEnum):
    """Where the console's certificate comes from."""

    NONE = "none"
    """Plain http: for this machine alone, or behind a proxy that speaks https."""
    UPLOAD = "upload"
    """Two files that somebody else made."""
    OWN = "own"
    """The fleet's own CA: phones and browsers will complain until they trust its root."""
    ACME = "acme"
    """A public CA, by ACME (RFC 8555)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What `fleet init` was asked for."""

    data: Path
    organisation: str
    host: str
    http_port: int
    est_port: int
    mqtt_port: int
    bind: str = "127.0.0.1"
    is_demo: bool = False
    local_root: bool = True
    console: ConsoleCertificate = ConsoleCertificate.NONE
    console_chain: Path | None = None
    console_key: Path | None = None
    extra_settings: str = ""
    """TOML to add, such as `[supervision]` of a demo."""
    settings: str = ""
    """TOML to use instead of what would be made."""
    also_hosts: Sequence[str] = ()
    """More names and addresses for the server's certificate, such as its broker's."""
    if_missing: bool = False
    """Complete an installation that is there already, and change nothing of it but settings that are given here."""


def check_place(data: Path) -> None:
    """See that a new installation can be made at `data`.

    Raises:
        Conflict: there is one already.
        Rejected: the folder cannot be written.
    """
    if (data / FILE_NAME).exists():
        raise Conflict(f"{data} holds an installation already. Start it with: fleet serve --data {data}")
    try:
        data.mkdir(parents=True, exist_ok=True)
        probe = data / ".write-test"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise Rejected(f"The folder {data} cannot be written: {error.strerror}. Name another one with --data.") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What was made, for the person or program that asked for it."""

    plan: Plan
    console_url: str
    is_signed: bool
    """Whether the root has signed the issuing CAs; if not, it must do so on its offline machine."""
    link: Link | None
    """The first administrator's one-time link; None where the database had one already."""

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        link = None if self.link is None else {"user": self.link.user, "url": self._link_url(), "secret": self.link.secret}
        return {"data": str(self.plan.data), "console_url": self.console_url, "is_signed": self.is_signed, "administrator": link}

    def sentences(self) -> list[str]:
        """Return it for people: what is there, and what to do next."""
        said = [f"The installation is in {self.plan.data}."]
        if not self.is_signed:
            said.append(
                f"Take {self.plan.data / PKI / 'requests'} to the offline root: fleet-ca sign-issuing;"
                " then here: fleet-ca import-issuing, and fleet init --if-missing."
            )
        if self.plan.console is ConsoleCertificate.OWN:
            said.append(
                "The console uses a certificate of the fleet's own CA: phones and browsers will complain until they trust its root."
            )
        if self.link is not None:
            said.append(f"Start it: fleet serve --data {self.plan.data}")
            said.append(f"Then open once, to set the password of {self.link.user}: {self._link_url()}")
        return said

    def _link_url(self) -> str:
        return f"{self.console_url}/setup/{self.link.secret}" if self.link else ""


def make(plan: Plan, *, administrator: str = "admin") -> Installed:
    """Make CAs, secrets, settings, database and first administrator.

    The settings are written last but for the database, so that what was interrupted before can be made again.

    Raises:
        Conflict, Rejected: see `check_place`.
        provisioning.errors.ProvisioningError: the CAs cannot be made.
    """
    if not (plan.if_missing and (plan.data / FILE_NAME).exists()):
        check_place(plan.data)
    pki = _pki(plan)
    if pki.is_signed and not (plan.if_missing and (plan.data / SERVER_CHAIN).exists()):
        issue_credentials(plan.data, pki, hosts=[plan.host, *plan.also_hosts])
        if plan.console is ConsoleCertificate.OWN:
            _save(plan.data, CONSOLE_CHAIN, CONSOLE_KEY, ca.issue_server_certificate(pki, [plan.host]))
    if plan.console is ConsoleCertificate.UPLOAD:
        _upload(plan)
    if not (plan.data / CLAIM_KEY).exists():
        write_file(plan.data / CLAIM_KEY, secrets.token_bytes(32), SECRET)
    if plan.settings or not (plan.data / FILE_NAME).exists():
        write_file(plan.data / FILE_NAME, (plan.settings or settings_text(plan)).encode())
    settings = load_settings(plan.data / FILE_NAME)
    if pki.is_signed and settings.broker.export_dir:
        refresh_crls(plan.data / settings.pki.dir, datetime.now(UTC))
        export_broker(settings, plan.data)
    link = _first_administrator(open_database(database_url(settings, plan.data)), administrator)
    return Installed(plan=plan, console_url=settings.console_url, is_signed=pki.is_signed, link=link)


def issue_credentials(data: Path, pki: ca.Pki, *, hosts: Sequence[str]) -> None:
    """Make the server's own certificates: one for its listeners and the broker, one for its MQTT client."""
    _save(data, SERVER_CHAIN, SERVER_KEY, ca.issue_server_certificate(pki, hosts))
    _save(data, CORE_CERTIFICATE, CORE_KEY, ca.issue_service_certificate(pki, "svc-core"))


def broker_files(settings: Settings, base: Path) -> BrokerFiles:
    """Return where the broker's files are; its certificate is the server's."""
    return BrokerFiles(certificate=base / settings.est.certificate_file, key=base / settings.est.key_file, pki=base / settings.pki.dir)


def export_broker(settings: Settings, base: Path) -> None:
    """Write what an external Mosquitto needs, where the settings ask for it.

    Raises:
        provisioning.errors.ProvisioningError: a file is missing, or the folder cannot be written.
    """
    section = settings.broker
    if section.mode is not BrokerMode.EXTERNAL or not section.export_dir:
        return
    everywhere = "0.0.0.0"  # noqa: S104  # mutual TLS guards it
    core = Endpoint(section.host if _is_address(section.host) else everywhere, section.port)
    export = MosquittoExport(folder=base / section.export_dir, devices=Endpoint(everywhere, section.devices_port), core=core)
    export.write(broker_files(settings, base))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def settings_text(plan: Plan) -> str:
    """Return the settings file of a new installation."""
    tls = f'certificate_file = "{CONSOLE_CHAIN}"\nkey_file = "{CONSOLE_KEY}"\n' if plan.console is not ConsoleCertificate.NONE else ""
    scheme = "https" if tls else "http"
    return f"""# Settings of this fleet server. All fields with their defaults: fleet_server/fleet.example.toml

[fleet]
name = {_quoted(plan.organisation)}
is_demo = {"true" if plan.is_demo else "false"}

[http]
host = {_quoted(plan.bind)}
port = {plan.http_port}
public_url = {_quoted(f"{scheme}://{plan.host}:{plan.http_port}")}
{tls}
[est]
host = {_quoted(plan.bind)}
port = {plan.est_port}

[broker]
host = {_quoted(plan.bind)}
port = {plan.mqtt_port}

{plan.extra_settings}"""


def _first_administrator(database: Database, user: str) -> Link | None:
    """Make the first administrator; there is no default password."""
    try:
        access = Access(database, SystemClock())
        if access.accounts(Scope.ALL, limit=1):
            return None
        return access.create_account(user, Role.ADMINISTRATOR, "/", by=Principal.LOCAL)
    finally:
        database.close()


def _pki(plan: Plan) -> ca.Pki:
    folder = plan.data / PKI
    if (folder / "root.pem").exists() or (folder / "requests").exists():
        return ca.load_pki(folder)
    return ca.create_pki(folder, plan.organisation, local_root=plan.local_root)


def _upload(plan: Plan) -> None:
    if plan.console_chain is None or plan.console_key is None:
        raise Rejected("An uploaded console certificate needs both --console-certificate and --console-key.")
    for source, target, mode in ((plan.console_chain, CONSOLE_CHAIN, 0o644), (plan.console_key, CONSOLE_KEY, SECRET)):
        try:
            write_file(plan.data / target, source.read_bytes(), mode)
        except OSError as error:
            raise Rejected(f"{source} cannot be read: {error.strerror}.") from error


def _save(data: Path, chain: str, key: str, credential: ca.Credential) -> None:
    write_file(data / chain, credential.chain_pem)
    write_file(data / key, credential.key_pem, SECRET)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
