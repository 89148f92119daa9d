"""A real Grafana for `make grafana-smoke`, with our data source, board and alert rule over a given InfluxDB.

Looked for in this order: a running one (`GRAFANA_URL`, with `user:password` of a server administrator in the file that
`GRAFANA_CREDENTIALS_FILE` names), the program `grafana` or `grafana-server` on PATH with its home, a Docker engine. A running
one is given an organisation of our own, which is removed afterwards; others are started with our provisioning files.
"""

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import httpx
from grafana_client.api import GrafanaApi
from grafana_client.client import GrafanaException
from niquests.exceptions import RequestException

from grafana.smoke.install import FILES, HOUSE, install
from tests.servers.influxdb import has_docker
from tests.servers.not_run import Unavailable
from tests.servers.process import ServerProcess, free_port

IMAGE: Final = "grafana/grafana:13.2.3"
_TIMEOUT_S: Final = 60.0
_TOKEN_FILE: Final = "/run/fleet/influxdb"
_BOARDS: Final = "/etc/grafana/boards"
_DEBIAN_HOME: Final = Path("/usr/share/grafana")


class Program(NamedTuple):
    """Grafana as a program."""

    path: Path
    home: Path
    """Where its `conf/defaults.ini` is."""


class InfluxAccess(NamedTuple):
    """What Grafana needs to read InfluxDB."""

    url: str
    token: str


def find_program() -> Program | None:
    """Return the program, `None` where there is none.

    Raises:
        Unavailable: there is one whose home is not found.
    """
    path = next((found for found in map(shutil.which, ("grafana", "grafana-server")) if found), None)
    if path is None:
        return None
    named = os.environ.get("GF_PATHS_HOME")
    for home in [Path(named)] if named else [Path(path).resolve().parents[1], _DEBIAN_HOME]:
        if (home / "conf" / "defaults.ini").is_file():
            return Program(Path(path), home)
    raise Unavailable(f"{path} has no home with conf/defaults.ini; name it in GF_PATHS_HOME")


def at_hand() -> str:
    """Say which Grafana will be used.

    Raises:
        Unavailable: there is none; the sentence says how to give one.
    """
    if os.environ.get("GRAFANA_URL"):
        return os.environ["GRAFANA_URL"]
    program = find_program()
    if program is not None:
        return str(program.path)
    if has_docker():
        return IMAGE
    raise Unavailable(
        "no GRAFANA_URL, no program grafana or grafana-server on PATH, no Docker engine. Give one of them, "
        "such as GRAFANA_URL=http://127.0.0.1:3000 GRAFANA_CREDENTIALS_FILE=file (user:password of a server administrator)"
    )


class Grafana:
    """A Grafana that has what is ours. `api` is a `GrafanaApi` of the organisation where that is."""

    api: Any

    def close(self) -> None:
        """Leave nothing of ours behind."""


def get_grafana(folder: Path, influx: InfluxAccess) -> Grafana:
    """Take the outside one, or start one in `folder`.

    Raises:
        Unavailable: there is none, or it does not let us.
        RuntimeError: it does not start; the message quotes its log.
    """
    at_hand()
    if os.environ.get("GRAFANA_URL"):
        return OutsideGrafana(os.environ["GRAFANA_URL"], influx)
    return StartedGrafana(folder, influx)


class OutsideGrafana(Grafana):
    """Somebody's Grafana: everything of ours is in an organisation of its own. It must reach InfluxDB and us at 127.0.0.1."""

    def __init__(self, url: str, influx: InfluxAccess) -> None:
        """Make the organisation and fill it."""
        credentials = _credentials()
        self._main: Any = _api(url, credentials)
        try:
            name = f"fleet smoke {secrets.token_hex(3)}"
            self._org_id = int(self._main.organization.create_organization(name)["orgId"])
        except GrafanaException as error:
            raise Unavailable(f"{url} makes no organisation, as a server administrator could: {error}") from error
        except RequestException as error:
            raise Unavailable(f"{url} does not answer: {type(error).__name__}") from error
        self.api = _api(url, credentials, self._org_id)
        try:
            install(self.api, influxdb_url=influx.url, token=influx.token)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove the organisation with all that is in it."""
        self._main.organizations.delete_organization(self._org_id)


class StartedGrafana(Grafana):
    """A Grafana of our own on a free port, which dies with us."""

    def __init__(self, folder: Path, influx: InfluxAccess) -> None:
        """Start it with our provisioning files."""
        port, password = free_port(), secrets.token_urlsafe(12)
        url = f"http://127.0.0.1:{port}"
        token_file = folder / "influxdb-token"
        token_file.write_text(influx.token)
        settings = _settings(port, password, influx.url)
        program = find_program()
        if program is not None:
            settings |= _paths(folder, token_file)
            argv = _command(program, folder)
        else:
            argv = _docker_command(settings, token_file)
        self._process = ServerProcess("grafana", argv, log=folder / "grafana.log", env=settings)
        self._process.start(is_ready=lambda: _is_healthy(url), within_s=300)
        self.api = _api(url, ("admin", password))

    def close(self) -> None:
        """End it."""
        self._process.stop(within_s=20)


def _settings(port: int, password: str, influxdb_url: str) -> dict[str, str]:
    quiet = ("ANALYTICS_REPORTING_ENABLED", "ANALYTICS_CHECK_FOR_UPDATES", "ANALYTICS_CHECK_FOR_PLUGIN_UPDATES", "NEWS_NEWS_FEED_ENABLED")
    return dict.fromkeys((f"GF_{name}" for name in quiet), "false") | {
        "INFLUXDB_URL": influxdb_url,
        "GF_SERVER_HTTP_ADDR": "127.0.0.1",
        "GF_SERVER_HTTP_PORT": str(port),
        "GF_SECURITY_ADMIN_PASSWORD": password,
        "GF_PLUGINS_PREINSTALL_DISABLED": "true",
        "GF_LOG_MODE": "console",
    }


def _paths(folder: Path, token_file: Path) -> dict[str, str]:
    """Copy our provisioning to where it may name this machine's paths; nothing else in it is changed."""
    staged = folder / "provisioning"
    shutil.copytree(FILES, staged)
    _replace(staged / "datasources" / "influxdb.yaml", _TOKEN_FILE, str(token_file))
    _replace(staged / "dashboards" / "fleet.yaml", _BOARDS, str(HOUSE / "boards"))
    own = {name: folder / name.lower() for name in ("DATA", "LOGS", "PLUGINS")}
    return {f"GF_PATHS_{name}": str(path) for name, path in {**own, "PROVISIONING": staged}.items()}


def _replace(file: Path, old: str, new: str) -> None:
    before = file.read_text(encoding="utf-8")
    assert before.count(old) >= 1, f"{file.name} names no {old}"
    file.write_text(before.replace(old, new), encoding="utf-8")


def _command(program: Program, folder: Path) -> list[str | Path]:
    empty = folder / "grafana.ini"
    empty.touch()
    server = ["server"] if program.path.name == "grafana" else []
    return [program.path, *server, "--homepath", program.home, "--config", empty]


def _docker_command(settings: Mapping[str, str], token_file: Path) -> list[str | Path]:
    token_file.chmod(0o644)  # the container's user is another one
    mounts = {FILES: "/etc/grafana/provisioning", HOUSE / "boards": _BOARDS, token_file: _TOKEN_FILE}
    volumes = [part for source, target in mounts.items() for part in ("--volume", f"{source}:{target}:ro")]
    variables = [part for name in settings for part in ("--env", name)]
    return ["docker", "run", "--rm", "--init", "--network", "host", *volumes, *variables, IMAGE]


def _credentials() -> tuple[str, str]:
    file = os.environ.get("GRAFANA_CREDENTIALS_FILE")
    if not file:
        raise Unavailable("GRAFANA_URL is set without GRAFANA_CREDENTIALS_FILE, a file with user:password of a server administrator")
    try:
        user, colon, password = Path(file).read_text(encoding="utf-8").strip().partition(":")
    except OSError as error:
        raise Unavailable(f"GRAFANA_CREDENTIALS_FILE cannot be read: {error}") from error
    if not colon:
        raise Unavailable(f"{file} holds no user:password")
    return user, password


def _api(url: str, credentials: tuple[str, str], org_id: int | None = None) -> Any:
    parts = urlsplit(url)
    prefix = parts.path.strip("/")
    return GrafanaApi(
        credentials,
        protocol=parts.scheme,
        host=parts.hostname or "",
        port=parts.port,
        url_path_prefix=f"{prefix}/" if prefix else "",
        organization_id=org_id,
        timeout=_TIMEOUT_S,
    )


def _is_healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/api/health", timeout=2.0).is_success
    except httpx.TransportError:
        return False
