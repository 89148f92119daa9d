"""A real InfluxDB 2 for tests; `python -m tests.servers.influxdb` makes sure that there is one (it may build it, once).

Looked for in this order: a running one (`SSZ_TEST_INFLUXDB_URL`, `SSZ_TEST_INFLUXDB_TOKEN`: an operator's token), the program
`influxd` on PATH, the one built earlier into the cache, a Docker engine.
"""

import fcntl
import hashlib
import itertools
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from tests.servers.not_run import Unavailable
from tests.servers.process import ServerProcess, free_port

IMAGE: Final = "influxdb:2.9.1"
BUCKETS: Final = ("fleet/hot", "fleet/cold", "fleet/events")
_HERE: Final = Path(__file__).parent / "influxd"
_HOW: Final = "build it once (about 7 minutes) with: python -m tests.servers.influxdb"


@dataclass(frozen=True, slots=True)
class Influx:
    """An organisation of one test's own, with the empty buckets `fleet/hot`, `fleet/cold` and `fleet/events`."""

    url: str
    org: str
    token: str
    org_id: str


def cached_program() -> Path:
    """Return where the built program is kept: outside the clone, named by what it was built from."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256((_HERE / "go.sum").read_bytes()).hexdigest()[:16]
    return cache / "smart-safety-zone" / f"influxd-{digest}" / "influxd"


def find_program() -> Path | None:
    """Return the program, `None` where there is none."""
    on_path = shutil.which("influxd")
    if on_path:
        return Path(on_path)
    return cached_program() if os.access(cached_program(), os.X_OK) else None


def has_docker() -> bool:
    """Whether a container engine answers."""
    docker = shutil.which("docker")
    return docker is not None and subprocess.run([docker, "info"], capture_output=True, check=False, timeout=30).returncode == 0


def build() -> Path:
    """Build the program into the cache, once, even when several processes ask.

    Raises:
        Unavailable: a tool is missing or the build failed.
    """
    program = cached_program()
    missing = [tool for tool in ("go", "cargo", "clang", "pkg-config", "protoc") if not shutil.which(tool)]
    if missing:
        raise Unavailable(f"no influxd, no Docker, and it cannot be built without {', '.join(missing)}")
    program.parent.mkdir(parents=True, exist_ok=True)
    with (program.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            log = program.parent / "build.log"
            with log.open("wb") as output:
                result = subprocess.run(["bash", _HERE / "build.sh", program], stdout=output, stderr=output, check=False, timeout=3600)
            if result.returncode:
                raise Unavailable(f"building influxd failed: {log.read_text(errors='replace').strip()[-300:]} (log: {log})")
    return program


class InfluxServer:
    """A server and the means to give each test an organisation of its own."""

    def __init__(self, url: str, token: str, process: ServerProcess | None = None) -> None:
        """`token` is an operator's; `process` is what to stop at the end."""
        self.url: Final = url
        self.operator_token: Final = token
        self._process = process
        self._numbers = itertools.count(1)
        self._http = httpx.Client(base_url=url, headers={"Authorization": f"Token {token}"}, timeout=30.0)

    @classmethod
    def get(cls, folder: Path) -> "InfluxServer":
        """Return the outside server, or start one in `folder`.

        Raises:
            Unavailable: there is none, and none can be started.
        """
        url = os.environ.get("SSZ_TEST_INFLUXDB_URL")
        if url:
            return cls(url.rstrip("/"), os.environ.get("SSZ_TEST_INFLUXDB_TOKEN", ""))
        port = free_port()
        process = ServerProcess("influxd", _command(port, folder), log=folder / "influxd.log", env={"INFLUXD_CONFIG_PATH": str(folder)})
        url = f"http://127.0.0.1:{port}"
        process.start(is_ready=lambda: _is_healthy(url), within_s=120)
        token = secrets.token_urlsafe(24)
        setup = {"username": "tests", "password": secrets.token_urlsafe(12), "org": "tests", "bucket": "tests", "token": token}
        httpx.post(f"{url}/api/v2/setup", json=setup, timeout=60.0).raise_for_status()
        return cls(url, token, process)

    def create(self) -> Influx:
        """Make an organisation with its buckets and a token that may do everything inside it."""
        name = f"fleet-{next(self._numbers)}-{secrets.token_hex(3)}"
        org_id = str(self._post("/api/v2/orgs", {"name": name})["id"])
        for bucket in BUCKETS:
            self._post("/api/v2/buckets", {"orgID": org_id, "name": bucket, "retentionRules": []})
        kinds = ("buckets", "orgs", "dbrp", "authorizations")
        permissions = [
            {"action": action, "resource": {"type": kind, "id": org_id} if kind == "orgs" else {"type": kind, "orgID": org_id}}
            for kind in kinds
            for action in ("read", "write")
        ]
        token = str(self._post("/api/v2/authorizations", {"orgID": org_id, "permissions": permissions})["token"])
        return Influx(self.url, name, token, org_id)

    def remove(self, influx: Influx) -> None:
        """Remove a test's organisation with all its data."""
        self._http.delete(f"/api/v2/orgs/{influx.org_id}")

    def close(self) -> None:
        """Stop the server if it is ours."""
        self._http.close()
        if self._process is not None:
            self._process.stop(within_s=20)

    def _post(self, path: str, body: Mapping[str, object]) -> dict[str, object]:
        response = self._http.post(path, json=body)
        if response.is_error:
            raise RuntimeError(f"InfluxDB refused {path}: {response.status_code} {response.text[:300]}")
        answer: dict[str, object] = response.json()
        return answer


def _command(port: int, folder: Path) -> list[str | Path]:
    program = find_program()
    if program is not None:
        files: list[str | Path] = ["--bolt-path", folder / "influxd.bolt", "--engine-path", folder / "engine"]
        return [
            program,
            *files,
            "--sqlite-path",
            folder / "influxd.sqlite",
            "--http-bind-address",
            f"127.0.0.1:{port}",
            "--reporting-disabled",
        ]
    if has_docker():
        return ["docker", "run", "--rm", "--init", "-p", f"127.0.0.1:{port}:8086", IMAGE, "influxd", "--reporting-disabled"]
    raise Unavailable(f"no influxd on PATH or in the cache, and no Docker; {_HOW}")


def _is_healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2.0).is_success
    except httpx.TransportError:
        return False


def main() -> int:
    """Make sure that tests will find an InfluxDB; say which."""
    try:
        if os.environ.get("SSZ_TEST_INFLUXDB_URL"):
            found = os.environ["SSZ_TEST_INFLUXDB_URL"]
        else:
            found = str(find_program() or (IMAGE if has_docker() else build()))
    except Unavailable as error:
        sys.stderr.write(f"[servers] InfluxDB: {error}\n")
        return 1
    sys.stderr.write(f"[servers] InfluxDB: {found}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
