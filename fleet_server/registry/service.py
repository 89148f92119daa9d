"""The registry: the one place that knows what belongs where."""

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Connection

from firmware_agent.contract.ids import Channel, NodeId, new_node_id
from firmware_agent.contract.vocabulary import Kind
from fleet_server.access import audit
from fleet_server.access.model import Scope
from fleet_server.clock import Clock
from fleet_server.errors import Conflict, NotFound, Rejected
from fleet_server.registry import imports, store
from fleet_server.registry.csv_cells import ImportKind, free_text, serial_text
from fleet_server.registry.import_job import Job
from fleet_server.registry.imports import ImportReport
from fleet_server.registry.model import DEFAULT_SUPERVISION_MS, Directory, InstallationRef, NodeRef, Position, Unit, Zone
from fleet_server.storage import Database

_LOOK_EVERY_S: Final = 1.0


class _Undo(Exception):  # never seen outside: it only ends a transaction
    """Leave the transaction and write nothing."""


class Registry:
    """Units, zones, positions, nodes and installations. Thread-safe."""

    def __init__(self, database: Database, clock: Clock, *, supervision_ms: Mapping[Kind, int] = DEFAULT_SUPERVISION_MS) -> None:
        """`supervision_ms` holds for positions that have none of their own."""
        self._database = database
        self._clock = clock
        self._supervision_ms = supervision_ms
        self._lock = threading.Lock()
        self._directory: Directory | None = None
        self._looked_at_s = 0.0

    def directory(self) -> Directory:
        """Return the snapshot; changes of this process show at once, those of another within a second.

        Raises:
            StorageUnavailable: the database does not answer.
        """
        with self._lock:
            now_s = self._clock.mono_s()
            if self._directory is None or now_s - self._looked_at_s >= _LOOK_EVERY_S:
                self._directory = self._fresh(self._directory)
                self._looked_at_s = now_s
            return self._directory

    def refresh(self) -> Directory:
        """Return the snapshot as it is in the database now."""
        with self._lock:
            self._directory = self._fresh(self._directory)
            self._looked_at_s = self._clock.mono_s()
            return self._directory

    def _fresh(self, known: Directory | None) -> Directory:
        with self._database.read() as connection:
            if known is not None and store.version(connection) == known.version:
                return known
            return store.directory(connection, self._supervision_ms)

    def units(self, scope: Scope) -> list[Unit]:
        """Return units by path."""
        with self._database.read() as connection:
            return store.units(connection, scope)

    def zones(self, scope: Scope) -> list[Zone]:
        """Return zones that touch the scope, by code."""
        with self._database.read() as connection:
            return store.zones(connection, scope)

    def positions(self, scope: Scope, *, kind: Kind | None = None, after: str | None = None, limit: int | None = None) -> list[Position]:
        """Return positions by code, retired ones too; `after` is the code before the first one wanted."""
        with self._database.read() as connection:
            return store.positions(connection, self._supervision_ms, scope=scope, kind=kind, after=after, limit=limit)

    def position(self, code: str, scope: Scope) -> Position:
        """Return one position.

        Raises:
            NotFound: there is none of that code in the scope.
        """
        ref = self.directory().position_of_code(code)
        if ref is None or not scope.contains(ref.unit_path) or not isinstance(ref, Position):
            raise NotFound(f"There is no position {code[:64]!r}.")
        return ref

    def nodes(self, scope: Scope, *, after: str | None = None, limit: int | None = None) -> list[NodeRef]:
        """Return nodes by serial number; `after` is the serial number before the first one wanted."""
        with self._database.read() as connection:
            return store.nodes(connection, scope=scope, after=after, limit=limit)

    def node(self, name: str, scope: Scope) -> NodeRef:
        """Return one node by id or serial number.

        Raises:
            NotFound: there is no such node in the scope.
        """
        with self._database.read() as connection:
            return _node(connection, name, scope)

    def add_node(
        self, serial: str, unit_path: str, *, actor: str, is_simulated: bool = False, label: str = "", scope: Scope = Scope.ALL
    ) -> NodeId:
        """Make a node known; return its new id.

        Raises:
            Conflict: the serial number is known already.
            Rejected: the serial number is not well-formed.
            NotFound: there is no such unit in the scope.
        """
        try:
            node = NodeRef(new_node_id(), serial_text(serial), unit_path, is_simulated, free_text(label))
        except ValueError as error:
            raise Rejected(f"The node cannot be added: {error}.") from error
        with self._changing() as connection:
            _check_unit(connection, unit_path, scope)
            if store.nodes_of_serials(connection, [serial]):
                raise Conflict(f"Node {serial!r} is known already.")
            now_ms = self._clock.now_ms()
            store.add_nodes(connection, [node], now_ms)
            data = {"node": node.id, "is_simulated": is_simulated}
            audit.append(connection, at_ms=now_ms, actor=actor, action="node.add", subject=serial, unit_path=unit_path, data=data)
        return node.id

    def mark_simulated(self, node: NodeId, *, actor: str = "system") -> bool:
        """Mark a node as simulated, for ever; return whether it was not before."""
        known = self.directory().nodes.get(node)
        if known is None or known.is_simulated:
            return False
        with self._changing() as connection:
            is_new = store.mark_simulated(connection, node)
            if is_new:
                at_ms = self._clock.now_ms()
                audit.append(
                    connection, at_ms=at_ms, actor=actor, action="node.mark_simulated", subject=known.serial, unit_path=known.unit_path
                )
        return is_new

    def install(
        self,
        position_code: str,
        node_name: str,
        channel: Channel,
        *,
        actor: str,
        scope: Scope = Scope.ALL,
        device_serial: str = "",
        device_model: str = "",
    ) -> None:
        """Let a channel of a node serve a position from now on; what served it before stays in its history (a swap).

        A position that was not commissioned is, from now on.

        Raises:
            NotFound: there is no such position or node in the scope.
            Conflict: the channel serves another position, or the position is retired.
        """
        now_ms = self._clock.now_ms()
        with self._changing() as connection:
            position = _position(connection, position_code, scope, self._supervision_ms)
            node = _node(connection, node_name, scope)
            if position.retired_at_ms is not None:
                raise Conflict(f"Position {position.code} is retired.")
            _check_free(connection, node, channel, position)
            store.end_installations(connection, [position.id], now_ms)
            installation = InstallationRef(
                position_id=position.id,
                node=node.id,
                channel=channel,
                from_ms=now_ms,
                device_serial=device_serial,
                device_model=device_model,
            )
            store.begin_installations(connection, [installation])
            if position.commissioned_at_ms is None:
                store.change_position(connection, position.id, {"commissioned_at_ms": now_ms})
            data = {"node": node.id, "channel": channel, "device_serial": device_serial}
            audit.append(
                connection,
                at_ms=now_ms,
                actor=actor,
                action="position.install",
                subject=position.code,
                unit_path=position.unit_path,
                data=data,
            )

    def retire(self, position_code: str, *, actor: str, scope: Scope = Scope.ALL) -> None:
        """End a position: its hardware leaves it, its history stays, its time stops counting.

        Raises:
            NotFound: there is no such position in the scope.
            Conflict: it is retired already.
        """
        now_ms = self._clock.now_ms()
        with self._changing() as connection:
            position = _position(connection, position_code, scope, self._supervision_ms)
            if position.retired_at_ms is not None:
                raise Conflict(f"Position {position.code} is retired already.")
            store.end_installations(connection, [position.id], now_ms)
            store.change_position(connection, position.id, {"retired_at_ms": now_ms})
            audit.append(
                connection, at_ms=now_ms, actor=actor, action="position.retire", subject=position.code, unit_path=position.unit_path
            )

    def import_csv(self, kind: ImportKind, text: str, *, dry_run: bool, actor: str, scope: Scope = Scope.ALL) -> ImportReport:
        """Bring a file into the registry: all of it, or nothing if one row is wrong. The same file again changes nothing.

        Raises:
            Rejected: it is no CSV file with the columns of that kind; nothing was written.
        """
        job: Job | None = None
        try:
            with self._changing() as connection:
                job = Job(connection, scope, self._clock.now_ms())
                imports.apply(job, kind, text)
                if dry_run or job.findings.errors or not job.created + job.updated:
                    raise _Undo
                _audit_import(job, kind, text, actor)
        except _Undo:
            pass
        assert job is not None
        return _report(job, kind, is_dry_run=dry_run)

    @contextmanager
    def _changing(self) -> Iterator[Connection]:
        with self._database.write() as connection:
            store.begin_change(connection)
            yield connection
        with self._lock:
            self._looked_at_s = float("-inf")


def _node(connection: Connection, name: str, scope: Scope) -> NodeRef:
    node = store.node_named(connection, name, scope) if name.isprintable() else None
    if node is None:
        raise NotFound(f"There is no node {name[:64]!r}.")
    return node


def _position(connection: Connection, code: str, scope: Scope, supervision_ms: Mapping[Kind, int]) -> Position:
    position = store.position_of_code(connection, supervision_ms, code)
    if position is None or not scope.contains(position.unit_path):
        raise NotFound(f"There is no position {code[:64]!r}.")
    return position


def _check_unit(connection: Connection, unit_path: str, scope: Scope) -> None:
    known: Sequence[Unit] = store.units(connection, scope)
    if unit_path not in {unit.path for unit in known}:
        raise NotFound(f"There is no unit {unit_path[:200]!r}. Import units first.")


def _check_free(connection: Connection, node: NodeRef, channel: Channel, position: Position) -> None:
    for other in store.installations_of(connection, node_ids=[node.id]):
        if other.channel == channel and other.to_ms is None and other.position_id != position.id:
            raise Conflict(f"Channel {channel!r} of node {node.serial!r} serves another position. Move that one first.")


def _audit_import(job: Job, kind: ImportKind, text: str, actor: str) -> None:
    digest = hashlib.sha256(text.encode()).hexdigest()
    data = {"rows": job.rows, "created": job.created, "updated": job.updated, "sha256": digest}
    audit.append(
        job.connection,
        at_ms=job.now_ms,
        actor=actor,
        action="registry.import",
        subject=kind.value,
        unit_path=job.scope.unit_path,
        data=data,
    )


def _report(job: Job, kind: ImportKind, *, is_dry_run: bool) -> ImportReport:
    is_refused = bool(job.findings.errors)
    return ImportReport(
        kind=kind,
        is_dry_run=is_dry_run,
        rows=job.rows,
        created=0 if is_refused else job.created,
        updated=0 if is_refused else job.updated,
        unchanged=0 if is_refused else job.rows - job.created - job.updated,
        errors=job.findings.errors,
        warnings=job.findings.warnings,
    )
