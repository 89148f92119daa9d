"""What `fleet init` refuses before it makes anything, and how it goes on after it was interrupted at any point."""

import signal
import subprocess
import sys
import tomllib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleet_server.errors import Conflict, FleetError, Rejected
from fleet_server.installation.making import finish, make
from fleet_server.installation.plan import BEGUN, ConsoleCertificate, Plan, recall, remember, settings_of, settings_text
from fleet_server.settings import load_settings, read_settings
from provisioning import ca
from provisioning.errors import ProvisioningError

STEPS = ("create_pki", "issue_credentials", "_console_certificate", "_first_administrator", "forget")
"""What `make` does, in this order; after each it may be killed."""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(data=tmp_path / "fleet", organisation="Test", host="127.0.0.1", http_port=8080, est_port=8443, mqtt_port=8883)


def refused(plan: Plan) -> str:
    """Return the sentence; nothing may have been made."""
    with pytest.raises((FleetError, ProvisioningError)) as raised:
        make(plan)
    assert not (plan.data / "fleet.toml").exists()
    assert not (plan.data / "pki").exists()
    return str(raised.value)


@pytest.mark.parametrize("host", ["", "two words", "*.example.org", "-x.org", "http://x", "x_y", "ก"])
def test_bad_host(plan: Plan, host: str) -> None:
    assert refused(replace(plan, host=host))
    assert refused(replace(plan, also_hosts=(host,)))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"organisation": ""}, "organisation"),
        ({"organisation": "x" * 65}, "organisation"),
        ({"administrator": "Root User"}, "user name"),
        ({"mqtt_port": 8443}, "same"),
        ({"extra_settings": "[http]\nport = 1\n"}, "fleet.toml"),
        ({"settings": "[supervision]\ncamera_s = -1\n"}, "camera_s"),
        ({"console": ConsoleCertificate.UPLOAD}, "--console-certificate"),
        ({"console": ConsoleCertificate.ACME}, "127.0.0.1"),
    ],
)
def test_wish_that_cannot_be(plan: Plan, changes: dict[str, object], says: str) -> None:
    assert says in refused(replace(plan, **changes))  # type: ignore[arg-type]  # the fields are given by name


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nowhere"])
def test_folder_that_cannot_be_written(plan: Plan, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    assert "--data" in refused(replace(plan, data=tmp_path / place))


def test_existing_installation_is_left_alone(plan: Plan) -> None:
    make(plan)
    before = {path: path.read_bytes() for path in plan.data.rglob("*.pem")}
    with pytest.raises(Conflict, match="fleet serve --data"):
        make(replace(plan, organisation="Another"))
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(("host", "is_told"), [("127.0.0.1", False), ("fleet.example.org", True)])
def test_plain_http_is_said_where_others_can_hear_it(plan: Plan, host: str, is_told: bool) -> None:
    said = make(replace(plan, host=host, bind="0.0.0.0")).sentences()
    assert any("plain http" in sentence for sentence in said) is is_told


class Brought:
    """Certificate files of somebody else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pki = ca.create_pki(folder / "elsewhere", "Elsewhere", local_root=True)

    def files(self, name: str, host: str) -> dict[str, Path]:
        made = ca.issue_server_certificate(self.pki, [host])
        (self.folder / f"{name}.pem").write_bytes(made.chain_pem)
        (self.folder / f"{name}.key").write_bytes(made.key_pem)
        return {"console_chain": self.folder / f"{name}.pem", "console_key": self.folder / f"{name}.key"}


@pytest.fixture
def brought(tmp_path: Path) -> Brought:
    return Brought(tmp_path)


def upload(plan: Plan, *, console_chain: Path, console_key: Path) -> Plan:
    wanted = replace(plan, host="fleet.example.org", bind="0.0.0.0", console=ConsoleCertificate.UPLOAD)
    return replace(wanted, console_chain=console_chain, console_key=console_key)


def test_uploaded_certificate_is_used(plan: Plan, brought: Brought) -> None:
    files = brought.files("a", "fleet.example.org")
    made = make(upload(plan, **files))
    assert made.console_url == "https://fleet.example.org:8080"
    settings = load_settings(plan.data / "fleet.toml")
    assert (plan.data / settings.http.certificate_file).read_bytes() == files["console_chain"].read_bytes()
    assert (plan.data / settings.http.key_file).stat().st_mode & 0o777 == 0o600


def test_uploaded_files_that_do_not_fit(plan: Plan, brought: Brought) -> None:
    mine, other = brought.files("a", "fleet.example.org"), brought.files("b", "other.example.org")
    rubbish = brought.folder / "rubbish"
    rubbish.write_text("rubbish")
    assert "does not belong" in refused(upload(plan, console_chain=mine["console_chain"], console_key=other["console_key"]))
    assert "other.example.org" in refused(upload(plan, **other))
    assert "PEM" in refused(upload(plan, console_chain=rubbish, console_key=mine["console_key"]))
    assert "PEM" in refused(upload(plan, console_chain=mine["console_chain"], console_key=rubbish))
    assert "no file" in refused(upload(plan, console_chain=mine["console_chain"], console_key=brought.folder / "none"))


def test_uploaded_certificate_out_of_its_time(plan: Plan, brought: Brought, monkeypatch: pytest.MonkeyPatch) -> None:
    files = brought.files("a", "fleet.example.org")
    for days, says in ((800, "expired"), (-800, "good only from")):

        class Clock(datetime):
            @classmethod
            def now(cls, tz: object = None, days: int = days) -> "Clock":
                moment = datetime.now(UTC) + timedelta(days=days)
                return cls.fromtimestamp(moment.timestamp(), UTC)

        monkeypatch.setattr("fleet_server.installation.making.datetime", Clock)
        assert says in refused(upload(plan, **files))


@pytest.mark.parametrize("step", STEPS)
def test_killed_after_each_step_and_run_again(plan: Plan, step: str) -> None:
    """The same command again goes on, and its link is the one that works."""
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from fleet_server.installation import making\n"
        "from fleet_server.installation.plan import Plan\n"
        "step, data = sys.argv[1:]\n"
        "place = making.ca if step == 'create_pki' else making\n"
        "real = getattr(place, step)\n"
        "def killed(*given, **named):\n"
        "    real(*given, **named)\n"
        "    os.kill(os.getpid(), 9)\n"
        "setattr(place, step, killed)\n"
        "making.make(Plan(data=Path(data), organisation='Test', host='127.0.0.1', http_port=8080, est_port=8443, mqtt_port=8883))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, step, str(plan.data)], capture_output=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    if step == "forget":  # all was done but the answer
        with pytest.raises(Conflict, match="account reset"):
            make(plan)
        return
    assert not (plan.data / "fleet.toml").exists()
    made = make(plan)
    assert made.link is not None, "the link of the run that was killed was never seen"
    assert load_settings(plan.data / "fleet.toml").http.port == 8080


def test_begun_with_another_organisation(plan: Plan) -> None:
    ca.create_pki(plan.data / "pki", "Another", local_root=True)
    with pytest.raises(Conflict, match="Another"):
        make(plan)


def test_offline_root_whole_road(plan: Plan, tmp_path: Path) -> None:
    begun = make(replace(plan, local_root=False, organisation="Royal Thai Police", administrator="boss"))
    assert not begun.is_signed
    assert begun.as_json()["requests"] == str(plan.data / "pki" / "requests")
    assert "fleet init --data" in begun.sentences()[-1]
    assert not (plan.data / "fleet.toml").exists()
    ca.init_root(tmp_path / "root", "Royal Thai Police", passphrase=b"a long passphrase")
    usb = tmp_path / "usb"
    usb.mkdir()
    for request in (plan.data / "pki" / "requests").iterdir():
        (usb / request.name).write_bytes(request.read_bytes())
    with pytest.raises(ProvisioningError):
        finish(plan.data, usb)  # nothing is signed yet
    ca.sign_issuing(tmp_path / "root", usb, passphrase=b"a long passphrase")
    finished = finish(plan.data, usb)
    assert finished.is_signed
    assert finished.link is not None
    assert finished.link.user == "boss"
    assert not (plan.data / BEGUN).exists()
    assert not (plan.data / "pki" / "root.key.pem").exists()
    with pytest.raises(Conflict, match="finished already"):
        finish(plan.data, usb)


def test_requests_signed_for_another_server(plan: Plan, tmp_path: Path) -> None:
    ca.init_root(tmp_path / "root", "Test", passphrase=None)
    for name in ("mine", "other"):
        make(replace(plan, data=tmp_path / name, local_root=False))
    ca.sign_issuing(tmp_path / "root", tmp_path / "other" / "pki" / "requests", passphrase=None)
    with pytest.raises(ProvisioningError, match="not for the key"):
        finish(tmp_path / "mine", tmp_path / "other" / "pki" / "requests")


def test_finish_without_beginning(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="--offline-root"):
        finish(plan.data, tmp_path)
    make(replace(plan, local_root=False))
    with pytest.raises(Rejected, match="no folder"):
        finish(plan.data, tmp_path / "nowhere")


def test_plan_is_remembered_whole(plan: Plan, brought: Brought) -> None:
    full = upload(
        replace(plan, also_hosts=("broker", "10.0.0.1"), extra_settings="[ingest]\nack_interval_s = 5\n"), **brought.files("a", "x")
    )
    plan.data.mkdir()
    remember(full)
    known = recall(plan.data)
    assert replace(known, also_hosts=tuple(known.also_hosts)) == full
    (plan.data / BEGUN).write_text("{")
    with pytest.raises(Rejected, match=BEGUN):
        recall(plan.data)


@pytest.mark.parametrize("text", ['a "quoted" \\ name', "สถานีตำรวจ", "tab\tand\x7f", "{braces}", "''' \"\"\""])
def test_settings_hold_any_text(plan: Plan, text: str) -> None:
    assert read_settings(settings_text(replace(plan, organisation=text)).encode(), plan.data).fleet.name == text


@pytest.mark.parametrize(
    ("host", "port", "console", "url"),
    [
        ("fleet.example.org", 443, ConsoleCertificate.OWN, "https://fleet.example.org"),
        ("fleet.example.org", 80, ConsoleCertificate.NONE, "http://fleet.example.org"),
        ("::1", 8080, ConsoleCertificate.NONE, "http://[::1]:8080"),
        ("fleet.example.org", 443, ConsoleCertificate.NONE, "http://fleet.example.org:443"),
    ],
)
def test_console_address(plan: Plan, host: str, port: int, console: ConsoleCertificate, url: str) -> None:
    assert settings_of(replace(plan, host=host, http_port=port, console=console)).console_url == url


def test_acme_settings(plan: Plan) -> None:
    wanted = replace(plan, host="fleet.example.org", bind="0.0.0.0", console=ConsoleCertificate.ACME)
    settings = tomllib.loads(settings_text(replace(wanted, acme=replace(wanted.acme, email="it@example.org"))))
    assert settings["acme"]["hosts"] == ["fleet.example.org"]
    assert settings["acme"]["email"] == "it@example.org"
    assert settings["http"]["certificate_file"] == settings["http"]["key_file"]


def test_secrets_are_for_their_owner_only(plan: Plan) -> None:
    make(replace(plan, console=ConsoleCertificate.OWN))
    keys = [path for path in plan.data.rglob("*") if path.is_file() and (b"PRIVATE KEY" in path.read_bytes() or "secrets" in path.parts)]
    assert len(keys) >= 7
    assert {path.stat().st_mode & 0o777 for path in keys} == {0o600}
