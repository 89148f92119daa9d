"""The data path, wired: broker → receiver → journal → acknowledgement."""

import asyncio
import logging
from contextlib import suppress
from typing import Final, Protocol

from firmware_agent.contract.ids import NodeId
from firmware_agent.contract.topics import Down
from fleet_server.clock import Clock
from fleet_server.errors import Transient
from fleet_server.ingest.acks import Acknowledger
from fleet_server.ingest.bad_messages import BadMessages
from fleet_server.ingest.journal import Journal
from fleet_server.ingest.metrics import IngestMetrics
from fleet_server.ingest.model import Reason
from fleet_server.ingest.mqtt import BrokerAddress, Mqtt, Timing
from fleet_server.ingest.receiver import Known, Received, Receiver
from fleet_server.ingest.writer import Writer, WriterLimits

_log = logging.getLogger(__name__)
_REFRESH_S: Final = 1.0
_FLUSH_S: Final = 2.0


class Directories(Protocol):
    """What the data path asks of the registry."""

    def directory(self) -> Known:
        """Return the newest snapshot; may read the database."""
        ...

    def refresh(self) -> object:
        """Forget the snapshot, so that the next one is read anew."""
        ...


class Ingest:
    """One MQTT session and one writer. Satisfies `Downlink`."""

    def __init__(
        self,
        *,
        journal: Journal,
        registry: Directories,
        bad: BadMessages,
        broker: BrokerAddress,
        clock: Clock,
        metrics: IngestMetrics,
        ack_interval_s: float = 60.0,
        limits: WriterLimits | None = None,
        timing: Timing | None = None,
    ) -> None:
        """Call inside the event loop that will `run` it; reads the registry once."""
        self._registry = registry
        self._bad = bad
        self._receiver = Receiver(registry.directory(), clock, bad, metrics)
        self.mqtt: Final = Mqtt(broker, self._take, clock, metrics, timing=timing)
        self._acks = Acknowledger(self.mqtt, clock, metrics, interval_s=ack_interval_s)
        self.writer: Final = Writer(journal, bad, clock, metrics, on_commit=self._acks.committed, limits=limits)
        self._met_stranger = asyncio.Event()
        self._is_paused = asyncio.Event()

    async def publish(self, node: NodeId, message: Down, payload: bytes, *, retain: bool = False) -> None:
        """See `Downlink`."""
        await self.mqtt.publish(node, message, payload, retain=retain)

    def why_not_ready(self) -> str:
        """Return why nothing can be stored now, empty when all is well."""
        if not self.writer.is_storing:
            return "the journal cannot be written"
        return "" if self.mqtt.is_connected else f"no connection to the broker: {self.mqtt.failure}"

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.writer.run(), name="ingest-writer")
            group.create_task(self._acks.run(), name="ingest-acks")
            group.create_task(self._follow_registry(), name="ingest-registry")
            group.create_task(self._flush_bad(), name="ingest-bad-messages")
            group.create_task(self._resume_when_there_is_room(), name="ingest-pause")
            group.create_task(self.mqtt.run(), name="ingest-mqtt")

    def _take(self, topic: str, payload: bytes, is_retained: bool) -> None:
        received = self._receiver.receive(topic, payload, is_retained=is_retained)
        if received is not None:
            self._offer(received)
        elif self._receiver.strangers:
            self._met_stranger.set()

    def _offer(self, received: Received) -> None:
        if not self.writer.offer(received):
            self.mqtt.pause()
            self._is_paused.set()
            for entry in received.entries:
                self._bad.add(Reason.OVERFLOW, node=entry.node, topic=f"up/{entry.topic}", payload=b"")

    async def _resume_when_there_is_room(self) -> None:
        while True:
            await self._is_paused.wait()
            await self.writer.wait_room()
            self._is_paused.clear()
            self.mqtt.resume()

    async def _follow_registry(self) -> None:
        """Take newer snapshots; at once when an unknown node speaks, because it may have been added just now."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_REFRESH_S):
                    await self._met_stranger.wait()
            self._met_stranger.clear()
            strangers = list(self._receiver.strangers)
            self._receiver.strangers.clear()
            with suppress(Transient):
                self._receiver.learn(await asyncio.to_thread(self._newest, is_forced=bool(strangers)))
            for stranger in strangers:
                received = self._receiver.receive(stranger.topic, stranger.payload, is_retained=stranger.is_retained, is_second_look=True)
                if received is not None:
                    self._offer(received)
            if strangers:
                await asyncio.sleep(_REFRESH_S / 4)  # a stranger that keeps talking must not keep the database busy

    def _newest(self, *, is_forced: bool) -> Known:
        if is_forced:
            self._registry.refresh()
        return self._registry.directory()

    async def _flush_bad(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_S)
            try:
                await asyncio.to_thread(self._bad.flush)
            except Transient as error:
                _log.debug("Counts of bad messages wait: %s", error)
