"""One MQTT connection, from connect to loss, over paho's network thread. Single use: a new session is a new `Link`.

paho calls back on its own thread, partly while it holds a mutex; callbacks here only hand over to the event loop, and never
take a lock. paho's queue is RAM only, so nothing is entrusted to it: what must arrive waits in the outbox.
"""

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, LogLevel
from paho.mqtt.reasoncodes import ReasonCode

from firmware_agent.clock import Clock
from firmware_agent.contract.ids import NodeId
from firmware_agent.contract.messages import MAX_MESSAGE_BYTES
from firmware_agent.errors import Transient
from firmware_agent.uplink.explain import alert, explain

_CONNECT_TIMEOUT_S: Final = 10.0
_IN_FLIGHT: Final = 20
_INBOX: Final = 1000

_log = logging.getLogger(__name__)


class LinkDown(Transient):
    """There is no connection, or it was lost; the message says why."""


@dataclass(frozen=True)
class Server:
    """Where and how to connect."""

    host: str
    port: int
    keepalive_s: int = 20
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    """All three None: plain MQTT (test benches only)."""

    @property
    def where(self) -> str:
        """For people."""
        return f"{self.host}:{self.port}"


class Received(NamedTuple):
    """A message from the server."""

    topic: str
    payload: bytes


class Will(NamedTuple):
    """What the broker says when we vanish."""

    topic: str
    payload: bytes


class Link:
    """One connection of one node. Made and used on the event loop."""

    def __init__(self, server: Server, node: NodeId, clock: Clock) -> None:
        """Nothing is opened yet."""
        self._server = server
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[str] = self._loop.create_future()
        """Done when the connection is over; its result says why."""
        self.inbox: asyncio.Queue[Received] = asyncio.Queue(_INBOX)
        self.dropped = 0
        """Messages from the server beyond what the inbox takes."""
        self._connected: asyncio.Future[None] = self._loop.create_future()
        self._waiting: dict[int, tuple[asyncio.Future[None], float]] = {}
        self._subscribed: dict[int, asyncio.Future[None]] = {}
        self._patience_s = max(5.0, float(server.keepalive_s))
        self._room = asyncio.Semaphore(_IN_FLIGHT)
        self._is_abandoned = threading.Event()
        self._last_error = ""
        self._client = self._make_client(node)

    def _make_client(self, node: NodeId) -> mqtt.Client:
        # A clean session: what must survive is in our outbox and in the server's journal, so the broker need keep nothing for us.
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=node, clean_session=True, protocol=mqtt.MQTTv311, reconnect_on_failure=False
        )
        client.connect_timeout = _CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(_IN_FLIGHT)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_log = self._on_log
        client.on_socket_open = _send_at_once
        return client

    # — on the event loop ————————————————————————————————————————————————————————————————————————————————————————

    async def open(self, will: Will) -> None:
        """Connect, and wait until the broker has accepted us.

        Raises:
            LinkDown: it could not be done; the message says why.
        """
        self._client.will_set(will.topic, will.payload, qos=1, retain=True)
        try:
            self._use_tls()
            await self._in_thread(self._connect)
            self._client.loop_start()
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await asyncio.wait(_either(self._connected, self.lost), return_when=asyncio.FIRST_COMPLETED)
        except (OSError, ValueError) as error:
            self.abort()
            raise LinkDown(explain(error, where=self._server.where, clock=self._clock)) from error
        except BaseException:
            self.abort()
            raise
        if self.lost.done():
            raise LinkDown(self.lost.result())

    async def subscribe(self, topic_filter: str) -> None:
        """Subscribe at QoS 1 and wait for the broker's answer.

        Raises:
            LinkDown: the connection was lost, or the broker refuses.
        """
        _, mid = self._client.subscribe(topic_filter, qos=1)
        if mid is None:
            raise LinkDown("the connection was lost")
        done = self._subscribed[mid] = self._loop.create_future()
        await self._before_lost(done, within_s=_CONNECT_TIMEOUT_S)

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> asyncio.Future[None]:
        """Send at once. The future is done when the broker has confirmed (QoS 1) or the network has taken it (QoS 0).

        Raises:
            LinkDown: there is no connection.
            ValueError: larger than the wire allows (the broker would drop it in silence).
        """
        if len(payload) > MAX_MESSAGE_BYTES:
            raise ValueError(f"{len(payload)} bytes for {topic}, over the limit of {MAX_MESSAGE_BYTES}")
        if self.lost.done() or not self._client.is_connected():
            raise LinkDown("there is no connection")
        info = self._client.publish(topic, payload, qos=qos, retain=retain)
        done: asyncio.Future[None] = self._loop.create_future()
        self._waiting[info.mid] = (done, self._loop.time())
        return done

    async def acquire(self) -> None:
        """Wait until fewer than 20 deliveries are under way, and take a place; `deliver(…, is_acquired=True)` gives it back."""
        await self._room.acquire()

    async def deliver(self, topic: str, payload: bytes, *, retain: bool = False, is_acquired: bool = False) -> None:
        """Send at QoS 1 and wait until the broker has it; at most 20 at once.

        Raises:
            LinkDown: the connection was lost before the broker confirmed.
        """
        if not is_acquired:
            await self._room.acquire()
        try:
            await self._before_lost(self.publish(topic, payload, qos=1, retain=retain))
        finally:
            self._room.release()

    @property
    def unsent(self) -> int:
        """Messages not yet confirmed or taken by the network."""
        return len(self._waiting)

    async def watch(self) -> None:
        """Return when the connection is over, and end it when the broker has stopped confirming (a half-open link)."""
        while not self.lost.done():
            await asyncio.wait({self.lost}, timeout=1.0)
            oldest = min((since for _, since in self._waiting.values()), default=self._loop.time())
            if self._loop.time() - oldest > self._patience_s:
                self._end(f"{self._server.where} has confirmed nothing for {self._patience_s:.0f} s")
                self.abort()
            elif not self._client.is_connected():
                self._end(self._last_error or "the connection was lost")

    async def close(self) -> None:
        """Say goodbye and end the connection; at most a second."""
        self._client.disconnect()
        await asyncio.wait({self.lost}, timeout=1.0)
        self.abort()

    def abort(self) -> None:
        """Cut the connection without a word."""
        self._is_abandoned.set()
        sock = self._client.socket()
        if isinstance(sock, socket.socket):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._end("the connection was closed")

    def _use_tls(self) -> None:
        server = self._server
        if server.cert_file is None:
            return
        try:
            context = ssl.create_default_context(cafile=str(server.ca_file))
            context.load_cert_chain(server.cert_file, server.key_file)
        except OSError as error:  # it names no file
            raise LinkDown(f"{server.ca_file}, {server.cert_file} or {server.key_file} cannot be used: {error.strerror}") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._client.tls_set_context(context)

    def _connect(self) -> None:
        """Runs in a thread: resolve, connect, TLS, CONNECT."""
        self._client.connect(self._server.host, self._server.port, self._server.keepalive_s)
        if self._is_abandoned.is_set():
            self.abort()

    async def _in_thread(self, work: Callable[[], None]) -> None:
        """Run in a daemon thread: a name server that hangs must not delay the end of the process."""
        done: asyncio.Future[None] = self._loop.create_future()

        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001  # handed to the waiting task as it is
                self._hand_over(_fail, done, error)
            else:
                self._hand_over(_succeed, done)

        threading.Thread(target=run, name="mqtt-connect", daemon=True).start()
        await done

    async def _before_lost(self, done: asyncio.Future[None], *, within_s: float | None = None) -> None:
        await asyncio.wait(_either(done, self.lost), timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        if done.done():
            done.result()
            return
        raise LinkDown(self.lost.result() if self.lost.done() else f"{self._server.where} does not answer in time")

    def _end(self, why: str) -> None:
        if not self.lost.done():
            self.lost.set_result(why)
        self._waiting.clear()

    def _store(self, message: Received) -> None:
        try:
            self.inbox.put_nowait(message)
        except asyncio.QueueFull:
            self.dropped += 1
            _log.error("dropped a message on %s: %s are waiting already", message.topic, _INBOX)

    def _confirm(self, mid: int) -> None:
        found = self._waiting.pop(mid, None)
        if found is not None:
            _succeed(found[0])

    def _granted(self, mid: int, refusal: str) -> None:
        done = self._subscribed.pop(mid, None)
        if done is None:
            return
        if refusal:
            _fail(done, LinkDown(f"{self._server.where} refuses the subscription: {refusal}"))
        else:
            _succeed(done)

    def _accepted(self, refusal: str) -> None:
        if refusal:
            self._end(f"{self._server.where} refuses us: {refusal}")
        else:
            _succeed(self._connected)

    # — on paho's thread: only hand over —————————————————————————————————————————————————————————————————————————

    def _hand_over(self, act: Callable[..., None], *args: Any) -> None:
        with suppress(RuntimeError):  # the loop has ended, so nobody wants to know
            self._loop.call_soon_threadsafe(act, *args)

    def _on_connect(self, _client: mqtt.Client, _data: Any, _flags: mqtt.ConnectFlags, code: ReasonCode, _props: Any) -> None:
        self._hand_over(self._accepted, str(code) if code.is_failure else "")

    def _on_disconnect(self, _client: mqtt.Client, _data: Any, _flags: mqtt.DisconnectFlags, code: ReasonCode, _props: Any) -> None:
        why = alert(self._last_error) or (f"the connection was lost ({self._last_error or code})")
        self._hand_over(self._end, why)

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        self._hand_over(self._store, Received(message.topic, bytes(message.payload)))

    def _on_publish(self, _client: mqtt.Client, _data: Any, mid: int, _code: ReasonCode, _props: Any) -> None:
        self._hand_over(self._confirm, mid)

    def _on_subscribe(self, _client: mqtt.Client, _data: Any, mid: int, codes: list[ReasonCode], _props: Any) -> None:
        self._hand_over(self._granted, mid, next((str(code) for code in codes if code.is_failure), ""))

    def _on_log(self, _client: mqtt.Client, _data: Any, level: int, text: str) -> None:
        if level == LogLevel.MQTT_LOG_ERR:
            self._last_error = text


def _send_at_once(_client: mqtt.Client, _data: Any, sock: Any) -> None:
    """Switch Nagle's algorithm off: it would hold a press back for 40 ms behind the packet before it."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _either(*futures: asyncio.Future[Any]) -> set[asyncio.Future[Any]]:
    return set(futures)


def _succeed(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def _fail(done: asyncio.Future[None], error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)
