"""The console's promises, answered by the server's services. All reading; the one act is to acknowledge a press."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from firmware_agent.contract.ids import Channel, NodeId
from firmware_agent.contract.messages import BadMessage, Heartbeat, decode
from firmware_agent.contract.vocabulary import Function
from fleet_server.access.guard import Guard
from fleet_server.access.model import Permission, Principal, Role, Scope
from fleet_server.access.service import Access
from fleet_server.alarms import model as alarms_model
from fleet_server.alarms.model import PressState
from fleet_server.alarms.service import Alarms
from fleet_server.clock import Clock
from fleet_server.console.facts import FunctionNow, Hour, Node, Position, PositionDetail, Press, Viewer, Zone
from fleet_server.console.services import ConsoleServices, DemoControl
from fleet_server.ingest.journal import Journal
from fleet_server.ingest.model import Lane
from fleet_server.presence.layers import PositionStatus
from fleet_server.presence.model import Segment
from fleet_server.presence.service import Presence
from fleet_server.problems import Unauthenticated
from fleet_server.registry.model import Directory, PositionRef, Unit
from fleet_server.registry.service import Registry
from fleet_server.scoring.innovation import Innovation
from fleet_server.scoring.service import Scoring
from fleet_server.storage import Database, changes
from fleet_server.storage.changes import Change, ChangeFeed
from fleet_server.uptime.model import HOUR_MS, WHOLE, Parts, hour_of
from fleet_server.uptime.service import Uptime

_RECENT_MS: Final = 180_000
"""The newest numbers of a device are looked for this far back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFleet:
    """See `services.Fleet`."""

    registry: Registry
    presence: Presence
    uptime: Uptime
    scoring: Scoring
    journal: Journal
    clock: Clock

    def zones(self, unit_path: str) -> Sequence[Zone]:
        """See `Fleet`."""
        units = {unit.path: unit for unit in self.registry.units(Scope.ALL)}
        return [
            Zone(
                code=zone.code,
                name_th=zone.name_th,
                name_en=zone.name_en,
                unit_name_th=_name(units.get(zone.lead_unit_path), "name_th"),
                unit_name_en=_name(units.get(zone.lead_unit_path), "name_en"),
                area_km2=zone.area_km2,
            )
            for zone in self.registry.zones(Scope(unit_path))
        ]

    def positions(self, unit_path: str) -> Sequence[Position]:
        """See `Fleet`."""
        refs = self.registry.directory().positions
        statuses = self.presence.statuses(scope=Scope(unit_path))
        return [_position(status, refs[status.position_id]) for status in statuses if status.position_id in refs]

    def position(self, code: str, unit_path: str) -> PositionDetail:
        """See `Fleet`."""
        scope = Scope(unit_path)
        found = self.presence.position(code, scope=scope)
        ref = self.registry.position(code, scope)
        status = found.status
        node = None if status.node is None else self.registry.directory().nodes.get(status.node)
        numbers = self._newest_numbers(status.node, status.channel)
        return PositionDetail(
            position=_position(status, ref),
            layers=found.layers,
            functions=[FunctionNow(*function, metrics=numbers.get(function.function, {})) for function in status.functions],
            node_serial="" if node is None else node.serial,
            channel=status.channel or "",
            supervision_ms=ref.supervision_ms,
            latitude=ref.lat,
            longitude=ref.lon,
            owner=ref.owner,
            maintainer=ref.maintainer,
            warranty_until="" if ref.warranty_until is None else ref.warranty_until.isoformat(),
        )

    def _newest_numbers(self, node: NodeId | None, channel: Channel | None) -> Mapping[Function, Mapping[str, float]]:
        """Return the numbers that each function's newest live evidence carries."""
        if node is None or channel is None:
            return {}
        now_ms = self.clock.now_ms()
        numbers: dict[Function, Mapping[str, float]] = {}
        for row in reversed(self.journal.of_node(node, from_ms=now_ms - _RECENT_MS, to_ms=now_ms + _RECENT_MS)):
            if row.lane is not Lane.LIVE:
                continue
            try:
                evidence = decode(Heartbeat, row.payload).evidence
            except BadMessage:  # stored by a server that was more tolerant
                continue
            for item in evidence:
                if item.channel == channel and item.metrics:
                    numbers.setdefault(item.function, item.metrics)
            if numbers:
                break
        return numbers

    def usage(self, codes: Sequence[str], *, from_ms: int, to_ms: int) -> Mapping[str, Parts]:
        """See `Fleet`."""
        refs = (self.registry.directory().position_of_code(code) for code in codes)
        ids = [ref.id for ref in refs if ref is not None]
        if not ids:
            return {}
        used = self.uptime.usage(scope=Scope.ALL, from_ms=from_ms, to_ms=to_ms, position_ids=ids)
        return {usage.code: usage.parts for usage in used}

    def segments(self, code: str, *, from_ms: int, to_ms: int) -> Sequence[Segment]:
        """See `Fleet`."""
        return self.uptime.timeline(code, scope=Scope.ALL, from_ms=from_ms, to_ms=to_ms)

    def hours(self, code: str, *, from_ms: int, to_ms: int) -> Sequence[Hour]:
        """See `Fleet`. Closed hours come from the ledger, what is open is folded."""
        rows = self.uptime.hours(code, scope=Scope.ALL, from_ms=hour_of(from_ms), to_ms=to_ms)
        has_whole = any(row.function == WHOLE for row in rows)
        closed = {row.hour_ms: row.parts for row in rows if row.function == WHOLE or not has_whole}
        open_from_ms = max((hour_ms + HOUR_MS for hour_ms in closed), default=hour_of(to_ms))
        told = [Hour(hour_ms, hour_ms + HOUR_MS, parts) for hour_ms, parts in sorted(closed.items())]
        for hour_ms in range(open_from_ms, to_ms, HOUR_MS):
            parts = self.usage([code], from_ms=hour_ms, to_ms=min(to_ms, hour_ms + HOUR_MS)).get(code)
            told.extend([] if parts is None else [Hour(hour_ms, min(to_ms, hour_ms + HOUR_MS), parts)])
        return told

    def nodes(self, unit_path: str) -> Sequence[Node]:
        """See `Fleet`. Nodes that serve nothing and were never heard are left out: they lie in a store room."""
        directory = self.registry.directory()
        return [
            Node(
                id=status.node,
                serial=status.serial,
                label=ref.label if (ref := directory.nodes.get(status.node)) else "",
                is_online=status.is_online,
                since_ms=status.since_ms,
                last_heartbeat_at_ms=status.last_heartbeat_at_ms,
                agent=status.agent,
                is_simulated=status.is_simulated,
            )
            for status in self.presence.nodes(scope=Scope(unit_path))
            if directory.channels(status.node) or status.last_heartbeat_at_ms is not None
        ]

    def innovation(self, unit_path: str) -> Innovation:
        """See `Fleet`."""
        return self.scoring.innovation(scope=Scope(unit_path))


def _name(unit: Unit | None, field: str) -> str:
    return "" if unit is None else str(getattr(unit, field))


def _position(status: PositionStatus, ref: PositionRef) -> Position:
    return Position(
        code=status.code,
        kind=status.kind,
        label_th=ref.label_th or status.code,
        label_en=ref.label_en,
        unit_path=status.unit_path,
        zone_code=status.zone_code,
        state=status.state,
        cause=status.cause,
        since_ms=status.since_ms,
        observed_at_ms=status.observed_at_ms,
        commissioned_at_ms=ref.commissioned_at_ms,
        is_simulated=status.is_simulated,
    )


@dataclass(frozen=True, slots=True)
class ServicePresses:
    """See `services.Presses`."""

    alarms: Alarms
    registry: Registry

    def presses(self, unit_path: str, *, limit: int, is_open: bool | None = None) -> Sequence[Press]:
        """See `Presses`."""
        scope = Scope(unit_path)
        match is_open:
            case None:
                found = self.alarms.recent(scope, limit=limit)
            case True:
                found = self.alarms.open(scope, limit=limit)
            case False:
                answered = (self.alarms.recent(scope, state=state, limit=limit) for state in (PressState.ACKNOWLEDGED, PressState.CLOSED))
                found = sorted((press for presses in answered for press in presses), key=lambda press: -press.number)[:limit]
        directory = self.registry.directory()
        return [_press(press, directory) for press in found]

    def acknowledge(self, event_id: str, viewer: Viewer) -> None:
        """See `Presses`."""
        self.alarms.acknowledge(event_id, principal_of(viewer))


def _press(press: alarms_model.Press, directory: Directory) -> Press:
    node = directory.nodes.get(press.node)
    place = press.position
    fallback = f"{node.serial if node else press.node} / {press.channel}"
    return Press(
        event_id=press.event_id,
        code=press.position_code or "",
        label_th=place.label_th or place.code if place else fallback,
        label_en=place.label_en if place else fallback,
        occurred_at_ms=press.occurred_at_ms,
        stored_at_ms=press.received_at_ms,
        is_drill=press.is_drill,
        is_late=press.is_late,
        acknowledged_at_ms=press.acknowledged_at_ms,
        acknowledged_by=press.acknowledged_by or "",
    )


@dataclass(frozen=True, slots=True)
class ServiceAccounts:
    """See `services.Accounts`."""

    access: Access

    def viewer(self, session: str) -> Viewer | None:
        """See `Accounts`."""
        try:
            return viewer_of(self.access.principal_of_session(session))
        except Unauthenticated:
            return None

    def log_in(self, user: str, password: str, *, address: str) -> str:
        """See `Accounts`."""
        return self.access.log_in(user, password, address=address)

    def log_out(self, session: str) -> None:
        """See `Accounts`."""
        self.access.log_out(session)

    def link_user(self, link: str) -> str:
        """See `Accounts`."""
        return self.access.user_of_link(link)

    def use_link(self, link: str, password: str) -> None:
        """See `Accounts`."""
        self.access.use_link(link, password)


def viewer_of(principal: Principal) -> Viewer:
    """Return a principal as the pages see it."""
    return Viewer(
        name=principal.name,
        role=principal.role.value,
        unit_path=principal.scope.unit_path,
        may_acknowledge=principal.may(Permission.ACKNOWLEDGE_PRESS),
    )


def principal_of(viewer: Viewer) -> Principal:
    """Return a viewer as the services know one; who visits a demo answers there as an operator would."""
    role = Role.CCOC_OPERATOR if viewer.is_anonymous else Role(viewer.role)
    return Principal(viewer.name, role, Scope(viewer.unit_path), "session")


@dataclass(frozen=True, slots=True)
class ServiceChanges:
    """See `services.Changes`."""

    database: Database
    feed: ChangeFeed

    def newest(self) -> int:
        """See `Changes`."""
        with self.database.read() as connection:
            return changes.newest(connection)

    def follow(self, number: int, *, unit_path: str) -> AsyncGenerator[list[Change], None]:
        """See `Changes`."""
        # It is an async generator, and the feed closes it as one.
        return cast("AsyncGenerator[list[Change], None]", self.feed.follow(number, unit_path=unit_path))


def console_services(
    *,
    registry: Registry,
    presence: Presence,
    uptime: Uptime,
    scoring: Scoring,
    alarms: Alarms,
    journal: Journal,
    access: Access,
    guard: Guard,
    database: Database,
    feed: ChangeFeed,
    clock: Clock,
    is_demo: bool = False,
    is_https: bool = False,
    demo: DemoControl | None = None,
) -> ConsoleServices:
    """Put the console's promises together from the services. The panel is there only with `demo`."""
    fleet = ServiceFleet(registry=registry, presence=presence, uptime=uptime, scoring=scoring, journal=journal, clock=clock)
    return ConsoleServices(
        fleet=fleet,
        presses=ServicePresses(alarms, registry),
        accounts=ServiceAccounts(access),
        guard=guard,
        changes=ServiceChanges(database, feed),
        clock=clock,
        demo=demo,
        is_demo=is_demo,
        is_https=is_https,
    )
