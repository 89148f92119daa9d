"""A server reduced to its promise: it stores what it hears and acknowledges when told to."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

import aiomqtt

from firmware_agent.contract import messages, topics
from firmware_agent.contract.ids import EventId, NodeId, StreamId
from firmware_agent.contract.messages import VERSION, Ack, Event, Heartbeat, Replay, Reported, Result, Status
from firmware_agent.contract.topics import Down, Up
from firmware_agent.contract.vocabulary import Online


async def until(condition: Callable[[], Any], *, within_s: float = 20.0, what: str = "") -> None:
    """Wait for a condition, with a bound."""
    try:
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110  # what is waited for happens in other processes and threads
                await asyncio.sleep(0.02)
    except TimeoutError as error:
        raise AssertionError(f"not within {within_s} s: {what or condition}") from error


class StubServer:
    """`is_deaf`: PUBACKs of the broker only, nothing is stored or acknowledged."""

    def __init__(self, port: int, node: NodeId, *, is_deaf: bool = False, tls: Any = None, host: str = "127.0.0.1") -> None:
        self.node = node
        self.is_deaf = is_deaf
        self.statuses: list[Status] = []
        self.live: list[Heartbeat] = []
        self.replays: list[Replay] = []
        self.stored: dict[tuple[StreamId, int], bytes] = {}
        self.conflicts: list[Heartbeat] = []
        self.events: list[Event] = []
        self.reported: list[Reported] = []
        self.results: list[Result] = []
        self.order: list[Up] = []
        self._client = aiomqtt.Client(host, port, identifier="svc-core", tls_context=tls)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        await self._client.subscribe(topics.ALL_UP, qos=1)
        self._task = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *details: Any) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait({self._task})
        with suppress(aiomqtt.MqttError):
            await self._client.__aexit__(None, None, None)

    async def _listen(self) -> None:
        async for message in self._client.messages:
            address = topics.parse(str(message.topic))
            assert address.node == self.node
            await self._hear(Up(address.message), bytes(message.payload))

    async def _hear(self, kind: Up, payload: bytes) -> None:
        self.order.append(kind)
        match kind:
            case Up.STATUS:
                self.statuses.append(messages.decode(Status, payload))
                if self.statuses[-1].status == "online" and not self.is_deaf:
                    for held in self.statuses[-1].held:
                        await self.acknowledge(held.stream)
            case Up.HEARTBEAT:
                self.live.append(messages.decode(Heartbeat, payload))
                self._store(self.live[-1])
            case Up.REPLAY:
                self.replays.append(messages.decode(Replay, payload))
                for heartbeat in self.replays[-1].heartbeats:
                    self._store(heartbeat)
            case Up.EVENT:
                event = messages.decode(Event, payload)
                self.events.append(event)
                if not self.is_deaf:
                    await self.send(Down.ACK, Ack(VERSION, events=[event.event_id]))
            case Up.REPORTED:
                self.reported.append(messages.decode(Reported, payload))
            case Up.RESULT:
                self.results.append(messages.decode(Result, payload))

    def _store(self, heartbeat: Heartbeat) -> None:
        if self.is_deaf:
            return
        key, body = (heartbeat.stream, heartbeat.seq), messages.encode(heartbeat)
        if self.stored.setdefault(key, body) != body:
            self.conflicts.append(heartbeat)

    async def acknowledge(self, stream: StreamId) -> None:
        have = sorted(seq for of, seq in self.stored if of == stream)
        through = 0
        gaps: list[tuple[int, int]] = []
        for seq in have:
            if seq > through + 1:
                gaps.append((through + 1, seq - 1))
            through = seq
        await self.send(Down.ACK, Ack(VERSION, stream, through, gaps[:16]))

    async def send(self, kind: Down, message: Any, *, retain: bool = False) -> None:
        await self._client.publish(topics.down(self.node, kind), messages.encode(message), qos=1, retain=retain)

    async def send_raw(self, kind: Down, payload: bytes) -> None:
        await self._client.publish(topics.down(self.node, kind), payload, qos=1)

    async def birth_after(self, count: int) -> None:
        """Wait for a birth beyond the first `count` statuses."""
        await until(lambda: any(status.status is Online.ONLINE for status in self.statuses[count:]), what="a birth")

    @property
    def event_ids(self) -> set[EventId]:
        return {event.event_id for event in self.events}

    def seqs(self, stream: StreamId | None = None) -> list[int]:
        return sorted(seq for of, seq in self.stored if stream in (None, of))
