"""`python -m provisioning.broker.embedded --config FILE`: runs the embedded broker until SIGTERM. SIGHUP reloads certificates and lists.

It logs JSON lines to standard error and says `{"ready": true, "port": …}` on standard output once it listens.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from provisioning.broker.embedded import logs
from provisioning.broker.embedded.gate import Gate
from provisioning.broker.embedded.router import Router
from provisioning.broker.embedded.settings import EmbeddedSettings, load_settings
from provisioning.errors import ProvisioningError
from provisioning.files import write_file

_log = logging.getLogger(__name__)


async def run(settings: EmbeddedSettings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ProvisioningError: a file is missing or bad.
        OSError: the address cannot be had.
    """
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    router = Router(max_queued_messages=settings.max_queued_messages)
    gate = Gate(settings, router)
    await router.start()
    port = await gate.start()
    again = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, again.set)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    _say_ready(settings, port)
    async with asyncio.TaskGroup() as tasks:
        reloading = tasks.create_task(_reload(gate, again), name="reload")
        await over.wait()
        reloading.cancel()
    gate.stop()


async def _reload(gate: Gate, again: asyncio.Event) -> None:
    while True:
        await again.wait()
        again.clear()
        await gate.reload()


def _say_ready(settings: EmbeddedSettings, port: int) -> None:
    ready = {"ready": True, "port": port, "pid": os.getpid()}
    if settings.ready_file:
        write_file(Path(settings.ready_file), json.dumps(ready).encode())
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()


def _exit_with_parent() -> None:
    """Exit when standard input ends: the parent holds its other end and is gone."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def main() -> None:
    """Run the embedded broker."""
    parser = argparse.ArgumentParser(prog="python -m provisioning.broker.embedded", description="The embedded MQTT broker of a fleet.")
    parser.add_argument("--config", type=Path, required=True, help="settings, JSON or TOML")
    parser.add_argument("--exit-with-parent", action="store_true", help="end when standard input ends")
    arguments = parser.parse_args()
    logs.set_up()
    if arguments.exit_with_parent:
        _exit_with_parent()
    status = 0
    try:
        settings = load_settings(arguments.config)
        asyncio.run(_run_and_leave(settings))
    except ProvisioningError as error:
        _log.error("%s", error)  # the sentence says it all
        status = 1
    except OSError as error:
        _log.error("Cannot listen on %s:%d: %s", settings.host, settings.port, error.strerror)  # likewise
        status = 1
    sys.exit(status)


async def _run_and_leave(settings: EmbeddedSettings) -> None:
    await run(settings)
    # All that the broker holds is memory; waiting for the router to unwind its tasks would only make a stop slow.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
