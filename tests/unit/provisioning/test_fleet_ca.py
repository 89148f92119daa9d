"""`fleet-ca` by hand, both ways to a root; what fails says one sentence and changes nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from typer.testing import CliRunner, Result

from provisioning.__main__ import app
from provisioning.overview import overview
from provisioning.pki import Pki, load_pki
from provisioning.profile import PROFILES, ProfileName

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "passphrase").write_text("correct horse\n")
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def done(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout


def test_one_machine(run: Run) -> None:
    done(run("init-root", "--organisation", "Lumpini", "--no-passphrase"))
    done(run("init-issuing"))
    done(run("issue-server", "fleet.example.go.th", "--out", "pki/server"))
    made = json.loads(done(run("issue-service", "svc-core", "--out", "pki/service", "--json")))
    assert made == {"certificate_file": "pki/service/svc-core.pem", "key_file": "pki/service/svc-core.key.pem"}
    assert Path(made["key_file"]).stat().st_mode & 0o777 == 0o600
    assert len(x509.load_pem_x509_certificates(Path("pki/server/chain.pem").read_bytes())) == 2
    done(run("sign-crl"))
    shown = json.loads(done(run("show", "--json")))
    assert [a["key"] for a in shown["authorities"]] == ["here"] * 4
    assert shown["warnings"] == []


def test_an_offline_root(run: Run) -> None:
    secret = ("--dir", "root", "--passphrase-file", "passphrase")
    assert "good until 20" in done(run("init-root", "--organisation", "Royal Thai Police", *secret))
    assert "sign-issuing" in done(run("init-issuing"))
    assert "not signed yet" in done(run("show"))
    assert "import-issuing" in done(run("sign-issuing", "pki/requests", *secret))
    assert "Royal Thai Police" in done(run("import-issuing", "pki/requests"))
    shown = json.loads(done(run("show", "--json")))
    assert [a["key"] for a in shown["authorities"]] == ["absent", "here", "here", "here"]
    done(run("issue-service", "svc-core"))
    done(run("sign-crl", *secret))
    shown = json.loads(done(run("show", "--dir", "root", "--json")))
    assert [a["key"] for a in shown["authorities"]] == ["encrypted", "absent", "absent", "absent"]
    assert shown["warnings"] == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["show"], "There is no PKI at pki"),
        (["init-root", "--organisation", "x" * 65, "--no-passphrase"], "The organisation must be"),
        (["init-root", "--organisation", "x"], "nobody to ask for the passphrase"),
        (["init-root", "--organisation", "x", "--passphrase-file", "nowhere"], "There is no file nowhere"),
        (["init-root", "--organisation", "x", "--passphrase-file", "/dev/null"], "The passphrase is empty"),
        (["issue-service", "svc-core"], "There is no PKI at pki"),
        (["sign-issuing", "requests"], "There is no PKI at pki"),
        (["import-issuing", "requests"], "There is no PKI at pki"),
        (["init-issuing", "--dir", "passphrase/pki"], "passphrase/pki cannot be written: Not a directory"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(run: Run, tmp_path: Path, arguments: list[str], sentence: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("fleet-ca: ")
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""
    assert [p.name for p in tmp_path.iterdir()] == ["passphrase"]


def test_a_short_passphrase_guards_no_root(run: Run) -> None:
    Path("passphrase").write_text("hunter2\n")
    result = run("init-root", "--organisation", "x", "--passphrase-file", "passphrase")
    assert (result.exit_code, "at least 12 characters" in result.stderr) == (1, True)
    assert not Path("pki").exists()


def test_the_wrong_passphrase(run: Run) -> None:
    done(run("init-root", "--organisation", "x", "--passphrase-file", "passphrase"))
    Path("passphrase").write_text("wrong")
    result = run("init-issuing", "--passphrase-file", "passphrase")
    assert (result.exit_code, result.stderr) == (1, "fleet-ca: pki/root.key.pem cannot be opened: wrong passphrase.\n")


def test_a_second_root_is_refused(run: Run) -> None:
    done(run("init-root", "--organisation", "x", "--no-passphrase"))
    before = Path("pki/root.pem").read_bytes()
    assert run("init-root", "--organisation", "x", "--no-passphrase").exit_code == 1
    assert Path("pki/root.pem").read_bytes() == before


@pytest.mark.parametrize("arguments", [["issue-server"], ["no-such-thing"], ["show", "--colour"]])
def test_wrong_usage(run: Run, arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


@pytest.mark.parametrize("command", [c.name for c in app.registered_commands])
def test_every_command_has_an_example(run: Run, command: str) -> None:
    assert f"Example: fleet-ca {command}" in done(run(command, "--help"))


def test_what_needs_attention_is_said_in_time(pki: Pki) -> None:
    ca_end = pki.certificate(ProfileName.DEVICE_CA).not_valid_after_utc
    list_end = pki.certificate(ProfileName.DEVICE_CA).not_valid_after_utc - PROFILES[ProfileName.DEVICE_CA].life
    healthy = overview(load_pki(pki.folder), list_end)
    assert healthy.warnings == ()
    late = overview(load_pki(pki.folder), ca_end).warnings
    assert any("time for its successor" in w for w in late)
    assert any("nobody can connect" in w for w in late)
