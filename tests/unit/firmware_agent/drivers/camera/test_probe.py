"""Answers are shaped as published logs show them for real makers (names, realms and nonces invented); outcomes on real sockets."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from firmware_agent.drivers.camera.probe import probe
from firmware_agent.drivers.camera.settings import CameraSettings, Target
from firmware_agent.errors import ConfigurationError
from hil.simulators.rtsp import CameraSimulator

ANSWERS = Path(__file__).parent / "answers"
TIMEOUT_S = 5.0


def target(url: str, *, user: str = "", password: str = "", password_file: str = "") -> Target:
    return Target(CameraSettings(url=url, user=user, password=password, password_file=password_file))


def answers(name: str) -> list[bytes]:
    """Return the answers of one maker in the order they are given, from a file where `----` stands between them."""
    parts = (ANSWERS / f"{name}.txt").read_text(encoding="ascii").split("----\n")
    return [_framed(part) for part in parts]


def _framed(text: str) -> bytes:
    head, _, body = text.partition("\n\n")
    head_bytes, body_bytes = head.strip("\n").replace("\n", "\r\n").encode(), body.replace("\n", "\r\n").encode()
    length = f"\r\nContent-Length: {len(body_bytes)}".encode() if body_bytes else b""
    return head_bytes + length + b"\r\n\r\n" + body_bytes


@asynccontextmanager
async def scripted(replies: Sequence[bytes], *, hangs_up_after: int = 0) -> AsyncIterator[tuple[str, list[str]]]:
    """Serve these replies one after the other, over as many connections as it takes; give the URL and what was asked."""
    asked: list[str] = []
    handlers: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        try:
            while True:
                asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
                writer.write(replies[len(asked) - 1])
                if len(asked) == hangs_up_after:
                    break
        except (asyncio.IncompleteReadError, OSError):
            pass
        writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    try:
        yield f"rtsp://127.0.0.1:{server.sockets[0].getsockname()[1]}/Streaming/Channels/102", asked
    finally:
        server.close()
        await asyncio.wait(handlers, timeout=10)


@pytest.mark.parametrize("maker", ["digest_and_basic", "options_needs_password", "live555", "absolute_controls"])
async def test_makers(maker: str) -> None:
    async with scripted(answers(maker)) as (url, asked):
        found = await probe(target(url, user="admin", password="s3cret"), timeout_s=TIMEOUT_S)
    assert found.cause == ""
    assert found.rtt_ms is not None
    assert [request.split(" ")[0] for request in asked] == ["OPTIONS", "DESCRIBE", "DESCRIBE"]
    assert f'uri="{url}"' in asked[-1]
    assert "s3cret" not in "".join(asked)


async def test_a_camera_that_hangs_up_after_its_challenge() -> None:
    async with scripted(answers("live555"), hangs_up_after=2) as (url, asked):
        found = await probe(target(url, user="admin", password="s3cret"), timeout_s=TIMEOUT_S)
    assert found.cause == ""
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("replies", "cause"),
    [
        ([b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n", b"RTSP/1.0 404 Not Found\r\n\r\n"], "http_404"),
        ([b"RTSP/1.0 200 OK\r\n\r\n", b"RTSP/1.0 503 Service Unavailable\r\n\r\n"], "http_503"),
        ([b"RTSP/1.0 200 OK\r\n\r\n", b"RTSP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nv=0\r\n"], "no_video"),
        ([b"HTTP/1.1 200 OK\r\n\r\n"], "bad_reply"),
        ([b"SSH-2.0-dropbear\r\n\r\n"], "bad_reply"),
        ([b"RTSP/1.0 200 OK\r\n\r\n", b"RTSP/1.0 " + b"9" * 80 + b" No\r\n\r\n"], "bad_reply"),
        ([b"RTSP/1.0 200 OK\r\nContent-Length: 99999999\r\n\r\n"], "bad_reply"),
        ([b"RTSP/1.0 200 OK\r\nContent-Length: many\r\n\r\n"], "bad_reply"),
        ([b"x" * 100_000], "bad_reply"),
        ([b"RTSP/1.0 200 OK\r\n\r\n", b"RTSP/1.0 401 Unauthorized\r\nWWW-Authenticate: Digest " + b"a" * 9_000 + b"\r\n\r\n"], "bad_reply"),
        ([b"RTSP/1.0 200 OK\r\nContent-Length: 10\r\n\r\nabc"], "silent"),
    ],
)
async def test_bad_answers_are_told_apart(replies: list[bytes], cause: str) -> None:
    async with scripted(replies) as (url, _):
        assert (await probe(target(url), timeout_s=0.5)).cause == cause


async def test_hanging_up_is_not_silence() -> None:
    async with scripted([b""], hangs_up_after=1) as (url, _):
        assert (await probe(target(url), timeout_s=TIMEOUT_S)).cause == "closed"


async def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert (await probe(target(f"rtsp://127.0.0.1:{port}/x"), timeout_s=TIMEOUT_S)).cause == "refused"


async def test_no_such_host() -> None:
    assert (await probe(target("rtsp://no.such.host.invalid/x"), timeout_s=30)).cause in ("unreachable", "timeout")
    assert (await probe(target("rtsp://no..such/x"), timeout_s=30)).cause == "unreachable"


async def test_a_full_backlog_is_a_timeout() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        found = await probe(target(f"rtsp://127.0.0.1:{full.getsockname()[1]}/x"), timeout_s=0.5)
        for one in waiting:
            one.close()
    assert found.cause == "timeout"


@pytest.mark.parametrize(
    ("fault", "args", "cause"), [("ok", {}, ""), ("silent", {}, "silent"), ("dead", {}, "refused"), ("status", {"code": 503}, "http_503")]
)
async def test_the_simulated_camera(fault: str, args: dict[str, int], cause: str) -> None:
    async with CameraSimulator() as camera:
        url = camera.url
        await camera.fault(fault, **args)
        assert (await probe(target(url), timeout_s=0.5 if fault == "silent" else TIMEOUT_S)).cause == cause


@pytest.mark.parametrize(("user", "password", "cause"), [("", "", "http_401"), ("admin", "wrong", "http_401"), ("admin", "päss:w@rd", "")])
async def test_passwords(user: str, password: str, cause: str) -> None:
    async with CameraSimulator(user="admin", password="päss:w@rd") as camera:
        assert (await probe(target(camera.url, user=user, password=password), timeout_s=TIMEOUT_S)).cause == cause


def test_credentials_are_kept_apart_from_the_address(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("p@ss\n")
    apart = target("rtsp://cam.example/live?x=1", user="admin", password_file=str(secret))
    assert (apart.uri, apart.user, apart.password) == ("rtsp://cam.example:554/live?x=1", "admin", "p@ss")
    assert apart.secret_url == "rtsp://admin:p%40ss@cam.example:554/live?x=1"
    inside = target("rtsp://admin:p%40ss@[2001:db8::1]:8554/live")
    assert (inside.uri, inside.user, inside.password) == ("rtsp://[2001:db8::1]:8554/live", "admin", "p@ss")


@pytest.mark.parametrize(
    "make",
    [
        lambda: target("http://x/"),
        lambda: target("rtsp:///x"),
        lambda: target("rtsp://x:99999/"),
        lambda: target("rtsp://[2001:db8::1/live"),
        lambda: target("rtsp://x/", password_file="/nowhere"),
        lambda: target("rtsp://x/", password_file="no\0file"),
        lambda: target("rtsp://x/", password_file=sys.executable),
    ],
)
def test_wrong_targets_are_named(make: Callable[[], Target]) -> None:
    with pytest.raises(ConfigurationError, match=r"url|password_file"):
        make()


def test_a_password_that_breaks_the_address_is_not_quoted() -> None:
    """What is wrong is told to the server, logged, and shown in status.json."""
    with pytest.raises(ConfigurationError) as refused:
        target("rtsp://admin:Secret/1@10.0.0.5/live")
    assert "Secret" not in str(refused.value)
    assert refused.value.__cause__ is None
