"""One simulated node: a connection to the broker that comes back, heartbeats on time, and replay of what the server misses."""

import asyncio
import random
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiomqtt

from firmware_agent.contract.ids import Channel, EventId, SessionId, StreamId
from firmware_agent.contract.messages import VERSION, Ack, Clock, Event, Held, Replay, Status, decode, encode
from firmware_agent.contract.topics import QOS, RETAINED, Down, Up, down_filter, parse, up
from firmware_agent.contract.vocabulary import ClockQuality, EventType, Online
from hil.swarm.evidence import BOOT, Speaker
from hil.swarm.identity import Identity
from hil.swarm.outbox import Beat, Outbox
from hil.swarm.plan import Device

_KEEPALIVE_S: Final = 60
_TIMEOUT_S: Final = 30.0
_MAX_BACKOFF_S: Final = 8.0
_REPLAYED_AT_ONCE: Final = 16


class SwarmNode:
    """One node. `run` until cancelled; `beat` in any state."""

    def __init__(self, identity: Identity, devices: Sequence[Device], *, broker: tuple[str, int], ca_file: Path, interval_s: float) -> None:
        """`broker` is host and port."""
        self.identity: Final = identity
        self.outbox: Final = Outbox(StreamId(secrets.token_hex(8)))
        self.acks = 0
        self.replayed = 0
        self.connects = 0
        self.failure = ""
        """Why it is not connected."""
        self.connected: Final = asyncio.Event()
        self._speaker = Speaker(identity.number, devices, interval_s=interval_s)
        self._broker = broker
        self._ca_file = ca_file
        self._session = SessionId("")
        self._client: aiomqtt.Client | None = None
        self._events_made = 0
        self._waiting: dict[EventId, asyncio.Event] = {}

    async def run(self) -> None:
        """Stay connected until cancelled."""
        backoff_s = 0.5
        while True:
            try:
                async with self._connection() as client:
                    backoff_s = 0.5
                    await self._listen(client)
            except (aiomqtt.MqttError, OSError) as error:
                self.failure = str(error) or type(error).__name__
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))
            backoff_s = min(2 * backoff_s, _MAX_BACKOFF_S)

    async def beat(self) -> None:
        """Make one heartbeat, and send it where there is a connection."""
        beat = self.outbox.make(wall_ms=_wall_ms(), mono_ms=_mono_ms())
        if self._client is not None:
            await self._send(Up.HEARTBEAT, encode(self._speaker.heartbeat(beat, self.outbox, self._session)))

    async def ask(self, *, is_sure: bool) -> None:
        """Be born again, to which the server answers at once with what it has. `is_sure`: what it has not acknowledged never came."""
        if self._client is not None:
            if is_sure:
                await self._replay(self.outbox.all_held())
            await self._send(Up.STATUS, self._birth())

    async def press(self, channel: Channel) -> tuple[EventId, asyncio.Event]:
        """Press a button; return the event's id, and what is set when the server has acknowledged it."""
        self._events_made += 1
        number = EventId(f"{self.identity.node}:{self.outbox.stream}:{self._events_made}")
        stored = self._waiting[number] = asyncio.Event()
        clock = Clock(wall_ms=_wall_ms(), mono_ms=_mono_ms(), boot=BOOT, quality=ClockQuality.NTP)
        event = Event(VERSION, number, self._session, channel, EventType.PRESS, clock.wall_ms, clock, is_drill=True)
        await self._send(Up.EVENT, encode(event))
        return number, stored

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[aiomqtt.Client]:
        session = SessionId(secrets.token_hex(8))
        offline = encode(Status(v=VERSION, status=Online.OFFLINE, session=session))
        client = aiomqtt.Client(
            *self._broker,
            identifier=self.identity.node,
            tls_context=self._tls(),
            will=aiomqtt.Will(up(self.identity.node, Up.STATUS), offline, qos=QOS[Up.STATUS], retain=True),
            timeout=_TIMEOUT_S,
            keepalive=_KEEPALIVE_S,
        )
        async with client:
            await client.subscribe(down_filter(self.identity.node), qos=1)
            self._client, self._session, self.failure = client, session, ""
            try:
                await self._send(Up.STATUS, self._birth())
                self.connects += 1
                self.connected.set()
                yield client
            finally:
                self._client = None
                self.connected.clear()

    async def _listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            if parse(message.topic.value).message is Down.ACK and isinstance(message.payload, bytes):
                await self._acknowledged(decode(Ack, message.payload))

    async def _acknowledged(self, ack: Ack) -> None:
        self.acks += 1
        for event in ack.events:
            if (waiting := self._waiting.pop(EventId(event), None)) is not None:
                waiting.set()
        if ack.stream == self.outbox.stream:
            await self._replay(self.outbox.acknowledge(ack.through, ack.gaps))

    async def _replay(self, beats: Sequence[Beat]) -> None:
        for start in range(0, len(beats), _REPLAYED_AT_ONCE):
            some = beats[start : start + _REPLAYED_AT_ONCE]
            again = [self._speaker.heartbeat(beat, self.outbox, self._session) for beat in some]
            await self._send(Up.REPLAY, encode(Replay(v=VERSION, heartbeats=again)))
            self.replayed += len(some)

    async def _send(self, kind: Up, payload: bytes) -> None:
        """Send; what does not arrive is not acknowledged, and sent again."""
        if self._client is None:
            return
        try:
            await self._client.publish(up(self.identity.node, kind), payload, qos=QOS[kind], retain=kind in RETAINED)
        except (aiomqtt.MqttError, ValueError) as error:
            self.failure = str(error)

    def _birth(self) -> bytes:
        clock = Clock(wall_ms=_wall_ms(), mono_ms=_mono_ms(), boot=BOOT, quality=ClockQuality.NTP)
        held = [Held(self.outbox.stream, self.outbox.floor, self.outbox.made)] if self.outbox.held else []
        return encode(Status(VERSION, Online.ONLINE, self._session, "swarm", is_simulated=True, clock=clock, held=held))

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(self._ca_file))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(str(self.identity.pem))
        return context


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _mono_ms() -> int:
    return time.monotonic_ns() // 1_000_000
