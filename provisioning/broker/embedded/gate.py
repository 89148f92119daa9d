"""The gate: listens with mutual TLS, admits clients, and stands between each of them and the router as long as it is connected.

It trusts neither side. What a client sends is checked packet by packet before the router sees it; what the router sends is checked again
before the client sees it. One connection per identity: a newer one ends the older one first.
"""

import asyncio
import logging
import socket
import ssl
from typing import Final

from provisioning.broker.embedded.identity import Trust, load_trust
from provisioning.broker.embedded.link import Link, Refused, close_stream
from provisioning.broker.embedded.packets import Kind, Malformed, Packet, Splitter, read_connect, write_refusal
from provisioning.broker.embedded.router import Router
from provisioning.broker.embedded.rules import objection
from provisioning.broker.embedded.settings import EmbeddedSettings
from provisioning.errors import ProvisioningError, Untrusted

_NOT_AUTHORISED: Final = 5
_CHUNK: Final = 65_536
_FIRST_BYTE: Final = Kind.CONNECT << 4

_log = logging.getLogger(__name__)


class Gate:
    """The listener and all its connections."""

    def __init__(self, settings: EmbeddedSettings, router: Router) -> None:
        """Read certificates and lists.

        Raises:
            Missing: a file is not there.
            Rejected: a file holds something else than it should.
        """
        self._settings = settings
        self._router = router
        self._trust: Trust = load_trust(settings)
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._links: dict[str, Link] = {}
        self._pending = 0

    async def start(self) -> int:
        """Listen; return the port.

        Raises:
            OSError: the address cannot be had.
        """
        host = self._settings.host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, self._settings.port), family=family, backlog=512)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio does so only for the sockets it makes itself
        await self._listen()
        return int(self._socket.getsockname()[1])

    async def reload(self) -> None:
        """Read certificates and lists again, and end connections whose certificate is over. With bad files all stays as it is."""
        try:
            self._trust = await asyncio.to_thread(load_trust, self._settings)
        except ProvisioningError as error:
            _log.error("Nothing reloaded: %s", error)  # the sentence says it all
            return
        await self._listen()
        for link in list(self._links.values()):
            if self._trust.is_over(link.certificate):
                _log.warning("Refused: %s", "the certificate was revoked or has expired", extra={"peer": link.peer})
                link.close()
        _log.info("Certificates and lists reloaded")

    def stop(self) -> None:
        """Listen no more and drop all connections."""
        if self._server is not None:
            self._server.close()
        for link in list(self._links.values()):
            link.close()

    async def _listen(self) -> None:
        """Listen with what is trusted now. The socket stays the same, so that no connection is refused in between."""
        assert self._socket is not None, "the gate was not started"
        previous, timeout_s = self._server, self._settings.connect_timeout_s
        self._server = await asyncio.start_server(
            self._on_client,
            sock=self._socket.dup(),
            ssl=self._trust.context,
            ssl_handshake_timeout=timeout_s,
            ssl_shutdown_timeout=1.0,
        )
        if previous is not None:
            previous.close()

    async def _on_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = str((writer.get_extra_info("peername") or ("?",))[0])
        try:
            link = await self._admit(reader, writer, peer)
        except (Refused, Malformed, Untrusted) as error:
            _log.warning("Refused: %s", str(error), extra={"peer": peer})
        except TimeoutError:
            _log.warning("Refused: %s", "no CONNECT in time", extra={"peer": peer})
        except OSError:
            pass  # it went away by itself
        else:
            await self._serve(link)
        finally:
            await close_stream(writer)

    async def _admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str) -> Link:
        """Find out who it is and read its CONNECT, within bounds of time and size."""
        if self._pending + len(self._links) >= self._settings.max_connections:
            raise Refused("too many connections")
        self._pending += 1
        try:
            certificate = _certificate(writer)
            who = self._trust.identify(certificate)
            splitter = Splitter(self._settings.max_packet_bytes)
            async with asyncio.timeout(self._settings.connect_timeout_s):
                connect = read_connect(await _first_packet(reader, splitter))
        finally:
            self._pending -= 1
        refusal = objection(who, connect)
        if refusal is not None:
            writer.write(write_refusal(_NOT_AUTHORISED))
            raise Refused(f"{who.name}: {refusal}")
        return Link(who, certificate, connect, reader, writer, splitter, router=self._router, peer=peer)

    async def _serve(self, link: Link) -> None:
        name = link.who.name
        while (older := self._links.get(name)) is not None:
            await older.end()
        self._links[name] = link
        try:
            await link.serve()
        finally:
            del self._links[name]
            link.is_gone.set()


def _certificate(writer: asyncio.StreamWriter) -> bytes:
    tls: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
    certificate = tls.getpeercert(binary_form=True) if tls is not None else None
    if certificate is None:
        raise Untrusted("no client certificate")
    return certificate


async def _first_packet(reader: asyncio.StreamReader, splitter: Splitter) -> Packet:
    while (packet := splitter.next()) is None:
        data = await reader.read(_CHUNK)
        if not data:
            raise ConnectionResetError("it left before its CONNECT")
        if splitter.is_empty and data[0] != _FIRST_BYTE:
            raise Malformed("the first packet is no CONNECT")
        splitter.feed(data)
    return packet
