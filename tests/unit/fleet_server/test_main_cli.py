"""The `fleet` command as people and programs meet it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from fleet_server.__main__ import app
from fleet_server.cli import answers
from fleet_server.installation.making import make
from fleet_server.installation.plan import Plan

UNITS = "code,parent,level,name_th,name_en\nbpp,,command,กองบัญชาการ,\nn1,bpp,division,บก.น.1,\nlumpini,n1,station,สน.ลุมพินี,\n"


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Walk all commands below a group."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


ALL = dict(commands(typer.main.get_command(app)))
OURS = {path: command for path, command in ALL.items() if path != ("demo",)}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "fleet"
    make(Plan(data=folder, organisation="Test", host="127.0.0.1", http_port=8080, est_port=8443, mqtt_port=8883))
    return folder


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def ok(*arguments: object) -> str:
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    return str(done.stdout)


def sentence(*arguments: object) -> str:
    """Run what must fail, and return the one sentence it says."""
    done = run(*arguments)
    assert done.exit_code == 1, done.output
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("fleet: ")
    return str(line)


@pytest.mark.parametrize("path", OURS, ids=" ".join)
def test_help_has_an_example(path: tuple[str, ...]) -> None:
    said = ok(*path, "--help")
    assert "Example" in said
    assert f"fleet {' '.join(path)}" in said


def test_statuses_and_json_are_said() -> None:
    said = " ".join(ok("--help").split())
    assert "Exit status: 0 done; 1 not done" in said
    assert "2 wrong usage" in said
    assert ok("-h") == ok("--help")


@pytest.mark.parametrize("path", [path for path in OURS if path != ("serve",)], ids=" ".join)
def test_programs_can_read_it(path: tuple[str, ...]) -> None:
    assert "--json" in {option for parameter in OURS[path].params for option in parameter.opts}


@pytest.mark.parametrize("arguments", [["nonsense"], ["init", "--colour", "red"], ["import", "units"], ["init", "--http-port", "70000"]])
def test_wrong_usage(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["serve"],
        ["status"],
        ["rebuild"],
        ["node", "add", "--serial", "A", "--unit", "/"],
        ["account", "create", "somsri", "--role", "auditor"],
        ["account", "disable", "somsri"],
        ["account", "reset", "somsri"],
        ["token", "create", "report"],
    ],
    ids=" ".join,
)
def test_without_an_installation(tmp_path: Path, arguments: list[str]) -> None:
    assert f"fleet init --data {tmp_path}" in sentence(*arguments, "--data", tmp_path)


def test_installation_that_waits_for_its_root(tmp_path: Path) -> None:
    begun = json.loads(ok("init", "--data", tmp_path, "--offline-root", "--json"))
    assert begun["is_signed"] is False
    assert begun["administrator"] is None
    assert f"fleet init --data {tmp_path} --signed" in sentence("serve", "--data", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--console", "gold"], "none, upload, own, acme"),
        (["--host", "two words"], "two words"),
        (["--console", "upload"], "--console-certificate"),
        (["--settings", "/nowhere.toml"], "/nowhere.toml"),
        (["--signed", "/nowhere"], "begun"),
    ],
)
def test_init_that_cannot_be(tmp_path: Path, arguments: list[str], says: str) -> None:
    assert says in sentence("init", "--data", tmp_path / "fleet", *arguments)


def test_first_day(data: Path, tmp_path: Path) -> None:
    at = ["--data", data]
    (tmp_path / "units.csv").write_text(UNITS)
    assert "would be created" in ok("import", "units", tmp_path / "units.csv", "--dry-run", *at)
    assert json.loads(ok("import", "units", tmp_path / "units.csv", "--json", *at))["created"] == 3
    node = json.loads(ok("node", "add", "--serial", "SSZ-1", "--unit", "/bpp/n1/lumpini/", "--approve", "--json", *at))
    assert node["state"] == "claimed"
    assert "SSZ-1" in sentence("node", "add", "--serial", "SSZ-1", "--unit", "/bpp/n1/lumpini/", *at)
    assert "/bpp/n9/" in sentence("node", "add", "--serial", "SSZ-2", "--unit", "/bpp/n9/", *at)
    made = json.loads(ok("account", "create", "somsri", "--role", "ccoc_operator", "--unit", "/bpp/", "--json", *at))
    assert made["link"].startswith("http://127.0.0.1:8080/setup/")
    assert "somsri" in sentence("account", "create", "somsri", "--role", "auditor", *at)
    assert "captain" in sentence("account", "create", "prasit", "--role", "captain", *at)
    assert "nonsense" in sentence("account", "create", "prasit", "--role", "auditor", "--unit", "nonsense", *at)
    assert "nonsense" in sentence("token", "create", "report", "--unit", "nonsense", *at)
    assert json.loads(ok("account", "disable", "somsri", "--json", *at)) == {"user": "somsri", "is_disabled": True}
    assert "nobody" in sentence("account", "disable", "nobody", *at)
    assert "closed" in sentence("account", "reset", "somsri", *at)
    assert json.loads(ok("account", "enable", "somsri", "--json", *at)) == {"user": "somsri", "is_disabled": False}
    assert json.loads(ok("account", "reset", "somsri", "--json", *at))["user"] == "somsri"
    assert json.loads(ok("account", "reset", "admin", "--json", *at))["user"] == "admin"
    ok("token", "create", "report", "--out", tmp_path / "token", *at)
    assert (tmp_path / "token").read_text().startswith("ssz_")
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    assert json.loads(ok("rebuild", "--json", *at))["is_same"] is True


def test_import_names_rows(data: Path, tmp_path: Path) -> None:
    (tmp_path / "units.csv").write_text(UNITS + "Bad Code,n1,station,x,\n")
    done = run("import", "units", tmp_path / "units.csv", "--data", data)
    assert done.exit_code == 1
    assert "row 5, code" in done.stderr
    (tmp_path / "cp874.csv").write_bytes("code\nกล้อง".encode("cp874"))
    assert "UTF-8" in sentence("import", "units", tmp_path / "cp874.csv", "--data", data)
    assert "nothing.csv" in sentence("import", "units", tmp_path / "nothing.csv", "--data", data)
    assert "dragons" in sentence("import", "dragons", tmp_path / "units.csv", "--data", data)


def test_damaged_settings(data: Path) -> None:
    (data / "fleet.toml").write_text("[http]\nport = 'x'\n")
    assert "port" in sentence("account", "reset", "admin", "--data", data)


def test_help_loads_no_server() -> None:
    """What makes `fleet --help` slow is loaded only by the commands that need it."""
    program = (
        "import sys, fleet_server.__main__\n"
        "heavy = {'fastapi', 'sqlalchemy', 'cryptography', 'uvicorn', 'httpx', 'acme', 'influxdb_client', 'aiomqtt', 'alembic', 'av'}\n"
        "print(*sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []


def test_here_is_the_default() -> None:
    assert Path("var/fleet") == answers.HERE
