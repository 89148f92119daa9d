"""The life of the agent's process: open the outbox, run, stop on a signal, close."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from firmware_agent import sdnotify
from firmware_agent.agent import Agent
from firmware_agent.clock import SystemClock
from firmware_agent.config import Config
from firmware_agent.drivers.promise import Factory
from firmware_agent.identity.model import Identity
from firmware_agent.outbox.model import Limits
from firmware_agent.outbox.outbox import open_outbox
from firmware_agent.outbox.store import Store
from firmware_agent.supervisor import installed_factory

_STOP_WITHIN_S: Final = 2.8


async def run_agent(config: Config, identity: Identity, *, find: Callable[[str], Factory] = installed_factory) -> None:
    """Run the node's agent until SIGTERM, SIGINT or cancellation.

    Raises:
        OutboxBusy: another agent runs in this data folder.
    """
    limits = Limits(retention_ms=int(config.outbox.retention_days * 86_400_000), max_bytes=config.outbox.max_mb * 1024 * 1024)
    clock = SystemClock(identity.clock_bounds(), assume=config.clock.assume)

    def make(path: Path) -> Store:
        return Store(path, node=identity.node, boot=clock.boot, limits=limits, hardware=hardware())

    outbox = await open_outbox(make, config.data_dir, identity.node)
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
