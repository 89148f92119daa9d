"""The one place where the running agent is wired: one process, one event loop, one task group."""

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from firmware_agent import __version__, sdnotify
from firmware_agent import clock as clocks
from firmware_agent.clock import SystemClock
from firmware_agent.commands import CommandRunner
from firmware_agent.config import Config
from firmware_agent.contract import messages
from firmware_agent.contract.ids import Channel, EventId
from firmware_agent.contract.messages import VERSION, BadMessage, Event, Reported
from firmware_agent.contract.topics import Up
from firmware_agent.desired import DesiredConfiguration
from firmware_agent.drivers.promise import Factory, Happening, Observation
from firmware_agent.health import HostHealth
from firmware_agent.heartbeat import Assembler, wall_of
from firmware_agent.identity.model import Identity
from firmware_agent.outbox.model import StoredEvent
from firmware_agent.outbox.outbox import Outbox
from firmware_agent.ports import AgentPort, ChannelMemory, SharedResources
from firmware_agent.status import StatusFile
from firmware_agent.status_page import StatusPage
from firmware_agent.supervisor import Supervisor
from firmware_agent.uplink.target import server_of
from firmware_agent.uplink.uplink import Ears, Speaker, Uplink

_DRAFT_EVENT: Final = EventId("0" * 56)
_SOON_S: Final = 1.0
"""Least time between two heartbeats, when a verdict changes."""
_TICK_S: Final = 1.0
_STALE_S: Final = 15.0
"""A critical task that has not moved for this long on top of its own interval lets the watchdog bite."""

_log = logging.getLogger(__name__)


class Agent:
    """The parts of a running node and what flows between them."""

    def __init__(self, config: Config, identity: Identity, clock: SystemClock, outbox: Outbox, find: Callable[[str], Factory]) -> None:
        """Wire everything; nothing runs yet."""
        self._config = config
        self._identity = identity
        self._clock = clock
        self._outbox = outbox
        self._assembler = Assembler(clock)
        self._health = HostHealth(config.data_dir)
        self._resources = SharedResources()
        self._desired = DesiredConfiguration(config.channels, config.heartbeat.interval_s, outbox, on_change=self._report)
        self._supervisor = Supervisor(self._desired.at_start(), self._port, find=find, on_change=self._report)
        self._uplink = Uplink(
            server_of(config, identity),
            Speaker(identity.node, __version__, config.node.is_simulated),
            outbox,
            clock,
            retry_max_s=config.server.retry_max_s,
            replay_interval_s=config.server.replay_interval_s,
        )
        self._commands = CommandRunner(outbox, clock, self._supervisor.command, lambda key, body: self._uplink.stand(key, Up.RESULT, body))
        self._status_file = StatusFile(config.status_file)
        self._page = StatusPage(config, identity, clock, outbox, self._uplink, self._supervisor, self._desired, self._assembler)
        self._channel_of: dict[EventId, Channel] = {}
        self._recording: set[asyncio.Task[EventId]] = set()
        self._tasks: asyncio.TaskGroup | None = None
        self._soon = asyncio.Event()
        self._beat_at_s = 0.0
        self._connected_wall_ms = 0
        self._status_error = ""

    async def run(self) -> None:
        """Run until cancelled."""
        for stored in await self._outbox.events():
            self._learn_channel(stored)
        self._beat_at_s = asyncio.get_running_loop().time()
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                ears = Ears(self._on_desired, self._on_command, self._on_acknowledged, self._on_connected)
                tasks.create_task(self._uplink.run(ears), name="uplink")
                tasks.create_task(self._supervisor.run(), name="supervisor")
                tasks.create_task(self._beat(), name="heartbeat")
                tasks.create_task(self._tick(), name="tick")
                sdnotify.notify("READY=1")
        finally:
            self._tasks = None
            if self._recording:
                await asyncio.wait(self._recording)
            await self._resources.aclose()
            self._uplink.why_not_connected = "the agent was stopped"
            self._write_status()

    # — what drivers say —————————————————————————————————————————————————————————————————————————————————————————

    def observe(self, channel: Channel, observation: Observation) -> None:
        """See `Port.observe`."""
        if self._assembler.observe(channel, observation):
            self._soon.set()

    async def happen(self, channel: Channel, happening: Happening) -> EventId:
        """See `Port.happen`. Once begun it runs to its end, though the driver or the agent be cancelled: no task group may stop it."""
        task = asyncio.create_task(self._record(channel, happening), name=f"event-{channel}")
        self._recording.add(task)
        task.add_done_callback(self._recording.discard)
        return await asyncio.shield(task)

    async def _record(self, channel: Channel, happening: Happening) -> EventId:
        clock = clocks.read(self._clock)
        draft = Event(
            VERSION,
            _DRAFT_EVENT,
            self._uplink.session,
            channel,
            happening.type,
            wall_of(happening.occurred_mono_ms, clock),
            clock,
            is_drill=happening.is_drill,
            is_boot_asserted=happening.is_boot_asserted,
            cause=happening.cause[:64],
        )
        stored = await self._outbox.put_event(draft)
        self._channel_of[stored.event_id] = channel
        self._uplink.event(stored)
        _log.info("%s: %s, event %s", channel, happening.type, stored.event_id)
        return stored.event_id

    def _port(self, channel: Channel) -> AgentPort:
        return AgentPort(channel, self._clock, self, ChannelMemory(self._outbox, channel), self._resources)

    # — what the server says —————————————————————————————————————————————————————————————————————————————————————

    def _on_desired(self, payload: bytes) -> None:
        self._desired.receive(payload, self._supervisor)

    def _on_command(self, payload: bytes) -> None:
        if self._tasks is not None:
            self._tasks.create_task(self._command(payload), name="command")

    async def _command(self, payload: bytes) -> None:
        try:
            await self._commands.run(payload, self._uplink.session)
        except BadMessage as error:
            self._uplink.bad_messages += 1
            _log.error("bad command: %s", error)

    def _on_acknowledged(self, event: EventId) -> None:
        channel = self._channel_of.pop(event, None)
        if channel is not None:
            self._supervisor.acknowledged(channel, event)

    def _on_connected(self) -> None:
        self._connected_wall_ms = self._clock.wall_ms()
        self._report()

    def _learn_channel(self, stored: StoredEvent) -> None:
        with suppress(BadMessage):
            self._channel_of[stored.event_id] = messages.decode(Event, stored.body).channel

    def _report(self) -> None:
        """Tell the server the configuration in force."""
        in_force = self._desired.in_force
        reported = Reported(
            VERSION,
            self._uplink.session,
            self._supervisor.reported(),
            desired_version=in_force.version,
            heartbeat_interval_s=in_force.heartbeat_interval_s,
            error=in_force.error,
        )
        self._uplink.stand("reported", Up.REPORTED, messages.encode(reported))
        self._soon.set()

    # — what the agent does by itself ————————————————————————————————————————————————————————————————————————————

    async def _beat(self) -> None:
        """Store and send a heartbeat every interval, and soon after a verdict changes."""
        loop = asyncio.get_running_loop()
        while True:
            self._soon.clear()
            session = self._uplink.session
            health = self._health.read(self._outbox.counts, mono_ms=self._clock.mono_ms())
            stored = await self._outbox.put_heartbeat(self._assembler.draft(session, health))
            self._uplink.live(stored, session)
            if self._outbox.failure == "":
                await self._outbox.save_rescued()
            self._beat_at_s = loop.time()
            interval_s = self._desired.in_force.heartbeat_interval_s
            await asyncio.sleep(min(_SOON_S, interval_s))
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, interval_s * random.uniform(0.95, 1.0) - _SOON_S)):
                    await self._soon.wait()

    async def _tick(self) -> None:
        """Write the status, feed the watchdog, remember good time."""
        feed_s = sdnotify.watchdog_interval_s()
        loop = asyncio.get_running_loop()
        fed_at_s = loop.time()
        while True:
            self._write_status()
            self._remember_good_time()
            if feed_s is not None and loop.time() - fed_at_s >= min(feed_s, _TICK_S) and self._is_moving(loop.time()):
                sdnotify.notify("WATCHDOG=1")
                fed_at_s = loop.time()
            await asyncio.sleep(_TICK_S)

    def _is_moving(self, now_s: float) -> bool:
        """Whether heartbeats are still made, through event loop and outbox alike."""
        return now_s - self._beat_at_s < self._desired.in_force.heartbeat_interval_s + _STALE_S

    def _remember_good_time(self) -> None:
        """Raise the clock's floor to what the server's certificate and something on this machine both vouch for.

        The certificate was held against the clock when the connection was made: a clock that was set ahead since is not believed,
        for a floor never sinks again.
        """
        if not self._uplink.is_connected or not self._clock.quality().is_trusted:
            return
        vouched_ms = self._connected_wall_ms + self._clock.mono_ms() - self._uplink.since_ms
        known_ms, good_ms = int(self._outbox.recall("", "good_time_ms") or 0), min(vouched_ms, self._clock.wall_ms())
        if good_ms - known_ms >= 3_600_000 or self._outbox.recall("", "good_boot") != self._clock.boot:
            self._outbox.remember("", "good_time_ms", str(max(known_ms, good_ms)))
            self._outbox.remember("", "good_boot", self._clock.boot)

    def _write_status(self) -> None:
        try:
            self._status_file.write(self._page.read())
        except OSError as error:
            if self._status_error != str(error):
                _log.error("%s cannot be written: %s", self._config.status_file, error)
            self._status_error = str(error)
        else:
            self._status_error = ""
