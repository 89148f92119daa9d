"""Makes a new installation: CAs, secrets, certificates, database, first administrator, settings. `fleet init` in code."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fleet_server.access.model import Principal, Role, Scope, user_fault
from fleet_server.access.service import Access, Link
from fleet_server.certificates.pair import Pair
from fleet_server.certificates.renewal import order_of
from fleet_server.certificates.renewal import save as save_pair
from fleet_server.clock import SystemClock
from fleet_server.errors import Conflict, Rejected
from fleet_server.installation.broker import export_broker
from fleet_server.installation.plan import (
    CLAIM_KEY,
    CONSOLE_ACME,
    CONSOLE_CHAIN,
    CONSOLE_KEY,
    CORE_CERTIFICATE,
    CORE_KEY,
    PKI,
    SERVER_CHAIN,
    SERVER_KEY,
    ConsoleCertificate,
    Plan,
    forget,
    recall,
    remember,
    settings_of,
    settings_text,
)
from fleet_server.settings import FILE_NAME, HOW_TO_HTTPS, database_url
from fleet_server.storage import Database
from fleet_server.storage.schema import open_database
from provisioning import ca
from provisioning.crl import refresh_crls
from provisioning.files import SECRET, write_file
from provisioning.pki import read_file
from provisioning.profile import ca_names, server_names


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
        requests = None if self.is_signed else str(self.plan.data / PKI / "requests")
        return {
            "data": str(self.plan.data),
            "console_url": self.console_url,
            "is_signed": self.is_signed,
            "requests": requests,
            "administrator": link,
        }

    def sentences(self) -> list[str]:
        """Return it for people: what is there, and what to do next."""
        data = self.plan.data
        if not self.is_signed:
            return [
                f"The installation in {data} is begun. Its root signs it now, on the machine that stays offline:",
                f"  1. Carry {data / PKI / 'requests'} there. There is no secret in it.",
                "  2. Run there: fleet-ca sign-issuing --dir ROOT requests",
                f'     (the first time, before it: fleet-ca init-root --dir ROOT --organisation "{self.plan.organisation}")',
                f"  3. Carry the folder back and finish here: fleet init --data {data} --signed FOLDER",
            ]
        said = [f"The installation is in {data}."]
        match self.plan.console:
            case ConsoleCertificate.NONE if settings_of(self.plan).is_overheard:
                said.append(f"The console speaks plain http: passwords can be read on their way. {HOW_TO_HTTPS}")
            case ConsoleCertificate.OWN:
                said.append(
                    "The console's certificate is of the fleet's own CA: phones and browsers will complain until they trust its root."
                )
            case ConsoleCertificate.ACME:
                said.append(
                    f"The console's certificate is of {self.plan.acme.directory_url}, whose terms you accept; it is renewed by itself."
                )
        if self.link is not None:
            said.append(f"Start it: fleet serve --data {data}")
            said.append(f"Then open once, to set the password of {self.link.user}: {self._link_url()}")
        return said

    def _link_url(self) -> str:
        return f"{self.console_url}/setup/{self.link.secret}" if self.link else ""


def check_place(data: Path) -> None:
    """See that a new installation can be made at `data`.

    Raises:
        Conflict: there is one already.
        Rejected: the folder cannot be written.
    """
    if (data / FILE_NAME).exists():
        raise Conflict(
            f"{data} holds an installation already. Start it with: fleet serve --data {data}"
            f" (lost the administrator's link? fleet account reset USER --data {data})"
        )
    try:
        data.mkdir(parents=True, exist_ok=True)
        probe = data / ".write-test"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise Rejected(f"The folder {data} cannot be written: {error.strerror}. Name another one with --data.") from error


def make(plan: Plan) -> Installed:
    """Make CAs, secrets, certificates, database, first administrator and settings.

    The settings come last: as long as they are not there, the same command again goes on where it was interrupted.

    Raises:
        Conflict, Rejected: see `check_place`; or what was asked for cannot be.
        provisioning.errors.ProvisioningError: the CAs cannot be made.
    """
    is_there = plan.if_missing and (plan.data / FILE_NAME).exists()
    if not is_there:
        _check_wishes(plan)
        check_place(plan.data)
    pki = _pki(plan)
    if not pki.is_signed:
        remember(plan)
        return Installed(plan=plan, console_url=settings_of(plan).console_url, is_signed=False, link=None)
    return _complete(plan, pki)


def finish(data: Path, signed: Path) -> Installed:
    """Go on with an installation that waited for its offline root; `signed` is the folder that came back.

    Raises:
        Conflict: it is finished already.
        Rejected: none was begun at `data`.
        provisioning.errors.ProvisioningError: what came back is not whole, or not what it should be.
    """
    if (data / FILE_NAME).exists():
        raise Conflict(f"The installation in {data} is finished already. Start it with: fleet serve --data {data}")
    plan = recall(data)
    if not signed.is_dir():
        raise Rejected(f"There is no folder {signed}. Name the one that came back from the offline root.")
    return _complete(plan, ca.import_issuing(data / PKI, signed))


def _complete(plan: Plan, pki: ca.Pki) -> Installed:
    """Make all that needs the issuing CAs, and what is left."""
    data = plan.data
    if not all((data / path).exists() for path in (SERVER_CHAIN, SERVER_KEY, CORE_CERTIFICATE, CORE_KEY)):
        issue_credentials(data, pki, hosts=[plan.host, *plan.also_hosts])
    _console_certificate(plan, pki)
    if not (data / CLAIM_KEY).exists():
        write_file(data / CLAIM_KEY, secrets.token_bytes(32), SECRET)
    settings = settings_of(plan)
    if settings.broker.export_dir:
        refresh_crls(data / settings.pki.dir, datetime.now(UTC))
        export_broker(settings, data)
    link = _first_administrator(open_database(database_url(settings, data)), plan)
    if plan.settings or not (data / FILE_NAME).exists():
        write_file(data / FILE_NAME, (plan.settings or settings_text(plan)).encode())
    forget(data)
    return Installed(plan=plan, console_url=settings.console_url, is_signed=True, link=link)


def _check_wishes(plan: Plan) -> None:
    """See that what was asked for can be, before anything is made."""
    server_names([plan.host, *plan.also_hosts])
    ca_names(plan.organisation, "Fleet")
    user = user_fault(plan.administrator)
    if user:
        raise Rejected(user)
    if len({plan.http_port, plan.est_port, plan.mqtt_port}) < 3:
        raise Rejected("Console, enrolment and MQTT need a port each: two of the given ones are the same.")
    if plan.console is ConsoleCertificate.UPLOAD:
        _uploaded(plan)
    if plan.console is ConsoleCertificate.ACME and plan.bind == "127.0.0.1" and not plan.acme.directory_url.startswith("https://127.0.0.1"):
        raise Rejected("A certificate for all browsers is of no use on 127.0.0.1: add --bind 0.0.0.0.")
    settings_of(plan)


def _console_certificate(plan: Plan, pki: ca.Pki) -> None:
    if plan.if_missing and (plan.data / FILE_NAME).exists() and plan.console is not ConsoleCertificate.UPLOAD:
        return
    match plan.console:
        case ConsoleCertificate.NONE:
            pass
        case ConsoleCertificate.OWN:
            _save(plan.data, CONSOLE_CHAIN, CONSOLE_KEY, ca.issue_server_certificate(pki, [plan.host]))
        case ConsoleCertificate.UPLOAD:
            pair = _uploaded(plan)
            _save(plan.data, CONSOLE_CHAIN, CONSOLE_KEY, ca.Credential(pair.chain_pem, pair.key_pem))
        case ConsoleCertificate.ACME:
            order = order_of(settings_of(plan), plan.data)
            if order is None:
                raise Rejected("The given settings have no [acme] directory_url.")
            save_pair(order.place(), plan.data / CONSOLE_ACME)


def _uploaded(plan: Plan) -> Pair:
    """Return the files that somebody brought, once they are fit."""
    if plan.console_chain is None or plan.console_key is None:
        raise Rejected("An uploaded console certificate needs both --console-certificate and --console-key.")
    pair = Pair(read_file(plan.console_chain), read_file(plan.console_key))
    try:
        pair.check(plan.host, datetime.now(UTC))
    except Rejected as error:
        raise Rejected(f"{plan.console_chain}: {error}") from error
    return pair


def issue_credentials(data: Path, pki: ca.Pki, *, hosts: Sequence[str]) -> None:
    """Make the server's own certificates: one for its listeners and the broker, one for its MQTT client.

    Raises:
        provisioning.errors.ProvisioningError: a CA or its key is not here, or a host is not one.
    """
    _save(data, SERVER_CHAIN, SERVER_KEY, ca.issue_server_certificate(pki, hosts))
    _save(data, CORE_CERTIFICATE, CORE_KEY, ca.issue_service_certificate(pki, "svc-core"))


def _first_administrator(database: Database, plan: Plan) -> Link | None:
    """Make the first administrator; there is no default password. An interrupted run's account, whose link nobody saw, gets a new one."""
    try:
        access = Access(database, SystemClock())
        accounts = access.accounts(Scope.ALL, limit=2)
        if not accounts:
            return access.create_account(plan.administrator, Role.ADMINISTRATOR, "/", by=Principal.LOCAL)
        is_interrupted = not (plan.data / FILE_NAME).exists() and len(accounts) == 1 and not accounts[0].has_password
        return access.reset(accounts[0].user, by=Principal.LOCAL) if is_interrupted else None
    finally:
        database.close()


def _pki(plan: Plan) -> ca.Pki:
    folder = plan.data / PKI
    if not (folder / "root.pem").exists() and not (folder / "requests").exists():
        return ca.create_pki(folder, plan.organisation, local_root=plan.local_root)
    pki = ca.load_pki(folder)
    if pki.is_signed and not plan.if_missing and plan.local_root and pki.organisation != plan.organisation:
        raise Conflict(f"The CAs in {folder} are of {pki.organisation!r}: give that --organisation, or remove the folder to start over.")
    return pki


def _save(data: Path, chain: str, key: str, credential: ca.Credential) -> None:
    write_file(data / key, credential.key_pem, SECRET)
    write_file(data / chain, credential.chain_pem)
