"""What `fleet init` is asked for, the settings that follow from it, and how it is remembered while an offline root signs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec

from fleet_server.certificates.acme import LETS_ENCRYPT
from fleet_server.errors import Rejected
from fleet_server.settings import FILE_NAME, Settings, load_settings, read_settings
from provisioning.files import write_file

PKI: Final = "pki"
SERVER_CHAIN: Final = f"{PKI}/server/chain.pem"
SERVER_KEY: Final = f"{PKI}/server/key.pem"
CORE_CERTIFICATE: Final = f"{PKI}/service/svc-core.pem"
CORE_KEY: Final = f"{PKI}/service/svc-core.key.pem"
CLAIM_KEY: Final = "secrets/claim-key"
CONSOLE_CHAIN: Final = f"{PKI}/console/chain.pem"
CONSOLE_KEY: Final = f"{PKI}/console/key.pem"
CONSOLE_ACME: Final = f"{PKI}/console/acme.pem"
"""Key and chain in one file."""


BEGUN: Final = "begun.json"
"""What was asked for, while the installation waits for its offline root."""


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
class AcmePlan:
    """With `ConsoleCertificate.ACME`: of whom, and how."""

    directory_url: str = LETS_ENCRYPT
    email: str = ""
    challenge_port: int = 80
    ca_file: Path | None = None


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
    acme: AcmePlan = AcmePlan()
    extra_settings: str = ""
    """TOML to add, such as `[supervision]` of a demo."""
    settings: str = ""
    """TOML to use instead of what would be made."""
    also_hosts: Sequence[str] = ()
    """More names and addresses for the server's certificate, such as its broker's."""
    administrator: str = "admin"
    if_missing: bool = False
    """Complete an installation that is there already, and change nothing of it but settings that are given here."""


def settings_of(plan: Plan) -> Settings:
    """Return the settings that hold, or will.

    Raises:
        BadSettings: those that were given cannot be used.
    """
    file = plan.data / FILE_NAME
    if not plan.settings and file.exists():
        return load_settings(file)
    return read_settings((plan.settings or settings_text(plan)).encode(), file)


def settings_text(plan: Plan) -> str:
    """Return the settings file of a new installation."""
    scheme = "http" if plan.console is ConsoleCertificate.NONE else "https"
    return f"""# Settings of this fleet server. All fields with their defaults: fleet_server/fleet.example.toml

[fleet]
name = {_quoted(plan.organisation)}
is_demo = {"true" if plan.is_demo else "false"}

[http]
host = {_quoted(plan.bind)}
port = {plan.http_port}
public_url = {_quoted(f"{scheme}://{_in_url(plan.host)}{_port(scheme, plan.http_port)}")}
{_certificate_settings(plan)}
[est]
host = {_quoted(plan.bind)}
port = {plan.est_port}

[broker]
host = {_quoted(plan.bind)}
port = {plan.mqtt_port}

{plan.extra_settings}"""


def _certificate_settings(plan: Plan) -> str:
    match plan.console:
        case ConsoleCertificate.NONE:
            return ""
        case ConsoleCertificate.OWN | ConsoleCertificate.UPLOAD:
            return f"certificate_file = {_quoted(CONSOLE_CHAIN)}\nkey_file = {_quoted(CONSOLE_KEY)}\n"
        case ConsoleCertificate.ACME:
            ca_file = f"ca_file = {_quoted(str(plan.acme.ca_file.absolute()))}\n" if plan.acme.ca_file else ""
            return f"""certificate_file = {_quoted(CONSOLE_ACME)}
key_file = {_quoted(CONSOLE_ACME)}

[acme]
directory_url = {_quoted(plan.acme.directory_url)}
hosts = [{_quoted(plan.host)}]
email = {_quoted(plan.acme.email)}
challenge_port = {plan.acme.challenge_port}
{ca_file}"""


def remember(plan: Plan) -> None:
    """Keep `plan` in its data folder until it is finished."""
    write_file(plan.data / BEGUN, msgspec.json.format(msgspec.json.encode(plan, enc_hook=str)))


def recall(data: Path) -> Plan:
    """Return the plan that was begun at `data`.

    Raises:
        Rejected: there is none.
    """
    try:
        plan: Plan = msgspec.json.decode((data / BEGUN).read_bytes(), type=Plan, dec_hook=_path)
    except FileNotFoundError as error:
        raise Rejected(f"No installation was begun in {data}. Begin one with: fleet init --data {data} --offline-root") from error
    except (OSError, msgspec.DecodeError) as error:
        raise Rejected(f"{data / BEGUN} cannot be read: {error}.") from error
    return replace(plan, data=data)


def forget(data: Path) -> None:
    """Drop what was remembered: the installation is finished."""
    (data / BEGUN).unlink(missing_ok=True)


def _path(kind: type[Any], value: Any) -> Any:
    assert kind is Path
    return Path(value)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _port(scheme: str, port: int) -> str:
    return "" if (scheme, port) in {("http", 80), ("https", 443)} else f":{port}"


def _quoted(text: str) -> str:
    """Return a TOML basic string; its escapes are those of JSON."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
