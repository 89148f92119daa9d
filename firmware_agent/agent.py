"""The one place where the running agent is wired: one process, one event loop, one task group."""

import asyncio
import logging
import os
import random
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
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
from firmware_agent.outbox.model import Limits, StoredEvent
from firmware_agent.outbox.outbox import Outbox, open_outbox
from firmware_agent.outbox.store import Store
from firmware_agent.ports import AgentPort, ChannelMemory, SharedResources
from firmware_agent.status import AgentStatus, ChannelStatus, ClockStatus, EventStatus, FunctionStatus, StatusFile, StreamStatus
from firmware_agent.supervisor import Supervisor, installed_factory
from firmware_agent.uplink.link import Server
from firmware_agent.uplink.uplink import Ears, Speaker, Uplink

_DRAFT_EVENT: Final = EventId("0" * 56)
_SOON_S: Final = 1.0
"""Least time between two heartbeats, when a verdict changes."""
_STOP_WITHIN_S: Final = 2.8
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
        self._channel_of: dict[EventId, Channel] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._soon = asyncio.Event()
        self._beat_at_s = 0.0

    async def run(self) -> None:
        """Run until cancelled."""
        for stored in await self._outbox.events():
            self._learn_channel(stored)
        self._beat_at_s = asyncio.get_running_loop().time()
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                ears = Ears(self._on_desired, self._on_command, self._on_acknowledged, self._report)
                tasks.create_task(self._uplink.run(ears), name="uplink")
                tasks.create_task(self._supervisor.run(), name="supervisor")
                tasks.create_task(self._beat(), name="heartbeat")
                tasks.create_task(self._tick(), name="tick")
                sdnotify.notify("READY=1")
        finally:
            self._tasks = None
            await self._resources.aclose()
            self._uplink.why_not_connected = "the agent was stopped"
            self._write_status()

    # — what drivers say —————————————————————————————————————————————————————————————————————————————————————————

    def observe(self, channel: Channel, observation: Observation) -> None:
        """See `Port.observe`."""
        if self._assembler.observe(channel, observation):
            self._soon.set()

    async def happen(self, channel: Channel, happening: Happening) -> EventId:
        """See `Port.happen`. Once begun it runs to its end, though the driver be cancelled."""
        if self._tasks is None:
            raise RuntimeError("the agent does not run")
        task = self._tasks.create_task(self._record(channel, happening), name=f"event-{channel}")
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
        """Raise the clock's floor while the server's certificate and something on this machine both vouch for the time."""
        if not self._uplink.is_connected or not self._clock.quality().is_trusted:
            return
        known_ms, now_ms = int(self._outbox.recall("", "good_time_ms") or 0), self._clock.wall_ms()
        if now_ms - known_ms >= 3_600_000 or self._outbox.recall("", "good_boot") != self._clock.boot:
            self._outbox.remember("", "good_time_ms", str(max(known_ms, now_ms)))
            self._outbox.remember("", "good_boot", self._clock.boot)

    def _write_status(self) -> None:
        try:
            self._status_file.write(self.status())
        except OSError as error:
            _log.error("%s cannot be written: %s", self._config.status_file, error)

    def status(self) -> AgentStatus:
        """Return what the agent knows of itself."""
        counts, wall_ms, mono_ms = self._outbox.counts, self._clock.wall_ms(), self._clock.mono_ms()
        complaint = self._clock.bounds.complaint(wall_ms)
        why = self._uplink.why_not_connected
        return AgentStatus(
            written_at_ms=wall_ms,
            pid=os.getpid(),
            agent=__version__,
            node_id=self._identity.node,
            serial=self._identity.serial,
            is_simulated=self._config.node.is_simulated,
            is_connected=self._uplink.is_connected,
            session=self._uplink.session,
            why_not_connected="" if self._uplink.is_connected else "; ".join(part for part in (why, complaint) if part),
            since_s=(mono_ms - self._uplink.since_ms) // 1000,
            clock=ClockStatus(wall_ms, self._clock.quality(), complaint),
            streams=[StreamStatus(s.stream, s.made, s.acked, s.held, s.evicted) for s in counts.streams],
            events=EventStatus(counts.events_made, counts.events_acked, counts.events_held),
            outbox_failure=self._outbox.failure,
            desired_version=self._desired.in_force.version,
            desired_error=self._desired.in_force.error,
            heartbeat_interval_s=self._desired.in_force.heartbeat_interval_s,
            bad_messages=self._uplink.bad_messages,
            channels=self._channel_statuses(mono_ms),
        )

    def _channel_statuses(self, mono_ms: int) -> list[ChannelStatus]:
        latest = self._assembler.latest()
        found: list[ChannelStatus] = []
        for channel in self._supervisor.reported():
            functions: list[FunctionStatus] = []
            for function in channel.functions:
                seen = latest.get((channel.channel, function))
                verdict = self._assembler.verdict(channel.channel, function)
                cause = seen.cause if seen is not None and verdict is seen.verdict else ""
                functions.append(FunctionStatus(function, verdict, cause, None if seen is None else mono_ms - seen.observed_mono_ms))
            found.append(ChannelStatus(channel.channel, channel.kind, channel.driver, channel.is_simulated, channel.error, functions))
        return found


def server_of(config: Config, identity: Identity) -> Server:
    """Return where and how to connect."""
    if config.server.insecure_no_tls:
        _log.warning("insecure: server.insecure_no_tls speaks plain MQTT without certificates; use it on test benches only")
        return Server(config.server.mqtt_host, config.server.mqtt_port, config.server.keepalive_s)
    return Server(
        config.server.mqtt_host,
        config.server.mqtt_port,
        config.server.keepalive_s,
        ca_file=config.ca_file,
        cert_file=identity.cert_file,
        key_file=identity.key_file,
    )


async def run_agent(config: Config, identity: Identity, *, find: Callable[[str], Factory] = installed_factory) -> None:
    """Run the node's agent until SIGTERM, SIGINT or cancellation.

    Raises:
        StorageFailed: the outbox cannot be opened.
    """
    limits = Limits(retention_ms=int(config.outbox.retention_days * 86_400_000), max_bytes=config.outbox.max_mb * 1024 * 1024)
    clock = SystemClock(identity.clock_bounds(), assume=config.clock.assume)
    path = config.data_dir / "outbox.db"
    outbox = await open_outbox(lambda: Store(path, node=identity.node, boot=clock.boot, limits=limits, hardware=hardware()), identity.node)
    try:
        good_ms = int(outbox.recall("", "good_time_ms") or 0)
        clock.raise_floor(good_ms, "the last time known to be good", was_synchronised=outbox.recall("", "good_boot") == clock.boot)
        await _until_signal(Agent(config, identity, clock, outbox, find))
    finally:
        sdnotify.notify("STOPPING=1")
        await outbox.aclose()


async def _until_signal(agent: Agent) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None, "runs in a task"
    was_signalled = False

    def stop() -> None:
        nonlocal was_signalled
        was_signalled = True
        end = threading.Timer(_STOP_WITHIN_S, os._exit, (1,))  # a driver that does not let go must not hold up the machine
        end.daemon = True
        end.start()
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        await agent.run()
    except asyncio.CancelledError:
        if not was_signalled:
            raise
        task.uncancel()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def hardware() -> str:
    """Return what tells this machine from another that the same card is put into."""
    for file in ("/proc/device-tree/serial-number", "/sys/class/dmi/id/product_uuid", "/etc/machine-id"):
        with suppress(OSError):
            return Path(file).read_bytes().strip(b"\0\n").decode(errors="replace")
    return ""
