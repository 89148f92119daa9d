"""The uplink: keeps a session with the server, and moves what the outbox holds through it.

Two lanes. Live: the newest heartbeat and every event, at once. Replay: what the server's acknowledgements ask for, ascending,
rate-limited, one message at a time. Nothing is forgotten here; only an acknowledgement of the server lets the outbox forget.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from firmware_agent import clock as clocks
from firmware_agent.clock import Clock
from firmware_agent.contract import messages, topics
from firmware_agent.contract.ids import EventId, NodeId, SessionId, StreamId, new_session
from firmware_agent.contract.messages import MAX_HELD, VERSION, Ack, BadMessage, Status
from firmware_agent.contract.topics import Down, Up
from firmware_agent.contract.vocabulary import Online
from firmware_agent.outbox.model import StorageFailed, StoredEvent, StoredHeartbeat
from firmware_agent.outbox.outbox import Outbox
from firmware_agent.uplink.backoff import Backoff
from firmware_agent.uplink.link import Link, LinkDown, Received, Server, Will
from firmware_agent.uplink.pending import PendingEvents
from firmware_agent.uplink.replay import ReplayPlan

_STABLE_S: Final = 30.0
"""A session that held this long starts the waits from the beginning; shorter ones (two nodes with one identity) do not."""
_CONGESTED: Final = 40
"""With this much unsent, live heartbeats are left to the replay lane."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Speaker:
    """Who speaks, for birth and will."""

    node: NodeId
    agent: str
    is_simulated: bool


@dataclass(frozen=True)
class Ears:
    """Who is told what the server says, which may be of nothing we know; called on the event loop, must not block."""

    on_desired: Callable[[bytes], None]
    on_command: Callable[[bytes], None]
    on_acknowledged: Callable[[EventId], None]
    on_connected: Callable[[], None]


class Uplink:
    """All traffic with the server."""

    def __init__(
        self, server: Server, speaker: Speaker, outbox: Outbox, clock: Clock, *, retry_max_s: float, replay_interval_s: float
    ) -> None:
        """`retry_max_s`: longest wait between attempts; `replay_interval_s`: least time between two replay messages."""
        self._server = server
        self._speaker = speaker
        self._outbox = outbox
        self._clock = clock
        self._backoff = Backoff(longest_s=retry_max_s)
        self._replay_interval_s = replay_interval_s
        self._ears: Ears | None = None
        self._link: Link | None = None
        self._events = PendingEvents()
        self._plan = ReplayPlan()
        self._standing: dict[str, tuple[Up, bytes]] = {}
        self._event_added = asyncio.Event()
        self._replay_asked = asyncio.Event()
        self._standing_added = asyncio.Event()
        self._live_from: int | None = None
        self._unlisted = False
        self.session: SessionId = new_session()
        """The session that heartbeats made now belong to."""
        self.why_not_connected = "not tried yet"
        self.since_ms = clock.mono_ms()
        """Since when it is or is not connected, on the monotonic clock."""
        self.bad_messages = 0
        """Messages from the server that broke the contract."""

    @property
    def is_connected(self) -> bool:
        """Whether there is a session with the server's broker."""
        return self._link is not None

    # — what the agent says ——————————————————————————————————————————————————————————————————————————————————————

    def live(self, heartbeat: StoredHeartbeat, session: SessionId) -> None:
        """Send the newest heartbeat on the live lane, or leave it to the outbox."""
        link = self._link
        if link is None or session != self.session or link.unsent >= _CONGESTED:
            return
        try:
            link.publish(self._topic(Up.HEARTBEAT), heartbeat.body, qos=0)
        except LinkDown:
            return
        if self._live_from is None and heartbeat.stream == self._outbox.stream:
            self._live_from = heartbeat.seq

    def event(self, event: StoredEvent) -> None:
        """Send an event now, and again until it is acknowledged."""
        self._events.add(event)
        self._event_added.set()

    def stand(self, key: str, kind: Up, body: bytes) -> None:
        """Send `body` as soon as possible, until the broker has it; a later one under the same `key` takes its place."""
        self._standing[key] = (kind, body)
        self._standing_added.set()

    # — sessions —————————————————————————————————————————————————————————————————————————————————————————————————

    async def run(self, ears: Ears) -> None:
        """Connect, hold the session, connect again; until cancelled. Says goodbye when cancelled."""
        self._ears = ears
        while True:
            began_s = asyncio.get_running_loop().time()
            self.session = new_session()
            why = await self._one_session(ears)
            if asyncio.get_running_loop().time() - began_s > _STABLE_S:
                self._backoff.reset()
            wait_s = self._backoff.next_s()
            if why != self.why_not_connected:
                _log.warning("not connected: %s", why)
            self.why_not_connected = why
            await asyncio.sleep(wait_s)

    async def _one_session(self, ears: Ears) -> str:
        """Run one session to its end; return why it ended."""
        link = Link(self._server, self._speaker.node, self._clock)
        try:
            await link.open(Will(self._topic(Up.STATUS), messages.encode(self._offline())))
            await link.subscribe(topics.down_filter(self._speaker.node))
            await self._begin(link)
            ears.on_connected()
            await self._hold(link, ears)
        except LinkDown as error:
            return str(error)
        except asyncio.CancelledError:
            await self._goodbye(link)
            raise
        finally:
            if self._link is not None:
                self._link = None
                self.since_ms = self._clock.mono_ms()
            link.abort()
        return "the session ended"

    async def _begin(self, link: Link) -> None:
        self._live_from = None
        for event in await self._outbox.events():
            self._events.add(event)
        self._events.begin_session()
        await self._birth(link)
        self._link = link
        self.since_ms = self._clock.mono_ms()
        self.why_not_connected = ""
        _log.info("connected to %s, session %s", self._server.where, self.session)

    async def _birth(self, link: Link) -> None:
        held = await self._outbox.held()
        self._unlisted = len(held) >= MAX_HELD
        birth = Status(
            VERSION,
            Online.ONLINE,
            self.session,
            agent=self._speaker.agent,
            is_simulated=self._speaker.is_simulated,
            clock=clocks.read(self._clock),
            held=held,
            events_held=len(self._events),
        )
        link.publish(self._topic(Up.STATUS), messages.encode(birth), qos=1, retain=True)

    async def _hold(self, link: Link, ears: Ears) -> None:
        """Run the session's tasks until the connection is lost.

        Raises:
            LinkDown: it was; the message says why.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                for name, work in (
                    ("listen", self._listen(link, ears)),
                    ("events", self._send_events(link)),
                    ("replay", self._replay(link)),
                    ("standing", self._send_standing(link)),
                    ("watch", self._watch(link)),
                ):
                    tasks.create_task(work, name=f"uplink-{name}")
        except* LinkDown as group:
            raise LinkDown(_innermost(group)) from group

    async def _watch(self, link: Link) -> None:
        await link.watch()
        raise LinkDown(link.lost.result())

    async def _goodbye(self, link: Link) -> None:
        """Say "offline" ourselves before a clean end, since a clean end silences the will."""
        if self._link is None:
            return
        try:
            async with asyncio.timeout(1.0):
                await link.deliver(self._topic(Up.STATUS), messages.encode(self._offline()), retain=True)
            await link.close()
        except (LinkDown, TimeoutError):
            _log.info("the end could not be announced; the will speaks for us")

    def _offline(self) -> Status:
        return Status(VERSION, Online.OFFLINE, self.session)

    # — sending ——————————————————————————————————————————————————————————————————————————————————————————————————

    async def _send_events(self, link: Link) -> None:
        async with asyncio.TaskGroup() as sending:
            while True:
                self._event_added.clear()
                now_ms = self._clock.mono_ms()
                event = self._events.take(now_ms)
                if event is not None:
                    await link.acquire()
                    sending.create_task(link.deliver(self._topic(Up.EVENT), event.body, is_acquired=True), name=f"send-{event.event_id}")
                    continue
                wait_ms = self._events.wait_ms(now_ms)
                await _first(self._event_added, None if wait_ms is None else wait_ms / 1000)

    async def _send_standing(self, link: Link) -> None:
        while True:
            self._standing_added.clear()
            for key, (kind, body) in list(self._standing.items()):
                try:
                    await link.deliver(self._topic(kind), body)
                except ValueError as error:  # no later session could send it either
                    _log.error("%s of %s cannot be sent: %s", kind, key, error)
                if self._standing.get(key) == (kind, body):
                    del self._standing[key]
            await self._standing_added.wait()

    async def _replay(self, link: Link) -> None:
        while True:
            self._replay_asked.clear()
            asked = self._plan.next()
            if asked is None:
                await self._replay_asked.wait()
                continue
            stream, spans = asked
            batch = await self._outbox.batch(stream, spans)
            if batch is None:
                self._plan.not_held(stream)
                continue
            self._plan.said(stream, batch.spans, now_ms=self._clock.mono_ms())
            await link.deliver(self._topic(Up.REPLAY), batch.body)
            await asyncio.sleep(self._replay_interval_s)

    # — listening ————————————————————————————————————————————————————————————————————————————————————————————————

    async def _listen(self, link: Link, ears: Ears) -> None:
        while True:
            message = await link.inbox.get()
            try:
                await self._hear(message, link, ears)
            except (BadMessage, ValueError) as error:
                self.bad_messages += 1
                _log.error("bad message on %s: %s", message.topic, error)
            except StorageFailed:
                _log.exception("what the server says cannot be stored")

    async def _hear(self, message: Received, link: Link, ears: Ears) -> None:
        address = topics.parse(message.topic)
        match address.message:
            case Down.ACK:
                await self._acknowledged(messages.decode(Ack, message.payload), link, ears)
            case Down.DESIRED:
                ears.on_desired(message.payload)
            case Down.COMMAND:
                ears.on_command(message.payload)
            case _:
                raise ValueError("not for a node")

    async def _acknowledged(self, ack: Ack, link: Link, ears: Ears) -> None:
        is_foreign = await self._outbox.apply(ack)
        for event in ack.events:
            self._events.forget(event)
            ears.on_acknowledged(event)  # whether or not our card can forget it
        if is_foreign:
            self._live_from = None
            await self._birth(link)
        elif ack.stream is not None:
            self._plan.ask(ack.stream, ack.through, ack.gaps, top=self._replayable(ack.stream), now_ms=self._clock.mono_ms())
            self._replay_asked.set()
            await self._list_the_rest(ack.stream, link)

    def _replayable(self, stream: StreamId) -> int:
        """Return the last `seq` of a stream that is not on its way by the live lane of this session."""
        made = next((s.made for s in self._outbox.counts.streams if s.stream == stream), 0)
        if stream == self._outbox.stream and self._live_from is not None:
            return self._live_from - 1
        return made

    async def _list_the_rest(self, stream: StreamId, link: Link) -> None:
        """A birth lists 16 streams at most; when one is done, list again."""
        if self._unlisted and all(count.held == 0 for count in self._outbox.counts.streams if count.stream == stream):
            await self._birth(link)

    def _topic(self, kind: Up) -> str:
        return topics.up(self._speaker.node, kind)


async def _first(event: asyncio.Event, timeout_s: float | None) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return


def _innermost(group: BaseExceptionGroup[LinkDown]) -> str:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)
