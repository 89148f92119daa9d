"""`fleet serve` as a process: what stops it from starting, what it outlives, how it ends."""

import os
import resource
import signal
import socket
import sqlite3
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.integration.installation.conftest import Command, Serving


def test_nothing_to_serve(command: Command) -> None:
    assert f"fleet init --data {command.data}" in command.fails("fleet", "serve")


def test_ready_and_status(command: Command, installed: str, serve: Callable[..., Serving]) -> None:
    assert "No server answers" in command.fails("fleet", "status")
    ready = serve().ready
    assert ready["console_url"] == installed
    status = command.json("fleet", "status")
    assert status["ready"]
    assert set(status["checks"]) == {"database", "ingest", "crl"}
    metrics = httpx.get(f"{ready['console_url']}/metrics").text
    assert 'ssz_enrolment_refusals_total{cause="wrong_code"} 0.0' in metrics
    (left,) = (float(line.split()[1]) for line in metrics.splitlines() if line.startswith("ssz_crl_left_seconds "))
    assert 6 * 86_400 < left <= 7 * 86_400


def test_old_news_is_purged_and_who_missed_it_is_told(command: Command, installed: str, serve: Callable[..., Serving]) -> None:
    now_ms = int(time.time() * 1000)
    moments = [now_ms - 8 * 86_400_000] * 1200 + [now_ms]
    with sqlite3.connect(command.data / "fleet.db") as connection:
        row = "INSERT INTO change (at_ms, unit_path, kind, subject, data) VALUES (?, '/', 'position', 'LMP-1', '{}')"
        connection.executemany(row, [(at_ms,) for at_ms in moments])
    connection.close()
    token = command.json("fleet", "token", "create", "test")["token"]
    server = serve()
    _until(lambda: "1200 rows of changes were purged" in server.log)
    metrics = httpx.get(f"{installed}/metrics").text
    for data, rows in (("changes", 1200), ("sessions", 0), ("time_series", 0)):
        assert f'ssz_purged_rows_total{{data="{data}"}} {rows}.0' in metrics
    with httpx.Client(base_url=f"{installed}/api/v1", headers={"Authorization": f"Bearer {token}"}, timeout=20) as client:
        assert client.get("/changes", params={"after": 1200}).is_success
        assert client.get("/changes", params={"after": 1199}).status_code == 410
        assert client.get("/changes/stream", headers={"Last-Event-ID": "1199"}).status_code == 410


def test_plain_http_for_other_machines_is_said_at_each_start(command: Command, installed: str, serve: Callable[..., Serving]) -> None:
    settings = command.data / "fleet.toml"
    settings.write_text(settings.read_text().replace(f'public_url = "{installed}"', 'public_url = "http://fleet.example"'))
    assert "http://fleet.example is plain http" in serve().log


def test_connections_are_as_many_as_the_system_allows(command: Command, installed: str, serve: Callable[..., Serving]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, hard), hard))
    try:
        server = serve()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)


def test_second_server_on_the_same_folder(command: Command, installed: str, serve: Callable[..., Serving]) -> None:
    first = serve()
    said = command.fails("fleet", "serve")
    assert f"process {first.process.pid}" in said
    assert httpx.get(f"{first.ready['console_url']}/healthz").is_success
    first.process.kill()
    serve()  # nothing is left behind that would keep it from starting


@pytest.mark.parametrize(("section", "key"), [("http", "port"), ("est", "port"), ("broker", "port")])
def test_taken_port(command: Command, installed: str, section: str, key: str) -> None:
    import tomllib

    port = tomllib.loads((command.data / "fleet.toml").read_text())[section][key]
    with socket.create_server(("127.0.0.1", port)):
        said = command.fails("fleet", "serve")
    assert str(port) in said
    assert "taken" in said or "in use" in said


def test_address_of_another_machine(command: Command, installed: str) -> None:
    settings = command.data / "fleet.toml"
    settings.write_text(settings.read_text().replace('[http]\nhost = "127.0.0.1"', '[http]\nhost = "192.0.2.1"'))
    assert "[http]" in command.fails("fleet", "serve")


def test_database_of_a_later_version(command: Command, installed: str) -> None:
    with sqlite3.connect(command.data / "fleet.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'later'")
    connection.close()
    assert "later" in command.fails("fleet", "serve")
    assert "later" in command.fails("fleet", "account", "disable", "admin")


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("fleet.toml", "[http]\nprot = 1\n", "prot"),
        ("pki/server/key.pem", None, "key.pem"),
        ("pki/server-ca.pem", "rubbish", "server-ca.pem"),
        ("secrets/claim-key", None, "claim-key"),
        ("secrets/claim-key", "half of it", "claim-key"),
        ("fleet.db", "this is no database", "database"),
    ],
)
def test_damaged_installation(command: Command, installed: str, file: str, content: str | None, says: str) -> None:
    path = command.data / file
    assert path.exists()
    for rest in command.data.glob("fleet.db-*"):
        rest.unlink()
    path.unlink() if content is None else path.write_text(content)
    assert says in command.fails("fleet", "serve")


def test_ends_within_seconds_with_a_feed_open(command: Command, installed: str, serve: Callable[..., Serving]) -> None:
    token = command.json("fleet", "token", "create", "test")["token"]
    server = serve()
    with (
        httpx.Client(base_url=server.ready["console_url"], headers={"Authorization": f"Bearer {token}"}, timeout=20) as client,
        client.stream("GET", "/api/v1/changes/stream") as feed,
    ):
        assert feed.is_success
        begin = time.monotonic()
        server.process.send(signal.SIGTERM)
        server.process.stop(within_s=20)
        took_s = time.monotonic() - begin
    assert took_s < 15, took_s  # 5 s on a machine that has nothing else to do
    assert "Traceback" not in server.log


def test_broker_that_dies_is_started_again(command: Command, installed: str, serve: Callable[..., Serving]) -> None:
    server = serve()
    (broker,) = _children(server.process.pid, "provisioning.broker.embedded")
    os.kill(broker, signal.SIGKILL)
    _until(lambda: "started again" in server.log)
    _until(lambda: _children(server.process.pid, "provisioning.broker.embedded") not in ([], [broker]))
    _until(lambda: bool(httpx.get(f"{server.ready['console_url']}/readyz").is_success))


def test_part_that_fails_ends_the_server_with_one_sentence(command: Command, installed: str) -> None:
    program = (
        "import sys\n"
        "from fleet_server.telemetry.service import Telemetry\n"
        "async def run(self):\n"
        "    {act}\n"
        "Telemetry.run = run\n"
        "from fleet_server.__main__ import app\n"
        "app()\n"
    )
    for act, says in (("raise ValueError('out of cheese')", "ValueError: out of cheese"), ("return", "telemetry")):
        done = _python(command, program.format(act=act), "serve", "--data", str(command.data))
        assert done.returncode == 1
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("fleet: The server stopped because a part of it")
        assert says in last


def test_certificate_that_changes_is_served_without_a_restart(
    command: Command, ports: list[object], serve: Callable[..., Serving], tmp_path: Path
) -> None:
    command.json("fleet", "init", "--console", "own", *ports)
    server = serve()
    url = httpx.URL(server.ready["console_url"])
    before = _served(url)
    done = command("fleet-ca", "issue-server", "127.0.0.1", "--dir", command.data / "pki", "--out", command.data / "pki" / "console")
    assert done.returncode == 0, done.stderr
    _until(lambda: _served(url) != before, within_s=60)


def _served(url: httpx.URL) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((url.host, url.port or 443), timeout=10) as raw, context.wrap_socket(raw) as secured:
        return secured.getpeercert(binary_form=True) or b""


def _python(command: Command, program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    import sys

    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120, check=False
    )


def _children(pid: int, words: str) -> list[int]:
    import psutil  # type: ignore[import-untyped]  # it ships no types

    return [child.pid for child in psutil.Process(pid).children(recursive=True) if words in " ".join(child.cmdline())]


def _until(condition: Callable[[], bool], *, within_s: float = 30) -> None:
    give_up_at = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up_at, "it did not happen"
        time.sleep(0.1)
