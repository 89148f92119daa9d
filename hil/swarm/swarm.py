"""All nodes of a swarm: connected, beating in step with the clock, and at the end accounted for with the server."""

import asyncio
import resource
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Final

from hil.demo.errors import DemoFailed
from hil.demo.fleet import FleetApi
from hil.swarm.identity import Identity, Where
from hil.swarm.node import SwarmNode
from hil.swarm.plan import Plan, devices

_CONNECTING_AT_ONCE: Final = 24
_ASKING_AT_ONCE: Final = 100
_ASK_EVERY_S: Final = 5.0
_QUERIES_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class Account:
    """What was made, and what became of it."""

    nodes: int
    devices: int
    seconds: float
    heartbeats_made: int
    heartbeats_stored: int
    """As the server's streams say."""
    heartbeats_held: int
    """Not acknowledged to the swarm."""
    replayed: int
    acks: int
    reconnects: int
    worst_delay_s: float
    """The most that a heartbeat was made after its time: more than a moment means that the swarm itself was too slow."""
    connect_s: float
    cpu_s: float
    """Of the swarm's own process, while it beat."""

    @property
    def lost(self) -> int:
        """Heartbeats that are neither stored nor held."""
        return max(0, self.heartbeats_made - self.heartbeats_stored - self.heartbeats_held)

    @property
    def rate(self) -> float:
        """Device-heartbeats made per second."""
        return self.heartbeats_made * self.devices / self.seconds

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {**asdict(self), "lost": self.lost, "device_heartbeats_per_s": round(self.rate, 1)}


class Swarm:
    """Runs in one event loop."""

    def __init__(self, plan: Plan, identities: Sequence[Identity], where: Where) -> None:
        """`identities` are enrolled already."""
        self._plan = plan
        self.nodes: Final = [
            SwarmNode(
                identity,
                devices(plan.devices),
                broker=(where.mqtt_host, where.mqtt_port),
                ca_file=where.ca_file,
                interval_s=plan.interval_s,
            )
            for identity in identities
        ]
        self._worst_delay_s = 0.0

    async def run(
        self, duration_s: float, api: FleetApi, *, say: Callable[[str], None], is_ready: Callable[[], None], within_s: float = 120.0
    ) -> Account:
        """Connect, beat for `duration_s`, and settle; `is_ready` is called when all nodes beat.

        Raises:
            DemoFailed: not all nodes could connect.
        """
        began_s = time.monotonic()
        running: list[asyncio.Task[None]] = []
        try:
            await self._connect(running, within_s=within_s)
            connect_s = time.monotonic() - began_s
            say(f"{len(self.nodes)} nodes are connected after {connect_s:.1f} s; each speaks every {self._plan.interval_s:.2f} s")
            is_ready()
            cpu_s, began_s = _cpu_s(), time.monotonic()
            await self._beat(duration_s)
            seconds, cpu_s = time.monotonic() - began_s, _cpu_s() - cpu_s
            await self._settle(within_s=within_s)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        return Account(
            nodes=len(self.nodes),
            devices=self._plan.devices,
            seconds=round(seconds, 3),
            heartbeats_made=sum(node.outbox.made for node in self.nodes),
            heartbeats_stored=await self._stored(api),
            heartbeats_held=sum(node.outbox.held for node in self.nodes),
            replayed=sum(node.replayed for node in self.nodes),
            acks=sum(node.acks for node in self.nodes),
            reconnects=sum(node.connects - 1 for node in self.nodes),
            worst_delay_s=round(self._worst_delay_s, 3),
            connect_s=round(connect_s, 2),
            cpu_s=round(cpu_s, 2),
        )

    async def _connect(self, running: list[asyncio.Task[None]], *, within_s: float) -> None:
        gate = asyncio.Semaphore(_CONNECTING_AT_ONCE)

        async def one(node: SwarmNode) -> None:
            async with gate:
                running.append(asyncio.create_task(node.run(), name=node.identity.serial))
                await node.connected.wait()

        try:
            async with asyncio.timeout(within_s):
                await asyncio.gather(*(one(node) for node in self.nodes))
        except TimeoutError as error:
            missing = [node for node in self.nodes if not node.connected.is_set()]
            why = missing[0].failure if missing else ""
            raise DemoFailed(f"{len(missing)} of {len(self.nodes)} nodes are not connected after {within_s:.0f} s: {why}") from error

    async def _beat(self, duration_s: float) -> None:
        """Let the nodes speak one after the other, evenly over each interval."""
        begin_s = time.monotonic()
        step_s = self._plan.interval_s / len(self.nodes)
        for number in range(int(duration_s / step_s)):
            due_s = begin_s + number * step_s
            wait_s = due_s - time.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            else:
                self._worst_delay_s = max(self._worst_delay_s, -wait_s)
                if number % 50 == 0:
                    await asyncio.sleep(0)  # acknowledgements must be read, however late we are
            await self.nodes[number % len(self.nodes)].beat()

    async def _settle(self, *, within_s: float) -> None:
        """Give the server what it misses, until it has acknowledged all or time is up."""
        is_sure = False
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while waiting := [node for node in self.nodes if node.outbox.held]:
                    for start in range(0, len(waiting), _ASKING_AT_ONCE):
                        await asyncio.gather(*(node.ask(is_sure=is_sure) for node in waiting[start : start + _ASKING_AT_ONCE]))
                    await self._await_acks(waiting)
                    is_sure = True

    async def _await_acks(self, waiting: list[SwarmNode]) -> None:
        """Give the server time to acknowledge, and no more than it needs."""
        until_s = time.monotonic() + _ASK_EVERY_S
        for node in waiting:
            while node.outbox.held and time.monotonic() < until_s:  # noqa: ASYNC110  # acknowledgements come by the client's callbacks
                await asyncio.sleep(0.1)

    async def _stored(self, api: FleetApi) -> int:
        """Ask the server how many heartbeats of each node's stream it has stored."""
        gate = asyncio.Semaphore(_QUERIES_AT_ONCE)

        async def one(node: SwarmNode) -> int:
            async with gate:
                streams = await api.get(f"/nodes/{node.identity.serial}/streams")
            return sum(stream["stored"] for stream in streams if stream["stream"] == node.outbox.stream)

        return sum(await asyncio.gather(*(one(node) for node in self.nodes)))


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
