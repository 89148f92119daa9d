"""Files, systemd, status, ports, identity on disk, command line."""

import asyncio
import os
import socket
import stat
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from firmware_agent import files, sdnotify
from firmware_agent.__main__ import app
from firmware_agent.clock import RELEASED_AT_MS
from firmware_agent.contract.ids import Channel
from firmware_agent.contract.vocabulary import ClockQuality, Function, Verdict
from firmware_agent.errors import Rejected
from firmware_agent.health import HostHealth
from firmware_agent.identity.model import NotEnrolled, Record, load_identity
from firmware_agent.outbox.model import Counts
from firmware_agent.ports import ChannelMemory, SharedResources
from firmware_agent.status import (
    AgentStatus,
    ChannelStatus,
    ClockStatus,
    EventStatus,
    FunctionStatus,
    StatusFile,
    StreamStatus,
    load_status,
)
from firmware_agent.status_text import describe

NODE = "0b5e9a34-5c1d-4f0e-9c67-3c2f5d1a7e10"


def a_status(**changes: object) -> AgentStatus:
    found = AgentStatus(
        written_at_ms=1_795_485_600_000,
        pid=os.getpid(),
        agent="0.1.0",
        node_id=NODE,
        serial="SSZ-1",
        is_simulated=False,
        is_connected=True,
        session="s",
        why_not_connected="",
        since_s=5,
        clock=ClockStatus(1_795_485_600_000, ClockQuality.NTP),
        streams=[StreamStatus("6f1c2a9b0d3e4f58", 10, 7, 3, 0)],
        evicted=0,
        events=EventStatus(2, 1, 1),
        outbox_failure="",
        desired_version=0,
        desired_error="",
        heartbeat_interval_s=10.0,
        bad_messages=0,
        channels=[ChannelStatus("cam-1", "camera", "camera", False, "", [FunctionStatus(Function.LIVE, Verdict.FAILED, "http_401", 50)])],
    )
    return msgspec.structs.replace(found, **changes)


def test_file_is_replaced_whole_and_secret_from_the_first_byte(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    files.save(file, b"one", mode=0o600)
    files.save(file, b"two", mode=0o600)
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"two", 0o600)
    assert list(tmp_path.iterdir()) == [file]


def test_failed_replacement_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cert.pem"
    files.save(file, b"old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        files.save(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_systemd_hears_us(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        assert sdnotify.notify("READY=1", {"NOTIFY_SOCKET": str(path)})
        assert server.recv(100) == b"READY=1"
    assert not sdnotify.notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "gone")})
    assert not sdnotify.notify("READY=1", {})


@pytest.mark.parametrize(("text", "interval_s"), [("30000000", 15.0), ("", None), ("0", None), ("x", None)])
def test_watchdog_is_fed_twice_in_its_time(text: str, interval_s: float | None) -> None:
    assert sdnotify.watchdog_interval_s({"WATCHDOG_USEC": text}) == interval_s


def test_status_is_written_only_when_it_says_something_new(tmp_path: Path) -> None:
    file = StatusFile(tmp_path / "run" / "status.json")
    first = a_status()
    assert file.write(first)
    assert not file.write(a_status(written_at_ms=first.written_at_ms + 1_000, since_s=6))
    assert file.write(a_status(written_at_ms=first.written_at_ms + 2_000, is_connected=False))
    assert file.write(a_status(written_at_ms=first.written_at_ms + 40_000, is_connected=False))
    assert file.write(a_status(written_at_ms=5, is_connected=False)), "the clock was set back"
    assert load_status(tmp_path / "run" / "status.json").written_at_ms == 5


def test_status_in_words_says_what_matters() -> None:
    text = describe(
        a_status(is_connected=False, why_not_connected="nothing listens", outbox_failure="disk I/O error", desired_error="cam-9"),
        is_alive=False,
    )
    for part in (
        "NOT RUNNING",
        "NOT CONNECTED for 5 s: nothing listens",
        "DOES NOT TAKE",
        "refused: cam-9",
        "held 3",
        "live failed (http_401)",
    ):
        assert part in text


@pytest.mark.parametrize("content", [None, "{}", "nonsense"])
def test_status_that_cannot_be_read_is_a_clear_no(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "status.json").write_text(content)
    with pytest.raises(Rejected):
        load_status(tmp_path / "status.json")
    done = CliRunner().invoke(app, ["status", "--data", str(tmp_path)])
    assert (done.exit_code, done.stdout) == (1, "")
    assert len(done.stderr.strip().splitlines()) == 1


def test_status_of_a_dead_agent_is_status_one(tmp_path: Path) -> None:
    StatusFile(tmp_path / "status.json").write(a_status(pid=2**22 - 3))
    done = CliRunner().invoke(app, ["status", "--data", str(tmp_path)])
    assert (done.exit_code, "NOT RUNNING" in done.stdout) == (1, True)


@pytest.mark.parametrize("arguments", [["status"], ["status", "--data", "a", "--config", "b"], ["run"], ["enrol"], ["fly"]])
def test_wrong_usage_is_status_two(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, arguments).exit_code == 2


@pytest.mark.parametrize("command", ["enrol", "run", "status"])
def test_help_shows_an_example(command: str) -> None:
    assert f"zone-agent {command} " in " ".join(CliRunner().invoke(app, [command, "--help"]).stdout.split())


@pytest.mark.parametrize(
    ("record", "missing", "says"),
    [
        (None, "", "There is no identity"),
        (b"{", "", "damaged"),
        (b'{"node_id":"Node-1","serial":"S"}', "", "damaged"),
        (msgspec.json.encode(Record(NODE, "S")), "key.pem", "key.pem is missing"),
        (msgspec.json.encode(Record(NODE, "S")), "cert.pem", "cert.pem is missing"),
    ],
)
def test_incomplete_identity_says_what_to_do(tmp_path: Path, record: bytes | None, missing: str, says: str) -> None:
    for name in {"key.pem", "cert.pem"} - {missing}:
        (tmp_path / name).touch()
    if record is not None:
        (tmp_path / "node.json").write_bytes(record)
    with pytest.raises(NotEnrolled, match=rf"{says}.*zone-agent enrol"):
        load_identity(tmp_path)


def test_identity_bounds_the_clock(tmp_path: Path) -> None:
    for name in ("key.pem", "cert.pem"):
        (tmp_path / name).touch()
    start, end = RELEASED_AT_MS + 5, RELEASED_AT_MS + 500
    (tmp_path / "node.json").write_bytes(msgspec.json.encode(Record(NODE, "S", not_before_ms=start, anchor_not_after_ms=end)))
    bounds = load_identity(tmp_path).clock_bounds()
    assert (bounds.floor_ms, bounds.ceiling_ms) == (start, end)


async def test_shared_resources_are_made_once_and_closed_newest_first() -> None:
    closed: list[str] = []

    class Bus:
        def __init__(self, name: str, *, hangs: bool = False) -> None:
            self.name, self.hangs = name, hangs

        async def aclose(self) -> None:
            if self.hangs:
                await asyncio.Event().wait()
            closed.append(self.name)
            if self.name == "fails":
                raise OSError("already closed")

    resources = SharedResources()
    first = resources.get("a", lambda: Bus("a"))
    assert resources.get("a", lambda: Bus("other")) is first
    resources.get("h", lambda: Bus("h", hangs=True))
    resources.get("f", lambda: Bus("fails"))
    resources.get("plain", object)
    await resources.aclose()
    assert closed == ["fails", "a"]


def test_memory_is_bounded() -> None:
    with pytest.raises(ValueError, match="4 KiB"):
        ChannelMemory(None, Channel("c")).set("k", "x" * 5000)  # type: ignore[arg-type]  # never reached


def test_health_is_of_this_machine(tmp_path: Path) -> None:
    health = HostHealth(tmp_path)
    found = health.read(Counts(events_held=3), mono_ms=0)
    assert found.memory_percent is not None
    assert 0 < found.memory_percent <= 100
    assert (found.disk_free_mb or 0) > 0
    assert found.outbox_events == 3
    assert health.read(Counts(), mono_ms=4_999).uptime_s == 0, "figures are read at most every 5 s"
    assert HostHealth(tmp_path / "gone").read(Counts(), mono_ms=0).disk_free_mb is None
