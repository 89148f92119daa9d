"""The connection to the broker: one persistent session as `svc-core`, mutual TLS, made again whenever it breaks.

The client library's own message iterator makes a task for each message, which would cost more than all the rest of the
hot path; so messages are taken where the library would queue them for it (`BusyClient`).
"""

import asyncio
import logging
import random
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiomqtt
from paho.mqtt.client import Client, MQTTMessage

from firmware_agent.contract.ids import NodeId
from firmware_agent.contract.topics import ALL_UP, QOS, Down, down
from fleet_server.clock import Clock
from fleet_server.errors import Transient
from fleet_server.ingest.greedy import GreedySocket
from fleet_server.ingest.metrics import IngestMetrics

_log = logging.getLogger(__name__)
IDENTITY: Final = "svc-core"
_STEADY_S: Final = 30.0
_PAUSED: Final = "reading is paused: the database takes nothing"

Take = Callable[[str, bytes, bool], None]
"""Called with topic, payload and whether it was retained; must be quick and must not raise."""


class NotConnected(Transient):
    """There is no connection to the broker now."""


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker is, and with which certificate to go there. Without `ca_file` the connection is plain (tests only)."""

    host: str
    port: int
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    identity: str = IDENTITY

    def tls(self) -> ssl.SSLContext | None:
        """Return a context with the files as they are now, so that a renewed certificate is used at the next connection."""
        if self.ca_file is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(self.ca_file))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.sslsocket_class = GreedySocket
        if self.certificate_file is not None:
            context.load_cert_chain(str(self.certificate_file), None if self.key_file is None else str(self.key_file))
        return context


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds."""

    keepalive_s: int = 30
    timeout_s: float = 10.0
    first_backoff_s: float = 0.25
    max_backoff_s: float = 15.0


class Mqtt:
    """Receives all that nodes publish, and is the `Downlink` to them."""

    def __init__(self, address: BrokerAddress, take: Take, clock: Clock, metrics: IngestMetrics, *, timing: Timing | None = None) -> None:
        """Nothing is connected before `run`."""
        self._address = address
        self._take = take
        self._clock = clock
        self._metrics = metrics
        self._timing = timing or Timing()
        self._client: aiomqtt.Client | None = None
        self._sending = asyncio.Semaphore(64)
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._pause = asyncio.Event()
        self.failure = "not connected yet"
        """Why there is no connection, empty while there is one."""

    @property
    def is_connected(self) -> bool:
        """Whether messages can come and go now."""
        return self._client is not None and not self.failure

    async def publish(self, node: NodeId, message: Down, payload: bytes, *, retain: bool = False) -> None:
        """See `Downlink`. At most 64 at a time are on their way; more wait.

        Raises:
            NotConnected: there is no connection, or it broke before the broker said it had the message.
        """
        async with self._sending:
            client = self._client
            if client is None:
                raise NotConnected(f"no connection to the broker: {self.failure}")
            try:
                await client.publish(down(node, message), payload, qos=QOS[message], retain=retain, timeout=self._timing.timeout_s)
            except (aiomqtt.MqttError, ValueError) as error:
                raise NotConnected(f"the broker did not take the message: {error}") from error

    def pause(self) -> None:
        """Stop reading: leave the broker, which keeps what is sent with QoS 1, until `resume`."""
        self._may_read.clear()
        self._pause.set()

    def resume(self) -> None:
        """Read again."""
        self._pause.clear()
        self._may_read.set()

    async def run(self) -> None:
        """Stay connected until cancelled."""
        backoff_s = self._timing.first_backoff_s
        while True:
            await self._may_read.wait()
            start_s = self._clock.mono_s()
            try:
                await self._session()
            except (aiomqtt.MqttError, OSError, ssl.SSLError) as error:
                self._say(str(error) or type(error).__name__)
            finally:
                self._client = None
                self.failure = self.failure or "disconnected"
                self._metrics.connected.set(0)
            if self._clock.mono_s() - start_s > _STEADY_S:
                backoff_s = self._timing.first_backoff_s
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))
            backoff_s = min(backoff_s * 2, self._timing.max_backoff_s)

    async def _session(self) -> None:
        context = await asyncio.to_thread(self._address.tls)
        async with self._new_client(context) as client:
            client.pending_calls_threshold = 1000
            self._client = client  # what the broker kept for us arrives before the subscription is confirmed, and wants acknowledgement
            await client.subscribe(ALL_UP, qos=1)
            self.failure = ""
            self._metrics.connected.set(1)
            self._metrics.connects.inc()
            _log.info("Connected to the broker at %s:%d", self._address.host, self._address.port)
            await self._until_broken_or_paused(client)
            self._client = None

    def _new_client(self, context: ssl.SSLContext | None) -> aiomqtt.Client:
        # A client of this library does not come back after a disconnection, so each session has a new one.
        return BusyClient(
            self._take,
            self._address.host,
            self._address.port,
            identifier=self._address.identity,
            clean_session=False,
            tls_context=context,
            timeout=self._timing.timeout_s,
            keepalive=self._timing.keepalive_s,
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],  # else an acknowledgement may wait 40 ms for the next one
        )

    async def _until_broken_or_paused(self, client: aiomqtt.Client) -> None:
        """Return when told to pause.

        Raises:
            MqttError: the connection broke.
        """
        broken = asyncio.ensure_future(anext(client.messages))
        paused = asyncio.ensure_future(self._pause.wait())
        try:
            await asyncio.wait((broken, paused), return_when=asyncio.FIRST_COMPLETED)
            if broken.done():
                broken.result()
            else:
                self.failure = _PAUSED
        finally:
            for task in (broken, paused):
                task.cancel()
            await asyncio.gather(broken, paused, return_exceptions=True)

    def _say(self, failure: str) -> None:
        if failure != self.failure:
            _log.warning("No connection to the broker at %s:%d: %s", self._address.host, self._address.port, failure)
        self.failure = failure


class BusyClient(aiomqtt.Client):
    """Hands each message on as it is read, and rests after each reading, so that in a busy time one reading brings many messages.

    Each reading makes the event loop let go of the interpreter three times, wait for it to come back from the threads, and start with
    cold caches; with one message a reading that cost more than all work on the message itself. The more a reading brought, the longer
    is the rest: from 100 messages a second on it grows to its longest, below it hardly delays anybody. What comes after it is read at
    once.
    """

    REST_S: Final = 0.01
    """For each packet that the reading brought."""
    LONGEST_REST_S: Final = 0.05

    def __init__(self, take: Take, host: str, port: int, **settings: Any) -> None:
        """The library's own messages never come: `take` has them."""
        super().__init__(host, port, **settings)
        self._take = take

    def _on_message(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        self._take(message.topic, bytes(message.payload), message.retain)

    def _on_socket_open(self, client: Client, userdata: Any, sock: Any) -> None:
        super()._on_socket_open(client, userdata, sock)
        if isinstance(sock, GreedySocket):  # of a plain socket nobody can tell whether there is more to read
            self._loop.call_soon_threadsafe(self._watch, client, sock)  # takes the place of the library's reader

    def _watch(self, client: Client, sock: GreedySocket) -> None:
        if sock.fileno() >= 0:  # else it was closed during the rest
            self._loop.add_reader(sock.fileno(), self._read, client, sock)

    def _read(self, client: Client, sock: GreedySocket) -> None:
        self._loop.remove_reader(sock.fileno())
        packets = 0
        try:
            while not packets or (sock.fileno() >= 0 and sock.pending()):
                packets += 1
                client.loop_read()
        except Exception as error:  # noqa: BLE001  # whatever it is, the connection is of no use any more
            if not self._disconnected.done():
                self._disconnected.set_exception(error)
        finally:
            self._loop.call_later(min(packets * self.REST_S, self.LONGEST_REST_S), self._watch, client, sock)
