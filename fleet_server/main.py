"""The one place where everything is wired: settings in, a server out. `serve.py` runs what is made here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

from cryptography import x509
from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry

from fleet_server import health, problems
from fleet_server.access import routes as access_routes
from fleet_server.access.guard import Guard
from fleet_server.access.service import Access
from fleet_server.alarms import routes as alarms_routes
from fleet_server.alarms.service import Alarms
from fleet_server.bodies import BodyLimit
from fleet_server.clock import Clock, SystemClock
from fleet_server.commands import routes as commands_routes
from fleet_server.commands.courier import Courier
from fleet_server.commands.service import Commands
from fleet_server.console import routes as console_routes
from fleet_server.console.services import ConsoleServices, DemoControl
from fleet_server.console.sources import console_services
from fleet_server.enrolment import routes as enrolment_routes
from fleet_server.enrolment.metrics import EnrolmentMetrics
from fleet_server.enrolment.service import EnrolmentService
from fleet_server.errors import Transient
from fleet_server.exemptions import routes as exemptions_routes
from fleet_server.exemptions.service import Exemptions
from fleet_server.ingest import routes as ingest_routes
from fleet_server.ingest.bad_messages import BadMessages
from fleet_server.ingest.journal import Journal
from fleet_server.ingest.metrics import IngestMetrics
from fleet_server.ingest.mqtt import BrokerAddress
from fleet_server.ingest.service import Ingest
from fleet_server.news import routes as news_routes
from fleet_server.presence import routes as presence_routes
from fleet_server.presence.service import Presence
from fleet_server.purging import Purge, Purging
from fleet_server.registry import routes as registry_routes
from fleet_server.registry.service import Registry
from fleet_server.scoring import routes as scoring_routes
from fleet_server.scoring.service import Scoring
from fleet_server.settings import BadSettings, Settings, TelemetryMode
from fleet_server.storage import Database, changes
from fleet_server.storage.changes import ChangeFeed
from fleet_server.telemetry.hours import rewriting
from fleet_server.telemetry.metrics import TelemetryMetrics
from fleet_server.telemetry.promise import RETENTION_MS, Bucket, TelemetryStore
from fleet_server.telemetry.service import Telemetry
from fleet_server.telemetry.sqlite import SqliteTelemetry
from fleet_server.uptime import routes as uptime_routes
from fleet_server.uptime.service import Uptime
from provisioning.claims import KEY_BYTES
from provisioning.pki import Pki, load_pki
from provisioning.profile import ProfileName
from provisioning.signer import FileSigner

_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """Every service of one process, wired and not yet running."""

    settings: Settings
    base: Path
    clock: Clock
    database: Database
    pki: Pki
    metrics: CollectorRegistry
    feed: ChangeFeed
    access: Access
    registry: Registry
    enrolment: EnrolmentService
    journal: Journal
    bad_messages: BadMessages
    ingest: Ingest
    exemptions: Exemptions
    presence: Presence
    uptime: Uptime
    alarms: Alarms
    commands: Commands
    courier: Courier
    scoring: Scoring
    telemetry: Telemetry
    purging: Purging

    @property
    def authorities(self) -> list[x509.Certificate]:
        """What EST hands out: the root and the CA that signs nodes."""
        return [self.pki.root, self.pki.certificate(ProfileName.DEVICE_CA)]


def build(settings: Settings, base: Path, database: Database, *, broker: BrokerAddress, clock: Clock | None = None) -> Rooms:
    """Wire all rooms; call inside the event loop that will run them. `base` is the folder of the settings file.

    Raises:
        BadSettings: a file that the settings name cannot be read.
        provisioning.errors.ProvisioningError: the PKI is incomplete.
    """
    clock = clock or SystemClock()
    metrics = CollectorRegistry()
    pki = load_pki(base / settings.pki.dir)
    registry = Registry(database, clock, supervision_ms=settings.supervision.by_kind_ms())
    journal = Journal(database)
    ingest_metrics = IngestMetrics(metrics)
    bad_messages = BadMessages(database, clock, ingest_metrics)
    ingest = Ingest(
        journal=journal,
        registry=registry,
        bad=bad_messages,
        broker=broker,
        clock=clock,
        metrics=ingest_metrics,
        ack_interval_s=settings.ingest.ack_interval_s,
    )
    exemptions = Exemptions(database, registry.directory, clock)
    presence = Presence(
        database,
        journal,
        registry.directory,
        exemptions,
        clock,
        node_supervision_ms=int(settings.supervision.node_s * 1000),
        mark_simulated=registry.mark_simulated,
        is_listening=lambda: not ingest.why_not_ready(),
    )
    access = Access(database, clock)
    uptime = Uptime(database, journal, registry.directory, exemptions, clock, refolded=rewriting(clock))
    enrolment = enrolment_service(settings, base, database, registry, pki=pki, clock=clock)
    EnrolmentMetrics(lambda: enrolment.refusals, metrics)
    telemetry = Telemetry(
        database=database,
        journal=journal,
        directory=registry.directory,
        store=telemetry_store(settings, base),
        states=presence,
        ledger=uptime,
        figures=Figures(ingest_metrics, presence),
        metrics=TelemetryMetrics(metrics),
        clock=clock,
    )
    kept_ms = settings.retention.changes_days * _DAY_MS
    purges: dict[str, Purge] = {
        "changes": lambda: changes.purge(database, kept_ms=kept_ms, now_ms=clock.now_ms()),
        "sessions": access.purge,
        "time_series": telemetry.purge,
    }
    return Rooms(
        settings=settings,
        base=base,
        clock=clock,
        database=database,
        pki=pki,
        metrics=metrics,
        feed=ChangeFeed(database),
        access=access,
        registry=registry,
        enrolment=enrolment,
        journal=journal,
        bad_messages=bad_messages,
        ingest=ingest,
        exemptions=exemptions,
        presence=presence,
        uptime=uptime,
        alarms=Alarms(database, journal, registry.directory, clock),
        commands=Commands(database, registry.directory, clock),
        courier=Courier(database, journal, ingest, clock),
        scoring=Scoring(database, registry.directory, presence, clock, is_demo=settings.fleet.is_demo),
        telemetry=telemetry,
        purging=Purging(purges, metrics, clock),
    )


def enrolment_service(
    settings: Settings, base: Path, database: Database, registry: Registry, *, pki: Pki | None = None, clock: Clock | None = None
) -> EnrolmentService:
    """Return the service that makes claim codes and answers EST.

    Raises:
        BadSettings: the claim key cannot be read, or is not whole.
        provisioning.errors.ProvisioningError: the device CA or its key is not here.
    """
    clock = clock or SystemClock()
    signer = FileSigner.of(pki or load_pki(base / settings.pki.dir), now=_utc(clock))
    key_file = base / settings.pki.claim_key_file
    claim_key = read_secret(key_file)
    if len(claim_key) < KEY_BYTES:
        raise BadSettings(f"The secret {key_file} has fewer than {KEY_BYTES} bytes: bring it back from a backup.")
    return EnrolmentService(database, registry, signer, clock=clock, claim_key=claim_key)


def web_app(rooms: Rooms, *, checks: Mapping[str, health.Check] = MappingProxyType({}), demo_control: str | None = None) -> FastAPI:
    """Return console, API and health as one application; `demo_control` adds the panel that breaks things in a demo.

    `checks` are those of `/readyz` that rooms know nothing of.

    `app.state.end_feeds()` ends the pages' live feeds; call it, in the event loop, before the listener stops.
    """
    app = FastAPI(title="Smart Safety Zone fleet", version="1", openapi_url="/api/v1/openapi.json", docs_url=None, redoc_url=None)
    problems.install(app)
    guard = Guard(rooms.access, public_url=rooms.settings.console_url)
    app.include_router(_api(rooms, guard), prefix="/api/v1")
    app.include_router(health.router({**_checks(rooms), **checks}, rooms.metrics))
    app.state.end_feeds = console_routes.install(app, _console(rooms, guard, demo_control))
    app.add_middleware(BodyLimit, larger={"/api/v1/imports/": registry_routes.MAX_FILE_BYTES})
    return app


def telemetry_store(settings: Settings, base: Path) -> TelemetryStore:
    """Return the store of time series that the settings name; nothing is connected yet.

    Raises:
        BadSettings: the token's file cannot be read.
        TelemetryUnavailable: the embedded file cannot be used.
    """
    section = settings.telemetry
    match section.mode:
        case TelemetryMode.SQLITE:
            kept = {**RETENTION_MS, Bucket.HOT: section.retention_days * _DAY_MS}
            return SqliteTelemetry(base / section.path, retention_ms=kept)
        case TelemetryMode.INFLUXDB:
            from fleet_server.telemetry.influx import InfluxTelemetry  # its client takes a second to load

            token = read_secret(base / section.token_file).decode().strip()
            return InfluxTelemetry(section.url, org=section.org, token=token)


def read_secret(path: Path) -> bytes:
    """Return the bytes of a secret's file.

    Raises:
        BadSettings: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadSettings(f"The secret {path} cannot be read: {error.strerror}.") from error


class Figures:
    """How this server does, for its own row of time series. Satisfies telemetry's `FigureSource`."""

    def __init__(self, ingest: IngestMetrics, presence: Presence) -> None:
        self._ingest = ingest
        self._presence = presence
        self._told_blind_ms = 0

    def figures(self) -> Mapping[str, int | float]:
        """Return counters since the start of this process, how far live state is behind, and for how long nobody watched.

        `blind_s` is of the time since the last call, so that its sum over any span is the blind time in it; the first after a
        start holds the whole stop.
        """
        told_ms, self._told_blind_ms = self._told_blind_ms, self._presence.blind_ms()
        return {
            **self._ingest.figures(),
            "presence_lag": self._presence.lag(),
            "blind_s": (self._told_blind_ms - told_ms) / 1000,
        }


def _api(rooms: Rooms, guard: Guard) -> APIRouter:
    api = APIRouter()
    clock = rooms.clock
    for router in (
        access_routes.router(rooms.access, guard),
        registry_routes.router(rooms.registry, guard),
        enrolment_routes.router(rooms.enrolment, guard),
        ingest_routes.router(rooms.journal, rooms.bad_messages, guard, rooms.registry),
        exemptions_routes.router(rooms.exemptions, guard),
        presence_routes.router(rooms.presence, guard),
        uptime_routes.router(rooms.uptime, guard, clock),
        alarms_routes.router(rooms.alarms, guard, clock),
        commands_routes.router(rooms.commands, guard),
        scoring_routes.router(rooms.scoring, guard),
        news_routes.router(rooms.database, rooms.feed, guard),
    ):
        api.include_router(router)
    return api


def _checks(rooms: Rooms) -> dict[str, health.Check]:
    def database() -> str:
        try:
            rooms.journal.newest_id()
        except Transient as error:
            return str(error)
        return ""

    checks: dict[str, health.Check] = {"database": database}
    if rooms.settings.roles.ingest:
        checks["ingest"] = rooms.ingest.why_not_ready
    return checks


def _console(rooms: Rooms, guard: Guard, demo_control: str | None) -> ConsoleServices:
    return console_services(
        presence=rooms.presence,
        uptime=rooms.uptime,
        scoring=rooms.scoring,
        alarms=rooms.alarms,
        registry=rooms.registry,
        access=rooms.access,
        journal=rooms.journal,
        guard=guard,
        database=rooms.database,
        feed=rooms.feed,
        clock=rooms.clock,
        demo=_demo(demo_control),
        is_demo=rooms.settings.fleet.is_demo,
        is_https=rooms.settings.console_url.startswith("https://"),
    )


def _demo(control: str | None) -> DemoControl | None:
    if not control:
        return None
    from fleet_server.console.demo import HttpDemoControl  # its HTTP client takes half a second to load

    return HttpDemoControl(control)


def _utc(clock: Clock) -> Callable[[], datetime]:
    return lambda: datetime.fromtimestamp(clock.now_ms() / 1000, UTC)
