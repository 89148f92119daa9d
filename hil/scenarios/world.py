"""A whole fleet as processes: a server with its broker and databases, and a few nodes. Starts it, hurts it, settles it, audits it."""

import asyncio
import random
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from hil.faults.proxy import FaultProxy
from hil.scenarios import registry
from hil.scenarios.account import SAFE_MS, Count, heartbeat_faults, press_faults, uptime_faults
from hil.scenarios.errors import BrokenPromise
from hil.scenarios.fingers import Fingers
from hil.scenarios.node import Node
from hil.scenarios.server import Server
from hil.scenarios.setup import Setup, new_seed
from hil.scenarios.waiting import until

RECOVERY_S: Final = 60.0
"""Bound of every recovery: the longest pause between attempts of server and agents is 15 s; a loaded machine is slow."""


class World:
    """One world. Everything dies with it, and with the process that made it.

    `server.api` is the fleet's public API; `database_line` and `influx_line` are the ways to the real servers, None where embedded.
    """

    def __init__(
        self,
        folder: Path,
        setup: Setup | None = None,
        *,
        nodes: int = 2,
        seed: int | None = None,
        say: Callable[[str], None] = lambda _: None,
        env: Mapping[str, Mapping[str, str]] | None = None,
        must_enrol: bool = True,
    ) -> None:
        """Nothing runs yet.

        Args:
            folder: new and empty.
            setup: its parts; default: all embedded.
            nodes: how many.
            seed: of all random points; default: a new one, which is said.
            say: told of what happens.
            env: by serial, what is added to the environment of an agent.
            must_enrol: whether nodes are enrolled and started at once; if not, `claims` has their codes.
        """
        self.folder: Final = folder
        self.setup: Final = setup or Setup()
        self._say: Final = say
        self._began_s = time.monotonic()
        self.claims: Final[dict[str, str]] = {}
        seed = new_seed() if seed is None else seed
        self.say(f"seed {seed}")
        self.rng: Final = random.Random(seed)
        self._stack = AsyncExitStack()
        self._runtime = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="ssz-")))
        self._must_enrol = must_enrol
        self.server: Final = Server(folder / "server", self.setup)
        self.nodes: Final = [
            Node(serial, folder / "nodes" / serial, self.server, runtime=self._runtime, env=(env or {}).get(serial))
            for serial in registry.serials(nodes)
        ]
        self.fingers: Final = Fingers(self.nodes, rng=self.rng)
        self.database_line: FaultProxy | None = None
        self.influx_line: FaultProxy | None = None

    def say(self, sentence: str) -> None:
        """Tell what happens, with the seconds since the beginning."""
        self._say(f"{time.monotonic() - self._began_s:5.1f} s  {sentence}")

    async def __aenter__(self) -> "World":
        """Install and start everything; returns once all nodes are connected."""
        try:
            await self._begin()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End everything, in whatever state it is."""
        await self._stack.aclose()

    async def _begin(self) -> None:
        self.database_line = await self._line(self.setup.database_line())
        self.influx_line = await self._line(self.setup.influx_line())
        ports = {"database_port": self.database_line.port if self.database_line else 0}
        ports["influx_port"] = self.influx_line.port if self.influx_line else 0
        self._stack.push_async_callback(self.server.aclose)
        await self.server.install(self.setup.settings(**ports))
        await self.server.start()
        self.claims.update(await self.server.register([node.serial for node in self.nodes]))
        for node in self.nodes:
            self._stack.push_async_callback(node.aclose)
            await node.wire()
        if self._must_enrol:
            await asyncio.gather(*(node.enrol(self.claims[node.serial]) for node in self.nodes))
            if not self.setup.database_url:
                await asyncio.to_thread(self.server.back_up)
            await self.resume()
        self.say("all is up")

    async def _line(self, line: FaultProxy | None) -> FaultProxy | None:
        return None if line is None else await self._stack.enter_async_context(line)

    async def resume(self) -> None:
        """Start the server and the agents, those that do not run, and wait until all are connected."""
        if not self.server.is_running:
            await self.server.start()
        await asyncio.gather(*(node.start() for node in self.nodes if not node.is_running))
        await self.connected()

    # ---- waiting ----------------------------------------------------------------------------------------------------

    async def connected(self) -> None:
        """Wait until the server is ready and all nodes are connected."""
        await until(self.server.api.is_ready, "the server is ready again", within_s=RECOVERY_S)
        await until(lambda: all(node.is_connected for node in self.nodes), "all nodes are connected", within_s=RECOVERY_S)

    async def heartbeats(self, count: int) -> None:
        """Wait until every node has made so many more heartbeats, stored or not."""
        goal = {node.serial: node.made + count for node in self.nodes}
        within_s = 20 + 3 * count
        await until(lambda: all(n.made >= goal[n.serial] for n in self.nodes), f"{count} more heartbeats are made", within_s=within_s)

    async def acknowledged(self) -> None:
        """Wait until the server has said of everything made until now that it is stored."""
        made = {node.serial: node.made for node in self.nodes}

        async def is_all_stored() -> bool:
            return all([await self._through(node) >= made[node.serial] for node in self.nodes])

        await until(is_all_stored, "all heartbeats made are stored", within_s=RECOVERY_S)
        await until(lambda: all(node.events_held == 0 for node in self.nodes), "all events are acknowledged", within_s=RECOVERY_S)
        await until(lambda: all(node.held <= 6 for node in self.nodes), "all nodes were told so", within_s=RECOVERY_S)

    async def _through(self, node: Node) -> int:
        streams = await self.server.api.get(f"/nodes/{node.serial}/streams")
        return sum(0 if stream["gaps"] else stream["through"] for stream in streams)

    async def charted(self) -> None:
        """Wait until the time series have all of the journal."""

        async def is_caught_up() -> bool:
            return await self.server.metric("ssz_telemetry_lag_rows") == 0 and await self.server.metric("ssz_telemetry_up") == 1

        await until(is_caught_up, "the time series have caught up with the journal", within_s=RECOVERY_S + 75)

    # ---- the account ------------------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Take the fingers off, let everything arrive, and stop the agents."""
        self.say("settling")
        await self.fingers.stop()
        await self.connected()
        await self.acknowledged()
        await asyncio.gather(*(self.stop(node) for node in self.nodes))

    async def stop(self, node: Node) -> None:
        """Stop an agent in order (SIGTERM).

        Raises:
            BrokenPromise: it ended badly.
        """
        status = await node.stop()
        if status != 0:
            raise BrokenPromise(f"the agent of {node.serial} ended with status {status} at SIGTERM")

    async def audit(self) -> Count:
        """Compare what fingers and nodes did with what the server says it stored; the agents must have been stopped.

        Raises:
            BrokenPromise: something is lost, doubled, or does not add up; the message says all of it.
        """
        faults: list[str] = []
        heartbeats = 0
        for node in self.nodes:
            books, known = node.books(), await self.server.api.get(f"/nodes/{node.serial}/streams")
            faults += heartbeat_faults(node.serial, books, known)
            faults += [f"{node.serial}: event {event} is not acknowledged" for event in books.events_held]
            heartbeats += sum(stream.made for stream in books.streams)
        presses = await self.server.api.all("/presses")
        faults += press_faults(self.fingers.touches, presses, self._surely())
        for node in self.nodes:
            for device in registry.wired(node.serial):
                usage = await self.server.api.get(f"/positions/{device.code}/uptime")
                faults += uptime_faults(device.code, usage["whole"]["parts"])
        if faults:
            raise BrokenPromise("; ".join(faults))
        count = Count(heartbeats, len(self.fingers.touches), len(presses))
        self.say(f"{count.heartbeats} heartbeats and {count.presses} presses (of {count.touches} touches): none lost, none doubled")
        return count

    def _surely(self) -> dict[int, bool]:
        """Return which touches the agent had the time to keep: it noticed them, and was not killed for long enough."""
        nodes = {code: node for node in self.nodes for code in node.buttons}
        return {
            index: touch.is_amber_seen and nodes[touch.code].was_up(touch.at_ms, touch.at_ms + SAFE_MS)
            for index, touch in enumerate(self.fingers.touches)
        }

    async def check_ledger(self, env: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Stop the server, make its ledger again, and compare; `env` may set the clock on, so that hours are closed.

        Raises:
            BrokenPromise: it is not the same, byte for byte.
        """
        await self.server.stop()
        report = await self.server.rebuild(env)
        if not report["is_same"] or not report["hours"]:
            raise BrokenPromise(f"fleet rebuild made another ledger: {report}")
        self.say(f"the ledger of {report['hours']} hours of positions is the same, made again")
        return report
