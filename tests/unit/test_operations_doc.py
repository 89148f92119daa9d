"""What `docs/operations.md` tells people to type exists, and its tables say what the code does."""

import re
import shlex
from typing import Any

import pytest
import typer

import fleet_server.main  # noqa: F401  # knows every table
from firmware_agent.__main__ import app as agent_app
from fleet_server.__main__ import app as fleet_app
from fleet_server.access.model import PERMISSIONS, Permission
from fleet_server.access.service import LINK_MS, SESSION_MS
from fleet_server.registry.csv_cells import OPTIONAL, REQUIRED
from fleet_server.settings import Settings
from fleet_server.storage import metadata
from fleet_server.telemetry.promise import RETENTION_MS, Bucket
from provisioning.__main__ import app as ca_app
from tests.compose_file import ROOT

TEXT = (ROOT / "docs" / "operations.md").read_text()
PROGRAMS = {"fleet": fleet_app, "fleet-ca": ca_app, "zone-agent": agent_app}
_COLUMNS = (
    Permission.VIEW,
    Permission.ACKNOWLEDGE_PRESS,
    Permission.COMMAND_DEVICE,
    Permission.EDIT_REGISTRY,
    Permission.ENROL_NODE,
    Permission.DECLARE_EXEMPTION,
    Permission.ACCEPT_SCORE,
    Permission.MANAGE_ACCOUNTS,
    Permission.VIEW_AUDIT,
)


def _typed() -> list[str]:
    """Return every command line of ours in a block of shell."""
    blocks = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    lines = [line.partition(" #")[0].strip() for block in blocks for line in block.splitlines()]
    parts = [part.strip() for line in lines for part in line.split("&&")]
    cleaned = [re.sub(r"^(\w+\$|docker compose exec fleet)\s+|^/opt/\w+/bin/", "", part) for part in parts]
    return [line for line in cleaned if line.split(" ")[0] in PROGRAMS]


@pytest.mark.parametrize("line", _typed())
def test_command_exists_with_its_options(line: str) -> None:
    words = shlex.split(line)
    command: Any = typer.main.get_command(PROGRAMS[words[0]])
    rest = words[1:]
    while hasattr(command, "commands"):  # a group; which class of it depends on the version of typer
        assert rest[0] in command.commands, line
        command, rest = command.commands[rest[0]], rest[1:]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in rest if word.startswith("--")} <= known


def test_there_is_much_to_type() -> None:
    assert len(_typed()) > 15


def test_roles_may_what_the_table_says() -> None:
    found: dict[str, set[Permission]] = {}
    for names, cells in re.findall(r"^\| (`[a-z_`, ]+) \|((?:[ ●]*\|){9})$", TEXT, re.MULTILINE):
        marks = [cell.strip() == "●" for cell in cells.split("|")[:9]]
        for name in re.findall(r"`(\w+)`", names):
            found[name] = {permission for permission, has in zip(_COLUMNS, marks, strict=True) if has}
    assert found == {role.value: set(permissions) for role, permissions in PERMISSIONS.items()}


def test_columns_of_the_files_are_all_named() -> None:
    for kind, required in REQUIRED.items():
        row = re.search(rf"^\| `{kind}` \| \*(?P<required>[^*]+)\*(?P<optional>[^|]*)\|", TEXT, re.MULTILINE)
        assert row is not None, kind
        assert set(row["required"].split()) == set(required)
        assert set(row["optional"].split()) == set(OPTIONAL[kind])


def test_ports_are_the_defaults() -> None:
    settings = Settings()
    for port in (settings.http.port, settings.est.port, settings.broker.devices_port):
        assert re.search(rf"^\| {port} \|", TEXT, re.MULTILINE), port


def _section(heading: str) -> str:
    return TEXT.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def test_every_table_of_the_database_has_a_retention() -> None:
    rows = [row.split("|")[1:-1] for row in _section("Disk, retention, purge").splitlines() if "| SQL |" in row]
    named = [name for data, *_ in rows for name in re.findall(r"`(\w+)`", data)]
    assert sorted(named) == sorted(metadata.tables)
    assert all(kept.strip() and purged_by.strip() for *_, kept, purged_by in rows)


def test_what_is_purged_is_what_the_settings_say() -> None:
    section, settings = _section("Disk, retention, purge"), Settings()
    assert f"{settings.retention.changes_days} days (`[retention] changes_days`)" in section
    assert f"{settings.telemetry.retention_days} days (embedded: `[telemetry] retention_days`)" in section
    for days in (RETENTION_MS[Bucket.COLD] // 86_400_000, SESSION_MS // 3_600_000, LINK_MS // 3_600_000):
        assert re.search(rf"\b{days} (days|h)\b", section), days


def test_links_inside_the_page_resolve() -> None:
    headings = {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in re.findall(r"^## (.*)$", TEXT, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([\w-]+)\)", TEXT)) <= headings


def test_names_of_this_repository_are_there() -> None:
    for name in re.findall(r"`((?:fleet_server|provisioning|firmware_agent|grafana|\.ci)/[\w./-]+\w)`", TEXT):
        assert (ROOT / name).exists(), name
