"""`fleet-ca`: the fleet's CAs by hand. Needs no server and no network, so that it also runs where the root is kept."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer

from provisioning import ca, crl
from provisioning.errors import ProvisioningError, Rejected
from provisioning.files import SECRET, write_file
from provisioning.overview import overview
from provisioning.pki import Pki, crl_path, load_pki, read_file
from provisioning.profile import ProfileName

_EXIT_STATUSES: Final = "Exit status: 0 done, 1 not done (one sentence on standard error says why), 2 wrong usage."

app: Final = typer.Typer(
    name="fleet-ca",
    help=f"""Make and keep the certificate authorities of a fleet.

    \b
    All on one machine:
      fleet-ca init-root --dir pki --organisation "Lumpini Police Station"
      fleet-ca init-issuing --dir pki
    With a root that never sees a network:
      offline $ fleet-ca init-root --dir root --organisation "Royal Thai Police"
      server  $ fleet-ca init-issuing --dir pki          # makes pki/requests: carry it to the offline machine
      offline $ fleet-ca sign-issuing --dir root requests  # and carry it back
      server  $ fleet-ca import-issuing --dir pki requests

    {_EXIT_STATUSES}""",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Folder = Annotated[Path, typer.Option("--dir", help="The folder of the CAs.", show_default=True)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
PassphraseFile = Annotated[Path | None, typer.Option(help="File with the passphrase of the root's key; asked for when it is not given.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for the two files.")]

_PKI: Final = Path("pki")
_LEAST_PASSPHRASE: Final = 12
"""Who has a copy of the file can try quickly: PKCS #8 as OpenSSL writes it makes each try cost 2,048 hashes only."""


@app.command("init-root", epilog='Example: fleet-ca init-root --dir root --organisation "Royal Thai Police"')
def init_root(
    organisation: Annotated[str, typer.Option(help="Stands in all names, 1 to 64 characters.")],
    folder: Folder = _PKI,
    passphrase_file: PassphraseFile = None,
    no_passphrase: Annotated[
        bool, typer.Option("--no-passphrase", help="Leave the key unencrypted: only where nobody else can read it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a root, alone in its folder."""
    with _spoken():
        passphrase = None if no_passphrase else _passphrase(passphrase_file, is_new=True)
        pki = ca.init_root(folder, organisation, passphrase=passphrase)
        ends = f"by this machine's clock it is good until {pki.root.not_valid_after_utc:%Y-%m-%d}"
        _say(as_json, f"Made the root of {pki.organisation} in {folder}; {ends}. Keep a copy of the folder in a safe.", _described(pki))


@app.command("init-issuing", epilog="Example: fleet-ca init-issuing --dir pki")
def init_issuing(folder: Folder = _PKI, passphrase_file: PassphraseFile = None, as_json: Json = False) -> None:
    """Make the issuing CAs: signed at once where the root's key is here, else as requests for an offline root."""
    with _spoken():
        if (folder / "root.key.pem").exists():
            pki = ca.init_issuing(folder, passphrase=_passphrase_if_encrypted(folder, passphrase_file))
            _say(as_json, f"Made the issuing CAs in {folder}.", _described(pki))
            return
        written = ca.request_issuing(folder)
        sentence = f"Made requests in {folder / 'requests'}. Carry that folder to the root and run there: fleet-ca sign-issuing"
        _say(as_json, sentence, {"requests": [str(p) for p in written]})


@app.command("sign-issuing", epilog="Example: fleet-ca sign-issuing --dir root /media/usb/requests")
def sign_issuing(
    requests: Annotated[Path, typer.Argument(help="The requests folder that was carried here.")],
    folder: Folder = _PKI,
    passphrase_file: PassphraseFile = None,
    as_json: Json = False,
) -> None:
    """Sign the requests of a server's issuing CAs with the root of this machine."""
    with _spoken():
        written = ca.sign_issuing(folder, requests, passphrase=_passphrase_if_encrypted(folder, passphrase_file))
        sentence = f"Signed. Carry {requests} back to the server and run there: fleet-ca import-issuing"
        _say(as_json, sentence, {"written": [str(p) for p in written]})


@app.command("import-issuing", epilog="Example: fleet-ca import-issuing --dir pki /media/usb/requests")
def import_issuing(
    signed: Annotated[Path, typer.Argument(help="The requests folder that came back.")], folder: Folder = _PKI, as_json: Json = False
) -> None:
    """Take what the offline root signed, after checking all of it."""
    with _spoken():
        pki = ca.import_issuing(folder, signed)
        _say(as_json, f"The issuing CAs in {folder} are signed by the root of {pki.organisation}.", _described(pki))


@app.command("sign-crl", epilog="Example: fleet-ca sign-crl --dir pki")
def sign_crl(folder: Folder = _PKI, passphrase_file: PassphraseFile = None, as_json: Json = False) -> None:
    """Sign the lists of revoked certificates anew: all that this folder has keys for.

    The server does this by itself every 15 minutes; by hand when it cannot, and once a year for an offline root.
    """
    with _spoken():
        now = datetime.now(UTC)
        if load_pki(folder).is_signed:
            ends_at = crl.refresh_crls(folder, now)
            published = folder / "trust" / "all.crl.pem"
        else:
            pki = load_pki(folder, passphrase=_passphrase_if_encrypted(folder, passphrase_file))
            ends_at = crl.ends_at(crl.sign_root_crl(pki, now))
            published = crl_path(folder, ProfileName.ROOT)
        facts = {"file": str(published), "good_until": ends_at.isoformat()}
        _say(as_json, f"Signed: {published} is good until {ends_at:%Y-%m-%d %H:%M} UTC.", facts)


@app.command("show", epilog="Example: fleet-ca show --dir pki --json")
def show(folder: Folder = _PKI, as_json: Json = False) -> None:
    """Show the CAs, their lists, and what will need attention."""
    with _spoken():
        found = overview(load_pki(folder), datetime.now(UTC))
        _say(as_json, found.text(), found.facts())


@app.command("issue-server", epilog="Example: fleet-ca issue-server fleet.example.go.th 10.1.2.3 --dir pki --out pki/server")
def issue_server(
    hosts: Annotated[list[str], typer.Argument(metavar="HOST...", help="DNS names and IP addresses; 127.0.0.1 is always among them.")],
    folder: Folder = _PKI,
    out: Out = Path("server"),
    as_json: Json = False,
) -> None:
    """Make key and certificate of a server: chain.pem and key.pem."""
    _issue(lambda pki: ca.issue_server_certificate(pki, hosts), folder, out / "chain.pem", out / "key.pem", as_json)


@app.command("issue-service", epilog="Example: fleet-ca issue-service svc-core --dir pki --out pki/service")
def issue_service(
    name: Annotated[str, typer.Argument(help="svc- and what it is, such as svc-core.")],
    folder: Folder = _PKI,
    out: Out = Path("service"),
    as_json: Json = False,
) -> None:
    """Make key and certificate of one of the server's own programs: NAME.pem and NAME.key.pem."""
    _issue(lambda pki: ca.issue_service_certificate(pki, name), folder, out / f"{name}.pem", out / f"{name}.key.pem", as_json)


def _issue(make: Callable[[Pki], ca.Credential], folder: Path, chain: Path, key: Path, as_json: bool) -> None:
    with _spoken():
        credential = make(load_pki(folder))
        write_file(key, credential.key_pem, SECRET)
        write_file(chain, credential.chain_pem)
        _say(as_json, f"Made {chain} and {key}.", {"certificate_file": str(chain), "key_file": str(key)})


def _described(pki: Pki) -> dict[str, Any]:
    return overview(pki, datetime.now(UTC)).facts()


def _passphrase_if_encrypted(folder: Path, file: Path | None) -> bytes | None:
    """Return the passphrase where the root's key in `folder` needs one."""
    key = folder / "root.key.pem"
    return _passphrase(file, is_new=False) if key.exists() and b"ENCRYPTED" in read_file(key) else None


def _passphrase(file: Path | None, *, is_new: bool) -> bytes:
    text = read_file(file).strip() if file is not None else _ask(is_new=is_new).encode()
    if not text:
        raise Rejected(
            "The passphrase is empty. Say --no-passphrase where the key is to lie open." if is_new else "The passphrase is empty."
        )
    if is_new and len(text) < _LEAST_PASSPHRASE:
        raise Rejected(f"The passphrase of a root has at least {_LEAST_PASSPHRASE} characters; a sentence is good.")
    return text


def _ask(*, is_new: bool) -> str:
    if not sys.stdin.isatty():
        raise Rejected("There is nobody to ask for the passphrase: name a file with --passphrase-file.")
    answer: str = typer.prompt("Passphrase of the root's key", hide_input=True, confirmation_prompt=is_new, err=True)
    return answer


def _say(as_json: bool, sentence: str, facts: dict[str, Any]) -> None:
    typer.echo(json.dumps(facts, ensure_ascii=False) if as_json else sentence)


@contextmanager
def _spoken() -> Iterator[None]:
    """Turn an error of ours into one sentence and exit status 1."""
    try:
        yield
    except ProvisioningError as error:
        _fail(str(error))


def _fail(sentence: str) -> NoReturn:
    typer.echo(f"fleet-ca: {sentence}", err=True)
    raise typer.Exit(1)


if __name__ == "__main__":
    app()
