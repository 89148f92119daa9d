"""One admitted client: what it sends is checked before the router sees it, and what the router sends before the client does."""

import asyncio
import logging
import time
from contextlib import suppress
from typing import Final

from amqtt.adapters import ReaderAdapter, WriterAdapter

from provisioning.broker.embedded.packets import (
    Connect,
    Kind,
    Malformed,
    Packet,
    Splitter,
    check_short,
    read_publish_topic,
    read_subscriptions,
    read_unsubscriptions,
    write_connect,
)
from provisioning.broker.embedded.router import Router
from provisioning.broker.embedded.rules import Identity, may_publish, may_receive, may_retain, may_subscribe

_CHUNK: Final = 65_536
_RETAIN: Final = 0x01
_WRITE_TIMEOUT_S: Final = 10.0
_GONE_WITHIN_S: Final = 3.0
_LONGEST_SILENCE_S: Final = 900.0
"""For clients that ask for no keep-alive."""

_log = logging.getLogger(__name__)


class Refused(Exception):
    """A client does what it may not; the message says what."""


class Link:
    """One admitted client."""

    def __init__(
        self,
        who: Identity,
        certificate: bytes,
        connect: Connect,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        splitter: Splitter,
        *,
        router: Router,
        peer: str,
    ) -> None:
        self.who: Final = who
        self.certificate: Final = certificate
        self.peer: Final = peer
        self.is_gone: Final = asyncio.Event()
        self._connect = connect
        self._stream = reader
        self._writer = writer
        self._splitter = splitter
        self._router = router
        self._is_closed = False
        self._task: asyncio.Task[object] | None = None
        # §3.1.2.10: one and a half times the keep-alive, counted from the last whole packet, so that trickling bytes do not count.
        self._silence_s = 1.5 * connect.keep_alive_s or _LONGEST_SILENCE_S
        self._heard_at_s = time.monotonic()

    async def serve(self) -> None:
        """Let the router serve it until it is gone."""
        self._task = asyncio.current_task()
        # The router gets a CONNECT in our words: the name is the certificate's, and keep-alive is our business.
        connect = Connect(
            client_id=self.who.name, username=self.who.name, is_clean=self._connect.is_clean, keep_alive_s=0, will=self._connect.will
        )
        try:
            await self._router.serve(self.who.name, _Reader(self, write_connect(connect)), _Writer(self))
        except asyncio.CancelledError:
            raise
        except Exception:  # noqa: BLE001  # the router failed for this client; the others go on
            _log.exception("Serving %s failed", self.who.name)

    async def end(self) -> None:
        """Close it and wait until the router has let go of it."""
        self.close()
        try:
            async with asyncio.timeout(_GONE_WITHIN_S):
                await self.is_gone.wait()
        except TimeoutError:
            if self._task is not None:
                self._task.cancel()
            await self.is_gone.wait()

    def close(self) -> None:
        """Drop the connection; the router then sees its end."""
        self._is_closed = True
        self._writer.transport.abort()

    async def next_packet(self) -> bytes:
        """Return the next packet that this client may send; nothing when the connection is over."""
        try:
            packet = await self._receive()
            if packet is not None:
                self._check(packet)
        except (Malformed, Refused) as error:
            self._refuse(str(error))
            packet = None
        if packet is None or packet.kind is Kind.DISCONNECT:
            await self._settle()
        elif packet.kind is Kind.PUBLISH and not self.who.is_service:
            await self._hold_back()
        return packet.raw if packet is not None else b""

    def send(self, data: bytes) -> None:
        """Send one packet of the router's, unless it is a message that this client may not have.

        Seen: amqtt gives a client that connects the retained messages of *all* subscriptions, those of other clients included.
        """
        if self._is_closed:
            return
        if data[0] >> 4 == Kind.PUBLISH:
            splitter = Splitter(len(data))
            splitter.feed(data)
            packet = splitter.next()
            if packet is None or not may_receive(self.who, read_publish_topic(packet)):
                return
        self._writer.write(data)

    async def drain(self) -> None:
        """Wait until the client has taken most of what was sent; a client that does not read is dropped."""
        if self._is_closed:
            return
        try:
            async with asyncio.timeout(_WRITE_TIMEOUT_S):
                await self._writer.drain()
        except TimeoutError as error:
            self._refuse("does not read what it is sent")
            raise ConnectionResetError from error

    async def finish(self) -> None:
        """Send what is left and close."""
        self._is_closed = True
        await close_stream(self._writer)

    @property
    def address(self) -> tuple[str, int]:
        """The client's address, for the router's log."""
        return self.peer, 0

    def _refuse(self, reason: str) -> None:
        _log.warning("Refused: %s: %s", self.who.name, reason, extra={"peer": self.peer})
        self.close()

    async def _receive(self) -> Packet | None:
        while not self._is_closed:
            packet = self._splitter.next()
            if packet is not None:
                self._heard_at_s = time.monotonic()
                return packet
            try:
                async with asyncio.timeout(max(self._heard_at_s + self._silence_s - time.monotonic(), 0)):
                    data = await self._stream.read(_CHUNK)
            except (TimeoutError, OSError):
                return None
            if not data:
                return None
            self._splitter.feed(data)
        return None

    def _check(self, packet: Packet) -> None:
        match packet.kind:
            case Kind.PUBLISH:
                topic = read_publish_topic(packet)
                if not may_publish(self.who, topic):
                    raise Refused("publishes on a topic that is not its own")
                if packet.flags & _RETAIN and not may_retain(self.who, topic):
                    raise Refused("wants more retained than its status")
            case Kind.SUBSCRIBE:
                if not all(may_subscribe(self.who, s.topic_filter) for s in read_subscriptions(packet)):
                    raise Refused("subscribes to topics that are not its own")
            case Kind.UNSUBSCRIBE:
                read_unsubscriptions(packet)
            case Kind.PUBACK | Kind.PINGREQ | Kind.DISCONNECT:
                check_short(packet)
            case _:
                raise Refused(f"sends a {packet.kind.name}, which a connected client must not")

    async def _hold_back(self) -> None:
        """Read no further while the router is busy; TCP then slows the client down."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_WRITE_TIMEOUT_S):
                while self._router.is_busy(self.who.name):  # noqa: ASYNC110  # amqtt tells no events of its queues
                    await asyncio.sleep(0.01)

    async def _settle(self) -> None:
        """Let the router pass on what this client has sent, before it learns that the client is leaving."""
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                while not self._router.has_passed_on(self.who.name):  # noqa: ASYNC110  # likewise
                    await asyncio.sleep(0.005)
        await asyncio.sleep(0.005)


class _Reader(ReaderAdapter):
    """The client's side, as amqtt reads it: one checked packet after the other."""

    def __init__(self, link: Link, first: bytes) -> None:
        self._link = link
        self._packet = first
        self._at = 0

    async def read(self, n: int = -1) -> bytes:
        if n == 0:
            return b""
        if self._at == len(self._packet):
            self._packet, self._at = await self._link.next_packet(), 0
        end = len(self._packet) if n < 0 else self._at + n
        data = self._packet[self._at : end]
        self._at += len(data)
        return data

    def feed_eof(self) -> None:
        self._link.close()


class _Writer(WriterAdapter):
    """The client's side, as amqtt writes it. Of TLS it learns nothing."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def write(self, data: bytes) -> None:
        self._link.send(bytes(data))

    async def drain(self) -> None:
        await self._link.drain()

    def get_peer_info(self) -> tuple[str, int]:
        return self._link.address

    def get_ssl_info(self) -> None:
        return None

    async def close(self) -> None:
        await self._link.finish()


async def close_stream(writer: asyncio.StreamWriter) -> None:
    """Send what is left and close; drop it where the other side does not take part."""
    with suppress(OSError, TimeoutError, RuntimeError):
        writer.close()
        async with asyncio.timeout(2.0):
            await writer.wait_closed()
    writer.transport.abort()
