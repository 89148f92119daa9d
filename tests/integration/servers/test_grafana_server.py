"""Finding and starting a Grafana: with our files, in an organisation of our own, and said plainly where there is none."""

import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_client.api import GrafanaApi

from grafana.smoke.install import FILES, HOUSE
from tests import compose_file
from tests.fake_grafana import MAIN_ORG, PASSWORD, USER, FakeGrafana
from tests.integration.grafana import smoke
from tests.servers import grafana
from tests.servers.grafana import InfluxAccess
from tests.servers.not_run import Unavailable
from tests.servers.process import free_port

INFLUX = InfluxAccess("http://127.0.0.1:8086", "a token")

STAND_IN = """#!{python}
import http.server, json, os, sys
arguments = sys.argv[1:]
home, config = (arguments[arguments.index(name) + 1] for name in ("--homepath", "--config"))
assert arguments[0] == "server" and os.path.isfile(home + "/conf/defaults.ini") and os.path.isfile(config)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({{"database": "ok", **os.environ}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.HTTPServer((os.environ["GF_SERVER_HTTP_ADDR"], int(os.environ["GF_SERVER_HTTP_PORT"])), Handler).serve_forever()
"""
"""A program that is called as Grafana is, and tells with what."""


@pytest.fixture(autouse=True)
def nothing_at_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A world without Grafana; the folder returned is the only one on PATH."""
    for name in ("GRAFANA_URL", "GRAFANA_CREDENTIALS_FILE", "GF_PATHS_HOME"):
        monkeypatch.delenv(name, raising=False)
    programs = tmp_path / "grafana-13" / "bin"
    programs.mkdir(parents=True)
    monkeypatch.setenv("PATH", str(programs))
    return programs


@pytest.fixture
def program(nothing_at_hand: Path) -> Path:
    """The stand-in on PATH, in a home like that of Grafana's archive."""
    (nothing_at_hand.parent / "conf").mkdir()
    (nothing_at_hand.parent / "conf" / "defaults.ini").touch()
    path = nothing_at_hand / "grafana"
    path.write_text(STAND_IN.format(python=sys.executable))
    path.chmod(0o755)
    return path


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = tmp_path / "credentials"
    path.write_text(f"{USER}:{PASSWORD}\n")
    monkeypatch.setenv("GRAFANA_CREDENTIALS_FILE", str(path))
    return path


def test_none_at_hand_says_what_was_looked_for_and_has_a_status_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert smoke.main() == 69
    (line,) = capsys.readouterr().err.splitlines()
    for wanted in ("GRAFANA_URL", "grafana-server on PATH", "Docker", "GRAFANA_CREDENTIALS_FILE"):
        assert wanted in line


def test_it_is_started_with_our_files(program: Path, tmp_path: Path) -> None:
    assert grafana.at_hand() == str(program)
    folder = tmp_path / "run"
    folder.mkdir()
    started = grafana.get_grafana(folder, INFLUX)
    try:
        told = started.api.client.GET("/health")
    finally:
        started.close()
    assert told["INFLUXDB_URL"] == INFLUX.url
    staged = Path(told["GF_PATHS_PROVISIONING"])
    assert sorted(path.relative_to(staged) for path in staged.rglob("*.yaml")) == sorted(
        path.relative_to(FILES) for path in FILES.rglob("*.yaml")
    )
    (source,) = yaml.safe_load((staged / "datasources" / "influxdb.yaml").read_text())["datasources"]
    header = source["secureJsonData"]["httpHeaderValue1"]
    assert Path(header.removeprefix("Token $__file{").removesuffix("}")).read_text() == INFLUX.token
    (provider,) = yaml.safe_load((staged / "dashboards" / "fleet.yaml").read_text())["providers"]
    assert Path(provider["options"]["path"]) == HOUSE / "boards"
    assert (staged / "alerting" / "fleet-server.yaml").read_text() == (FILES / "alerting" / "fleet-server.yaml").read_text()
    assert Path(told["GF_PATHS_DATA"]).parent == folder


def test_program_that_ends_is_quoted(program: Path, tmp_path: Path) -> None:
    program.write_text("#!/bin/sh\necho it is too old >&2\nexit 3\n")
    with pytest.raises(RuntimeError, match="status 3: it is too old"):
        grafana.get_grafana(tmp_path, INFLUX)


def test_program_without_a_home_is_said(program: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GF_PATHS_HOME", str(tmp_path))
    with pytest.raises(Unavailable, match="GF_PATHS_HOME"):
        grafana.at_hand()


def test_running_one_gets_an_organisation_that_is_removed_again(credentials: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with FakeGrafana() as fake:
        monkeypatch.setenv("GRAFANA_URL", fake.url)
        ours = grafana.get_grafana(tmp_path, INFLUX)
        (number,) = set(fake.orgs) - {MAIN_ORG}
        assert fake.orgs[number].boards
        assert fake.orgs[number].sources
        assert not fake.orgs[MAIN_ORG].boards
        assert ours.api.datasource.health("fleet-influxdb")["status"] == "OK"
        ours.close()
        assert set(fake.orgs) == {MAIN_ORG}


def test_organisation_is_removed_when_it_cannot_be_filled(credentials: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("refused")

    with FakeGrafana() as fake:
        monkeypatch.setenv("GRAFANA_URL", fake.url)
        monkeypatch.setattr(grafana, "install", refuse)
        with pytest.raises(RuntimeError, match="refused"):
            grafana.get_grafana(tmp_path, INFLUX)
        assert set(fake.orgs) == {MAIN_ORG}


def test_wrong_credentials_are_said(credentials: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    credentials.write_text("admin:wrong")
    with FakeGrafana() as fake:
        monkeypatch.setenv("GRAFANA_URL", fake.url)
        with pytest.raises(Unavailable, match="server administrator"):
            grafana.get_grafana(tmp_path, INFLUX)


def test_running_one_that_does_not_answer_is_said(credentials: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRAFANA_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Unavailable, match="does not answer"):
        grafana.get_grafana(tmp_path, INFLUX)


@pytest.mark.parametrize(("content", "says"), [(None, "cannot be read"), ("no colon", "no user:password")])
def test_credentials_that_are_none(
    content: str | None, says: str, credentials: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    credentials.unlink() if content is None else credentials.write_text(content)
    monkeypatch.setenv("GRAFANA_URL", "http://127.0.0.1:1")
    with pytest.raises(Unavailable, match=says):
        grafana.get_grafana(tmp_path, INFLUX)


def test_running_one_needs_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRAFANA_URL", "http://127.0.0.1:1")
    with pytest.raises(Unavailable, match="without GRAFANA_CREDENTIALS_FILE"):
        grafana.get_grafana(tmp_path, INFLUX)


def test_container_sees_our_files_where_compose_puts_them(nothing_at_hand: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    docker = nothing_at_hand / "docker"
    docker.write_text(f'#!/bin/sh\n[ "$1" = info ] && exit 0\necho "$@" > {tmp_path}/called\nexit 1\n')
    docker.chmod(0o755)
    assert grafana.at_hand() == grafana.IMAGE
    with pytest.raises(RuntimeError, match="status 1"):
        grafana.get_grafana(tmp_path, INFLUX)
    called = (tmp_path / "called").read_text().split()
    volumes = {called[n + 1].split(":")[1]: Path(called[n + 1].split(":")[0]) for n, part in enumerate(called) if part == "--volume"}
    service = compose_file.load()["services"]["grafana"]
    mounted = {mount.split(":")[1] for mount in service["volumes"] if mount.startswith("./")}
    assert set(volumes) == mounted | {"/run/fleet/influxdb"}
    assert stat.S_IMODE(volumes["/run/fleet/influxdb"].stat().st_mode) == 0o644
    assert called[-1] == service["image"]
    assert "a token" not in " ".join(called), "no secret on a command line"
    assert os.environ["PATH"] == str(nothing_at_hand)


def test_url_below_a_path_is_kept() -> None:
    api: GrafanaApi = grafana._api("https://fleet.example/monitoring/", ("a", "b"), 7)
    assert api.client.url == "https://fleet.example/monitoring/api"
    assert api.client.organization_id == 7
