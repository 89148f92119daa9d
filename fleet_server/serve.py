"""Runs a server: broker, consumers of the journal, and the HTTP listeners, as tasks of one group until a signal comes."""

import asyncio
import fcntl
import gc
import json
import logging
import os
import resource
import signal
import socket
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fleet_server.certificates.lists import Lists
from fleet_server.certificates.renewal import Served, keep_reloaded, keep_renewed, order_of
from fleet_server.clock import SystemClock
from fleet_server.errors import Conflict, FleetError, Rejected, Transient
from fleet_server.ingest.mqtt import BrokerAddress
from fleet_server.installation.broker import broker_files, export_broker
from fleet_server.listeners import Listener, bind, certificate_context
from fleet_server.settings import HOW_TO_HTTPS, BrokerMode, Settings, database_url
from fleet_server.workers import WorkerMetrics, Workers
from provisioning.broker.embedded.adapter import EmbeddedBroker
from provisioning.broker.mosquitto import MosquittoBroker
from provisioning.broker.promise import Broker, keep_running
from provisioning.crl import refresh_crls
from provisioning.errors import ProvisioningError
from provisioning.files import write_file

if TYPE_CHECKING:  # loaded while the broker starts, see `serve`
    from fastapi import FastAPI

    from fleet_server.main import Rooms
    from fleet_server.storage import Database

_log = logging.getLogger(__name__)
_CANCEL_AGAIN_S: Final = 1.0
_STOP_WITHIN_S: Final = 10.0
_OBJECTS_BEFORE_COLLECTION: Final = 50_000
"""Python's 700 are the evidence of two messages: looking for cycles among it cost a tenth of all work."""


async def serve(
    settings: Settings, base: Path, *, watchdog: ExitStack, demo_control: str | None = None, ready_file: Path | None = None
) -> None:
    """Run until SIGINT or SIGTERM.

    Args:
        settings: of this process.
        base: folder of the settings file.
        watchdog: to be closed when everything has ended, worker threads too.
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
        stack.enter_context(only_server_of(base))
        sockets = _bind_all(settings)
        for bound in sockets.values():
            stack.callback(bound.close)
        lists = Lists(base / settings.pki.dir, lambda: _refresh_crls(settings, base), SystemClock())
        await asyncio.to_thread(lists.begin)
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
        lists.measure(rooms.metrics)
        await _run(rooms, lists, broker, sockets, stop, demo_control, ready_file, watchdog)


async def _run(
    rooms: "Rooms",
    lists: Lists,
    broker: Broker | None,
    sockets: dict[str, socket.socket],
    stop: asyncio.Event,
    demo_control: str | None,
    ready_file: Path | None,
    watchdog: ExitStack,
) -> None:
    from fleet_server.main import web_app

    web = web_app(rooms, checks={"crl": lists.why_not_ready}, demo_control=demo_control) if sockets else None
    served = _certificates(rooms.settings, rooms.base) if sockets else {}
    listeners = {} if web is None else _listeners(rooms, sockets, web, served)
    tasks: dict[str, Coroutine[Any, Any, None]] = {f"listener-{name}": listener.run_until_stopped() for name, listener in listeners.items()}
    tasks |= {
        "changes": rooms.feed.run(),
        "crl": lists.keep_fresh(broker.reload if broker is not None else None),
        "certificates": keep_reloaded(list(served.values())),
    }
    order = order_of(rooms.settings, rooms.base)
    if order is not None and "http" in served:
        tasks["acme"] = keep_renewed(order, served["http"].chain, rooms.clock)
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
            "purging": rooms.purging.run(),
        }
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(_must_go_on(name, work, stop), name=name) for name, work in tasks.items()]
        for listener in listeners.values():
            await listener.answers.wait()
        if listeners and rooms.settings.is_overheard:
            _log.warning("%s is plain http: passwords can be read on their way. %s", rooms.settings.console_url, HOW_TO_HTTPS)
        if ready_file is not None:
            write_file(ready_file, _ready(rooms.settings, broker))
        _log.info("The console is at %s, enrolment at %s", rooms.settings.console_url, rooms.settings.est_url)
        await stop.wait()
        _log.info("Stopping")
        watchdog.enter_context(_at_most(_STOP_WITHIN_S))
        if web is not None:
            web.state.end_feeds()
        for listener in listeners.values():
            listener.should_exit = True
            listener.force_exit = True  # a program's feed of changes never ends by itself
        await _end([task for task in running if not task.get_name().startswith("listener-")])


@contextmanager
def only_server_of(base: Path) -> Iterator[None]:
    """Hold the data folder while the block runs; the system lets go of it when the process ends, however it ends.

    Raises:
        Conflict: another server holds it.
        Rejected: the folder cannot be written.
    """
    try:
        lock = (base / "serve.lock").open("a+")
    except OSError as error:
        raise Rejected(f"The folder {base} cannot be written: {error.strerror}.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            raise Conflict(f"Another fleet serve (process {lock.read().strip() or '?'}) runs on {base}: stop it first.") from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


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


def _certificates(settings: Settings, base: Path) -> dict[str, Served]:
    """Return what the listeners that speak TLS serve, by listener."""
    files = {"est": (settings.est.certificate_file, settings.est.key_file)}
    if settings.http.certificate_file:
        files["http"] = (settings.http.certificate_file, settings.http.key_file)
    return {name: Served(base / chain, base / key, certificate_context(base / chain, base / key)) for name, (chain, key) in files.items()}


def _listeners(rooms: "Rooms", sockets: dict[str, socket.socket], web: "FastAPI", served: dict[str, Served]) -> dict[str, Listener]:
    from fleet_server.enrolment.est_app import est_app

    return {
        "http": Listener(web, sockets["http"], tls=served["http"].context if "http" in served else None),
        "est": Listener(est_app(rooms.enrolment, rooms.authorities), sockets["est"], tls=served["est"].context),
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


def _refresh_crls(settings: Settings, base: Path) -> None:
    refresh_crls(base / settings.pki.dir, datetime.now(UTC))
    export_broker(settings, base)


def _ready(settings: Settings, broker: Broker | None) -> bytes:
    # Of a broker that somebody else runs we know two addresses: ours, and the port for nodes.
    host, port = broker.endpoint if broker is not None else (settings.broker.host, settings.broker.devices_port)
    said = {"console_url": settings.console_url, "est_url": settings.est_url, "mqtt": {"host": host, "port": port}}
    return json.dumps(said, indent=2).encode()


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks until they are done: `asyncio.wait_for` of Python 3.11, which libraries use, may swallow a cancellation."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_S)


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """End the process if the block takes longer: what is acknowledged is stored, so a hard end loses nothing."""

    def give_up() -> None:
        _log.error("Something does not stop: it is ended after %.0f s", seconds)
        os._exit(1)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _allow_many_connections() -> None:
    """Open as many files as the system lets us, and our broker with us: the usual 1,024 are used up by any stranger's connections."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class PartFailed(Transient):
    """A part of the server failed in a way that nobody foresaw; the log has the details."""


async def _must_go_on(name: str, work: Coroutine[Any, Any, None], stop: asyncio.Event) -> None:
    """Run a part of the server that may end only when the server does: half a server would look alive."""
    await work
    if not stop.is_set():
        raise PartFailed(f"The server stopped because a part of it ended by itself: {name}.")


def run(settings: Settings, base: Path, *, demo_control: str | None = None, ready_file: Path | None = None) -> None:
    """Run `serve` to its end; the first thing that went wrong is raised by itself, not in a group.

    Raises:
        FleetError, ProvisioningError: it could not start, or cannot go on; the message is for the person who started it.
    """
    gc.set_threshold(_OBJECTS_BEFORE_COLLECTION)
    _allow_many_connections()
    with suppress(KeyboardInterrupt), ExitStack() as watchdog:
        try:
            asyncio.run(serve(settings, base, watchdog=watchdog, demo_control=demo_control, ready_file=ready_file))
        except (FleetError, ProvisioningError):
            raise
        except Exception as error:
            first = _first(error)
            if isinstance(first, FleetError | ProvisioningError):
                raise first from error
            _log.critical("A part of the server failed", exc_info=error)
            raise PartFailed(
                f"The server stopped because a part of it failed ({type(first).__name__}: {first}); the log says where."
            ) from error


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
