"""Ports that cannot be taken, certificates that cannot be used, and what a listener leaves out of the log."""

import asyncio
import errno
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from fleet_server import listeners
from fleet_server.errors import Rejected
from fleet_server.listeners import Listener, PortTaken, bind, certificate_context
from provisioning import ca


async def app(scope: object, receive: object, send: object) -> None:
    """Answers 200 to everything. The ASGI types are not worth their length here."""
    await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[operator]  # see above
    await send({"type": "http.response.body", "body": b"ok"})  # type: ignore[operator]  # see above


def test_taken_port_names_the_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(PortTaken, match=r"\[est\] port"):
        bind("127.0.0.1", other.getsockname()[1], setting="est")


def test_small_packets_do_not_wait_for_each_other() -> None:
    """A piece of a feed would be held back for the 40 ms until the browser confirms the piece before it."""
    with bind("127.0.0.1", 0, setting="http") as listener, socket.create_connection(listener.getsockname()):
        listener.setblocking(True)
        with listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "no-such-host.invalid"])
def test_address_of_another_machine(host: str) -> None:
    with pytest.raises(Rejected, match=r"\[http\] host"):
        bind(host, 0, setting="http")


def test_port_that_needs_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(Rejected, match=r"CAP_NET_BIND_SERVICE.*\[http\] port"):
        bind("127.0.0.1", 81, setting="http")


def test_certificate_that_cannot_be_used(tmp_path: Path) -> None:
    pki = ca.create_pki(tmp_path / "pki", "Test", local_root=True)
    for name in ("a", "b"):
        made = ca.issue_server_certificate(pki, ["127.0.0.1"])
        (tmp_path / f"{name}.pem").write_bytes(made.chain_pem)
        (tmp_path / f"{name}.key").write_bytes(made.key_pem)
    assert certificate_context(tmp_path / "a.pem", tmp_path / "a.key").minimum_version >= 0x0303
    for chain, key in (("a.pem", "b.key"), ("a.pem", "none"), ("none", "a.key"), ("a.key", "a.key")):
        with pytest.raises(Rejected, match="cannot be used"):
            certificate_context(tmp_path / chain, tmp_path / key)


async def test_serves_until_it_is_told_to_stop() -> None:
    bound = bind("127.0.0.1", 0, setting="http")
    listener = Listener(app, bound)
    running = asyncio.ensure_future(listener.run_until_stopped())
    await asyncio.wait_for(listener.answers.wait(), 30)
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"http://127.0.0.1:{bound.getsockname()[1]}/")).text == "ok"
    listener.should_exit = True
    await asyncio.wait_for(running, 30)
    assert bound.fileno() == -1


@pytest.mark.parametrize(("is_tls", "address"), [(True, "127.0.0.1"), (False, "192.0.2.7")])
async def test_only_a_proxy_before_plain_http_says_who_asks(tmp_path: Path, is_tls: bool, address: str) -> None:
    made = ca.issue_server_certificate(ca.create_pki(tmp_path / "pki", "Test", local_root=True), ["127.0.0.1"])
    (tmp_path / "chain.pem").write_bytes(made.chain_pem)
    (tmp_path / "key.pem").write_bytes(made.key_pem)
    bound = bind("127.0.0.1", 0, setting="est")
    context = certificate_context(tmp_path / "chain.pem", tmp_path / "key.pem") if is_tls else None
    listener = Listener(tell_who_asks, bound, tls=context)
    running = asyncio.ensure_future(listener.run_until_stopped())
    await asyncio.wait_for(listener.answers.wait(), 30)
    async with httpx.AsyncClient(verify=False) as client:  # it is our own
        url = f"{'https' if is_tls else 'http'}://127.0.0.1:{bound.getsockname()[1]}/"
        assert (await client.get(url, headers={"X-Forwarded-For": "192.0.2.7"})).text == address
    listener.should_exit = True
    await asyncio.wait_for(running, 30)


async def tell_who_asks(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the address of the client."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["client"][0].encode()})


@pytest.fixture
async def impatient(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """A listener that waits for a request for a moment only; its port."""
    monkeypatch.setattr(listeners, "REQUEST_WITHIN_S", 0.2)
    bound = bind("127.0.0.1", 0, setting="http")
    listener = Listener(answer_after_the_body, bound)
    running = asyncio.ensure_future(listener.run_until_stopped())
    await asyncio.wait_for(listener.answers.wait(), 30)
    yield bound.getsockname()[1]
    listener.should_exit = True
    await asyncio.wait_for(running, 30)


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: fleet\r\nX-Slow: ",
        b"POST / HTTP/1.1\r\nHost: fleet\r\nContent-Length: 999\r\n\r\nhalf",
        b"POST / HTTP/1.1\r\nHost: fleet\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"GET / HTTP/1.1\r\nHost: fleet\r\n\r\nGET / HTTP/1.1\r\nHo",
    ],
)
async def test_who_does_not_finish_a_request_is_dropped(impatient: int, begun: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", impatient)
    trickle = asyncio.ensure_future(_trickle(writer, begun))
    with suppress(ConnectionError):
        async with asyncio.timeout(30):
            await reader.read()
    trickle.cancel()
    writer.close()


async def test_who_asked_may_wait_for_the_answer_and_ask_again(impatient: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", impatient)
    for _ in range(2):
        writer.write(b"POST / HTTP/1.1\r\nHost: fleet\r\nX-Answer-After: 0.5\r\nContent-Length: 4\r\n\r\nbody")
        async with asyncio.timeout(30):
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
    writer.close()


async def _trickle(writer: asyncio.StreamWriter, begun: bytes) -> None:
    writer.write(begun)
    while begun:
        await asyncio.sleep(0.05)
        writer.write(b"x" if b"chunked" not in begun else b"1\r\nx\r\n")


async def answer_after_the_body(scope: Any, receive: Any, send: Any) -> None:
    """Answers 200 when it has the body and the time has passed that the request asks for."""
    message = {"more_body": True}
    while message.get("more_body"):
        message = await receive()
    await asyncio.sleep(float(dict(scope["headers"]).get(b"x-answer-after", b"0")))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def test_cut_off_requests_are_not_errors() -> None:
    bound = bind("127.0.0.1", 0, setting="http")
    Listener(app, bound)
    bound.close()
    log = logging.getLogger("uvicorn.error")
    kept = _Kept()
    log.addHandler(kept)
    for error in (asyncio.CancelledError(), ValueError("a defect")):
        log.error("Exception in ASGI application", exc_info=error)
    log.removeHandler(kept)
    assert [type(record.exc_info[1]) for record in kept.records if record.exc_info] == [ValueError]


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
