"""Runs a server: broker, consumers of the journal, and the HTTP listeners, as tasks of one group until a signal comes."""

import asyncio
import json
import logging
import signal
import socket
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fleet_server.errors import Rejected
from fleet_server.ingest.mqtt import BrokerAddress
from fleet_server.installation.broker import broker_files, export_broker
from fleet_server.listeners import Listener, bind, certificate_context
from fleet_server.settings import BrokerMode, Settings, database_url
from fleet_server.workers import WorkerMetrics, Workers
from provisioning.broker.embedded.adapter import EmbeddedBroker
from provisioning.broker.mosquitto import MosquittoBroker
from provisioning.broker.promise import Broker, BrokerFailed, keep_running
from provisioning.crl import refresh_crls
from provisioning.errors import ProvisioningError
from provisioning.files import write_file

if TYPE_CHECKING:  # loaded while the broker starts, see `serve`
    from fastapi import FastAPI

    from fleet_server.main import Rooms
    from fleet_server.storage import Database

_log = logging.getLogger(__name__)
_CRL_EVERY_S: Final = 15 * 60


async def serve(settings: Settings, base: Path, *, demo_control: str | None = None, ready_file: Path | None = None) -> None:
    """Run until SIGINT or SIGTERM.

    Args:
        settings: of this process.
        base: folder of the settings file.
        demo_control: address of the demo that started this server; adds the demo's panel to the console.
        ready_file: written, whole, once all listeners answer: `{"console_url", "est_url", "mqtt": {"host", "port"}}`.

    Raises:
        FleetError, ProvisioningError: it cannot start; the message is for the person who started it.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    workers = Workers()
    loop.set_default_executor(workers)
    async with AsyncExitStack() as stack:
        sockets = _bind_all(settings)
        for bound in sockets.values():
            stack.callback(bound.close)
        await asyncio.to_thread(_refresh_crls, settings, base)
        broker = _broker(settings, base)
        async with asyncio.TaskGroup() as starting:
            if broker is not None:
                stack.push_async_callback(broker.stop)
                starting.create_task(broker.start(), name="broker-start")
            database = await asyncio.to_thread(_open_database, settings, base)
            stack.callback(database.close)
            from fleet_server.main import build

            rooms = build(settings, base, database, broker=_core_address(settings, base, broker))
        WorkerMetrics(workers, rooms.metrics)
        await _run(rooms, broker, sockets, stop, demo_control, ready_file)


async def _run(
    rooms: "Rooms",
    broker: Broker | None,
    sockets: dict[str, socket.socket],
    stop: asyncio.Event,
    demo_control: str | None,
    ready_file: Path | None,
) -> None:
    from fleet_server.main import web_app

    web = web_app(rooms, demo_control=demo_control) if sockets else None
    listeners = {} if web is None else _listeners(rooms, sockets, web)
    tasks: dict[str, Coroutine[Any, Any, None]] = {f"listener-{name}": listener.run_until_stopped() for name, listener in listeners.items()}
    tasks |= {"changes": rooms.feed.run(), "crl": _keep_crls_fresh(rooms, broker)}
    if broker is not None:
        tasks["broker"] = keep_running(broker)
    if rooms.settings.roles.ingest:
        tasks |= {
            "ingest": rooms.ingest.run(),
            "presence": rooms.presence.run(),
            "uptime": rooms.uptime.run(),
            "alarms": rooms.alarms.run(),
            "commands": rooms.courier.run(),
            "scoring": rooms.scoring.run(rooms.feed),
            "telemetry": rooms.telemetry.run(),
        }
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(work, name=name) for name, work in tasks.items()]
        for listener in listeners.values():
            await listener.answers.wait()
        if ready_file is not None:
            write_file(ready_file, _ready(rooms.settings, broker))
        _log.info("The console is at %s, enrolment at %s", rooms.settings.console_url, rooms.settings.est_url)
        await stop.wait()
        _log.info("Stopping")
        if web is not None:
            web.state.end_feeds()
        for listener in listeners.values():
            listener.should_exit = True
            listener.force_exit = True  # a program's feed of changes never ends by itself
        for task in running:
            if not task.get_name().startswith("listener-"):
                task.cancel()


def _open_database(settings: Settings, base: Path) -> "Database":
    """Open the database; before, load what the rooms are made of, which takes about as long as the broker needs to start."""
    import fleet_server.enrolment.est_app
    import fleet_server.main  # noqa: F401
    from fleet_server.storage.schema import open_database

    return open_database(database_url(settings, base))


def _bind_all(settings: Settings) -> dict[str, socket.socket]:
    """Take all ports before anything is started, so that a taken one costs nothing."""
    if not settings.roles.http:
        return {}
    web = bind(settings.http.host, settings.http.port, setting="http")
    try:
        return {"http": web, "est": bind(settings.est.host, settings.est.port, setting="est")}
    except Rejected:
        web.close()
        raise


def _listeners(rooms: "Rooms", sockets: dict[str, socket.socket], web: "FastAPI") -> dict[str, Listener]:
    from fleet_server.enrolment.est_app import est_app

    settings, base = rooms.settings, rooms.base
    web_tls = None
    if settings.http.certificate_file:
        web_tls = certificate_context(base / settings.http.certificate_file, base / settings.http.key_file)
    est_tls = certificate_context(base / settings.est.certificate_file, base / settings.est.key_file)
    return {
        "http": Listener(web, sockets["http"], tls=web_tls),
        "est": Listener(est_app(rooms.enrolment, rooms.authorities), sockets["est"], tls=est_tls),
    }


def _broker(settings: Settings, base: Path) -> Broker | None:
    files = broker_files(settings, base)
    match settings.broker.mode:
        case BrokerMode.EMBEDDED:
            return EmbeddedBroker(files, base / "broker", host=settings.broker.host, port=settings.broker.port)
        case BrokerMode.MOSQUITTO:
            return MosquittoBroker(files, base / "broker", host=settings.broker.host, port=settings.broker.port)
        case BrokerMode.EXTERNAL:
            return None


def _core_address(settings: Settings, base: Path, broker: Broker | None) -> BrokerAddress:
    host, port = broker.core_endpoint if broker is not None else (settings.broker.host, settings.broker.port)
    return BrokerAddress(
        host=host,
        port=port,
        ca_file=base / settings.pki.dir / "trust" / "servers.pem",
        certificate_file=base / settings.broker.certificate_file,
        key_file=base / settings.broker.key_file,
    )


async def _keep_crls_fresh(rooms: "Rooms", broker: Broker | None) -> None:
    """Sign the lists anew and let the broker read them; a broker with an old list locks every node out."""
    while True:
        await asyncio.sleep(_CRL_EVERY_S)
        try:
            await asyncio.to_thread(_refresh_crls, rooms.settings, rooms.base)
            if broker is not None:
                await broker.reload()
        except (ProvisioningError, BrokerFailed):
            _log.exception("The lists of revoked certificates were not renewed; the last good ones stay in force")


def _refresh_crls(settings: Settings, base: Path) -> None:
    refresh_crls(base / settings.pki.dir, datetime.now(UTC))
    export_broker(settings, base)


def _ready(settings: Settings, broker: Broker | None) -> bytes:
    host, port = broker.endpoint if broker is not None else (settings.broker.host, settings.broker.port)
    said = {"console_url": settings.console_url, "est_url": settings.est_url, "mqtt": {"host": host, "port": port}}
    return json.dumps(said, indent=2).encode()


def run(settings: Settings, base: Path, *, demo_control: str | None = None, ready_file: Path | None = None) -> None:
    """Run `serve` to its end; the first thing that went wrong is raised by itself, not in a group."""
    with suppress(KeyboardInterrupt):
        try:
            asyncio.run(serve(settings, base, demo_control=demo_control, ready_file=ready_file))
        except BaseExceptionGroup as group:
            raise _first(group) from group


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
