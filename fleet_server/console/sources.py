"""The console's promises, answered by the server's services. All reading; the one act is to acknowledge a press."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, cast

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
from fleet_server.console.facts import FunctionNow, Hour, Node, Position, PositionDetail, Press, Unit, Viewer, Zone
from fleet_server.console.services import ConsoleServices, DemoControl
from fleet_server.ingest.journal import Journal
from fleet_server.ingest.model import Lane
from fleet_server.presence.layers import PositionStatus
from fleet_server.presence.model import FunctionState, Segment
from fleet_server.presence.service import Presence
from fleet_server.problems import Unauthenticated
from fleet_server.registry.model import Directory, PositionRef
from fleet_server.registry.service import Registry
from fleet_server.scoring.innovation import Innovation
from fleet_server.scoring.service import Scoring
from fleet_server.storage import Database, changes
from fleet_server.storage.changes import Change, ChangeFeed
from fleet_server.uptime.model import HOUR_MS, WHOLE, Parts, hour_of
from fleet_server.uptime.service import Uptime

_RECENT_MS: Final = 180_000
"""The newest check of a device is looked for this far back."""


class _Check(NamedTuple):
    """One check of a function: when, and the numbers it gave."""

    at_ms: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFleet:
    """See `services.Fleet`."""

    registry: Registry
    presence: Presence
    uptime: Uptime
    scoring: Scoring
    journal: Journal
    clock: Clock

    def units(self, unit_path: str) -> Sequence[Unit]:
        """See `Fleet`."""
        return [Unit(unit.path, unit.name_th, unit.name_en) for unit in self.registry.units(Scope(unit_path))]

    def zones(self, unit_path: str) -> Sequence[Zone]:
        """See `Fleet`."""
        return [Zone(zone.code, zone.name_th, zone.name_en, zone.lead_unit_path) for zone in self.registry.zones(Scope(unit_path))]

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
        checks = self._newest_checks(status.node, status.channel)
        return PositionDetail(
            position=_position(status, ref),
            layers=found.layers,
            functions=[_function(function, checks.get(function.function)) for function in status.functions],
            node_serial="" if node is None else node.serial,
            channel=status.channel or "",
            supervision_ms=ref.supervision_ms,
            latitude=ref.lat,
            longitude=ref.lon,
            owner=ref.owner,
            maintainer=ref.maintainer,
            warranty_until=ref.warranty_until,
        )

    def _newest_checks(self, node: NodeId | None, channel: Channel | None) -> Mapping[Function, _Check]:
        """Return the newest check of each function, from the newest live heartbeat that tells of the channel."""
        if node is None or channel is None:
            return {}
        now_ms = self.clock.now_ms()
        for row in reversed(self.journal.of_node(node, from_ms=now_ms - _RECENT_MS, to_ms=now_ms + _RECENT_MS)):
            if row.lane is not Lane.LIVE:
                continue
            try:
                heartbeat = decode(Heartbeat, row.payload)
            except BadMessage:  # stored by a server that was more tolerant
                continue
            # The node's clock may be wrong; how old the evidence was when it was sent is not.
            ahead_ms = row.received_at_ms - heartbeat.clock.wall_ms
            found = {e.function: _Check(e.observed_at_ms + ahead_ms, e.metrics) for e in heartbeat.evidence if e.channel == channel}
            if found:
                return found
        return {}

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
        """See `Fleet`. Closed hours come from the ledger, what is open is folded; before the ledger began, nothing is known."""
        rows = self.uptime.hours(code, scope=Scope.ALL, from_ms=hour_of(from_ms), to_ms=to_ms)
        has_whole = any(row.function == WHOLE for row in rows)
        closed = {row.hour_ms: row.parts for row in rows if row.function == WHOLE or not has_whole}
        open_from_ms = max((hour_ms + HOUR_MS for hour_ms in closed), default=hour_of(to_ms))
        told = self._unwatched(code, hour_of(from_ms), min(closed, default=open_from_ms))
        told.extend(Hour(hour_ms, hour_ms + HOUR_MS, parts) for hour_ms, parts in sorted(closed.items()))
        for hour_ms in range(open_from_ms, to_ms, HOUR_MS):
            parts = self.usage([code], from_ms=hour_ms, to_ms=min(to_ms, hour_ms + HOUR_MS)).get(code)
            told.extend([] if parts is None else [Hour(hour_ms, min(to_ms, hour_ms + HOUR_MS), parts)])
        return told

    def _unwatched(self, code: str, from_ms: int, to_ms: int) -> list[Hour]:
        ref = self.registry.directory().position_of_code(code)
        if ref is None or ref.commissioned_at_ms is None:
            return []
        began_ms = max(from_ms, ref.commissioned_at_ms)
        starts = range(hour_of(began_ms), to_ms, HOUR_MS)
        spans = [(max(began_ms, hour_ms), hour_ms + HOUR_MS) for hour_ms in starts]
        return [Hour(start_ms, end_ms, Parts(unknown_ms=end_ms - start_ms)) for start_ms, end_ms in spans]

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


def _function(state: FunctionState, check: _Check | None) -> FunctionNow:
    now = FunctionNow(*state)
    return now if check is None else replace(now, observed_at_ms=check.at_ms, metrics=check.metrics)


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
        zone_code=place.zone_code if place else "",
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
