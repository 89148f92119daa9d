"""Installations made by the real command, and a real ACME server."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioning import ca
from tests.servers.not_run import Unavailable, not_run
from tests.servers.pebble_server import Pebble, find_program
from tests.servers.process import ServerProcess, free_port

BIN = Path(sys.executable).parent


class Command:
    """Runs our programs as a person would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "fleet"

    def __call__(self, program: str, *arguments: object, timeout_s: float = 120) -> "subprocess.CompletedProcess[str]":
        """Run to the end; nothing on standard input."""
        argv = [str(BIN / program), *map(str, arguments)]
        env = {**os.environ, "FLEET_DATA": str(self.data)}
        return subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=env, timeout=timeout_s, check=False)

    def json(self, program: str, *arguments: object) -> Any:
        """Run it with `--json`; it must end well."""
        done = self(program, *arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def fails(self, program: str, *arguments: object) -> str:
        """Run what must fail: status 1, one sentence on standard error, nothing else. Return the sentence."""
        done = self(program, *arguments)
        assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        lines = done.stderr.strip().splitlines()
        assert len(lines) == 1, done.stderr
        assert lines[0].startswith(f"{program}: ")
        assert done.stdout == ""
        return lines[0]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """`command("fleet", "status")`; its data folder is `command.data`."""
    return Command(tmp_path)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation on ports 11080, 11443, 11883, made once: copying it is quicker."""
    folder = tmp_path_factory.mktemp("template")
    Command(folder).json("fleet", "init", "--http-port", 11080, "--est-port", 11443, "--mqtt-port", 11883)
    return folder / "fleet"


@pytest.fixture
def installed(command: Command, template: Path) -> str:
    """Put an installation with free ports at `command.data`; return the console's address."""
    shutil.copytree(template, command.data)
    settings = command.data / "fleet.toml"
    text, console = settings.read_text(), free_port()
    for old, new in ((11080, console), (11443, free_port()), (11883, free_port())):
        text = text.replace(str(old), str(new))
    settings.write_text(text)
    return f"http://127.0.0.1:{console}"


@pytest.fixture
def ports() -> list[object]:
    """Options with free ports for console, enrolment and MQTT."""
    return ["--http-port", free_port(), "--est-port", free_port(), "--mqtt-port", free_port()]


class Serving:
    """`fleet serve` as a process."""

    def __init__(self, command: Command, *arguments: object) -> None:
        self.ready_file = command.folder / "ready.json"
        self.ready_file.unlink(missing_ok=True)
        argv: list[str | Path] = [BIN / "fleet", "serve", "--data", command.data, "--ready-file", self.ready_file, *map(str, arguments)]
        self.process = ServerProcess("fleet", argv, log=command.folder / "serve.log")
        self.process.start(is_ready=self.ready_file.exists)

    @property
    def log(self) -> str:
        return self.process.log.read_text(errors="replace")

    @property
    def ready(self) -> Any:
        return json.loads(self.ready_file.read_bytes())


@pytest.fixture
def serve(command: Command) -> Iterator[Callable[..., Serving]]:
    """Start servers: `serve(*arguments)`; they end with the test."""
    started: list[Serving] = []

    def start(*arguments: object) -> Serving:
        started.append(Serving(command, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.process.stop()


@pytest.fixture(scope="session")
def pebble_program(pytestconfig: pytest.Config) -> Path:
    try:
        return find_program()
    except Unavailable as error:
        not_run(pytestconfig, "ACME server (Pebble)", str(error))


class Authority:
    """A real ACME server, and where it asks."""

    def __init__(self, folder: Path, **options: int) -> None:
        """`options` are those of `Pebble`."""
        self.folder = folder
        pki = ca.create_pki(folder / "acme-pki", "Pebble", local_root=True)
        server = ca.issue_server_certificate(pki, ["127.0.0.1"])
        (folder / "acme.pem").write_bytes(server.chain_pem)
        (folder / "acme.key.pem").write_bytes(server.key_pem)
        self.ca_file = folder / "acme-pki" / "root.pem"
        self.challenge_port = free_port()
        self.pebble = Pebble(folder, folder / "acme.pem", folder / "acme.key.pem", challenge_port=self.challenge_port, **options)
        self.pebble.start()

    @property
    def options(self) -> list[object]:
        """What `fleet init` must be told."""
        return [
            *("--console", "acme", "--email", "it@example.org", "--acme-directory", self.pebble.url),
            *("--acme-ca-file", self.ca_file, "--acme-port", self.challenge_port),
        ]


@pytest.fixture
def start_authority(pebble_program: Path, tmp_path: Path) -> Iterator[Callable[..., Authority]]:
    """Start ACME servers: `start_authority(life_s=…)`."""
    started: list[Authority] = []

    def start(**options: int) -> Authority:
        folder = tmp_path / f"authority-{len(started)}"
        folder.mkdir()
        started.append(Authority(folder, **options))
        return started[-1]

    yield start
    for authority in started:
        authority.pebble.stop()


@pytest.fixture
def authority(start_authority: Callable[..., Authority]) -> Authority:
    """One ACME server."""
    return start_authority()
