"""The server's HTTP listeners: sockets bound before anything else starts, served in one event loop."""

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from fleet_server.errors import Rejected

REQUEST_WITHIN_S: Final = 60.0
"""A request must be here, whole, so soon after its first byte; the largest is a file of 32 MiB."""
_GRACE_S: Final = 2
_BACKLOG: Final = 2048


class PortTaken(Rejected):
    """Another program listens there."""


def bind(host: str, port: int, *, setting: str) -> socket.socket:
    """Listen on an address; `setting` names the section of the settings file it came from, which the message tells people to change.

    Raises:
        PortTaken: another program has it.
        Rejected: the address is none of this machine's, or needs rights.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio does so only for the sockets it makes itself
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(f"Port {port} on {host} is taken by another program: stop it, or change [{setting}] port.") from error
        if error.errno == errno.EACCES:
            rights = "rights that this user does not have (CAP_NET_BIND_SERVICE)"
            raise Rejected(f"Port {port} needs {rights}: grant them, or change [{setting}] port.") from error
        raise Rejected(f"Cannot listen on {host}:{port} ({error.strerror}): change [{setting}] host or port.") from error
    listener.setblocking(False)
    return listener


def certificate_context(chain: Path, key: Path) -> ssl.SSLContext:
    """Return TLS 1.2+ for a server that asks clients for no certificate.

    Raises:
        Rejected: the files are missing, unreadable, or do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(chain, key)
    except (OSError, ssl.SSLError) as error:
        raise Rejected(f"The certificate {chain} with key {key} cannot be used: {error}.") from error
    return context


class _Punctual(H11Protocol):
    """Drops who does not bring a whole request in time: nobody shall hold a place here by sending slowly, or nothing."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._relax()

    def _watch(self) -> None:
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._relax()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(REQUEST_WITHIN_S, self.transport.abort)

    def _relax(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _is_worth_saying(record: logging.LogRecord) -> bool:
    """A request that is cut off because the server stops, such as a program's feed, is no error."""
    return record.exc_info is None or not isinstance(record.exc_info[1], asyncio.CancelledError)


class Listener(uvicorn.Server):
    """One application on one socket. Leaves signals to the process, which stops all listeners together."""

    def __init__(self, app: Any, bound: socket.socket, *, tls: ssl.SSLContext | None = None) -> None:
        """`app` is an ASGI application."""
        config = uvicorn.Config(
            app,
            http=_Punctual,
            ws="none",
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=_GRACE_S,
            server_header=False,
            # Before plain http on loopback there may be a proxy that says who asks; what speaks TLS itself believes nobody's word.
            proxy_headers=tls is None,
        )
        config.load()
        logging.getLogger("uvicorn.error").addFilter(_is_worth_saying)
        config.ssl = tls
        super().__init__(config)
        self._bound = bound
        self.answers: Final = asyncio.Event()
        """Set once it takes connections."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        await super().startup(sockets)
        self.answers.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """See uvicorn: nothing is captured."""
        yield

    async def run_until_stopped(self) -> None:
        """Serve until `should_exit` is set or the task is cancelled."""
        try:
            await self.serve(sockets=[self._bound])
        finally:
            self._bound.close()
