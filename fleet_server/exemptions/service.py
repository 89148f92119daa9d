"""Exemptions: declared by people, read by whoever judges positions (`presence` for now, `uptime` for all time)."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from sqlalchemy import Connection

from fleet_server.access import audit
from fleet_server.access.model import Scope
from fleet_server.clock import Clock
from fleet_server.errors import NotFound, Rejected
from fleet_server.exemptions import store
from fleet_server.exemptions.model import Calendar, Exemption, ExemptionKind
from fleet_server.registry.model import Directory, PositionRef
from fleet_server.storage import Database

_LOOK_EVERY_S: Final = 1.0
_KEPT_MS: Final = 35 * 86_400_000
"""How long the calendar keeps what has ended: longer than a server is ever down, so that the end is not missed."""
_FOREVER_MS: Final = 1 << 60


class Exemptions:
    """Who reads learns of a change by the calendar's version, whichever process made it. Thread-safe."""

    def __init__(self, database: Database, directory: Callable[[], Directory], clock: Clock) -> None:
        """`directory` returns the registry's snapshot of now."""
        self._database = database
        self._directory = directory
        self._clock = clock
        self._lock = threading.Lock()
        self._calendar: Calendar | None = None
        self._looked_at_s = 0.0

    # ---- reading ----------------------------------------------------------------------------------------------------

    def calendar(self) -> Calendar:
        """Return the snapshot; changes of this process show at once, those of another within a second.

        Raises:
            StorageUnavailable: the database does not answer.
        """
        with self._lock:
            now_s = self._clock.mono_s()
            if self._calendar is None or now_s - self._looked_at_s >= _LOOK_EVERY_S:
                self._calendar = self._fresh(self._calendar)
                self._looked_at_s = now_s
            return self._calendar

    def _fresh(self, known: Calendar | None) -> Calendar:
        with self._database.read() as connection:
            version = store.version(connection)  # first: should a change slip in between, the next look finds it
            if known is not None and version == known.version:
                return known
            return Calendar(version, store.between(connection, from_ms=self._clock.now_ms() - _KEPT_MS, to_ms=_FOREVER_MS))

    def between(self, *, from_ms: int, to_ms: int, positions: Sequence[str] | None = None) -> dict[str, list[Exemption]]:
        """Return those in force that touch a window, by position; of all positions unless some are named."""
        found: dict[str, list[Exemption]] = {}
        with self._database.read() as connection:
            for exemption in store.between(connection, from_ms=from_ms, to_ms=to_ms, positions=positions):
                found.setdefault(exemption.position_id, []).append(exemption)
        return found

    def of_position(self, code: str, *, scope: Scope) -> list[Exemption]:
        """Return those of a position in force, newest first.

        Raises:
            NotFound: no such position in this scope.
        """
        ref = self._position(code, scope)
        with self._database.read() as connection:
            return store.of_position(connection, ref.id)

    # ---- declaring --------------------------------------------------------------------------------------------------

    def declare(
        self, code: str, *, scope: Scope, kind: ExemptionKind, from_ms: int, to_ms: int, reason: str, author: str, document: str = ""
    ) -> Exemption:
        """Except `[from_ms, to_ms)` of a position.

        Raises:
            NotFound: no such position in this scope.
            Rejected: the span is empty, a reason is missing, maintenance starts in the past, or an excuse has no document.
        """
        ref, now_ms = self._position(code, scope), self._clock.now_ms()
        new = Exemption(0, ref.id, ref.unit_path, kind, from_ms, to_ms, reason.strip(), document.strip(), author, now_ms)
        _check(new, now_ms)
        with self._database.write() as connection:
            new = replace(new, id=store.add(connection, new))
            self._audit(connection, "declare", new, author, now_ms)
        return self._changed(new)

    def move_end(self, number: int, to_ms: int, *, scope: Scope, by: str) -> Exemption:
        """Let an exemption end at another time: it is withdrawn, and another with its beginning and ground takes its place.

        Raises:
            NotFound: no such exemption in force in this scope.
            Rejected: it would end before it starts, or it is maintenance that is over and would go on.
        """
        old, now_ms = self._in_force(number, scope), self._clock.now_ms()
        if to_ms <= old.from_ms:
            raise Rejected("The span must start before it ends.")
        if old.kind is ExemptionKind.MAINTENANCE and old.to_ms < min(to_ms, now_ms):
            raise Rejected("Maintenance that is over cannot be prolonged: it must be approved before it starts.")
        new = replace(old, to_ms=to_ms, author=by, created_at_ms=now_ms)
        with self._database.write() as connection:
            _withdraw(connection, old, by, now_ms)
            new = replace(new, id=store.add(connection, new))
            self._audit(connection, "move_end", new, by, now_ms, replaces=old.id)
        return self._changed(new)

    def withdraw(self, number: int, *, scope: Scope, by: str) -> None:
        """Let an exemption count no longer, for all of its span.

        Raises:
            NotFound: no such exemption in force in this scope.
        """
        old, now_ms = self._in_force(number, scope), self._clock.now_ms()
        with self._database.write() as connection:
            _withdraw(connection, old, by, now_ms)
            self._audit(connection, "withdraw", old, by, now_ms)
        self._changed(old)

    def _changed(self, exemption: Exemption) -> Exemption:
        with self._lock:
            self._looked_at_s = float("-inf")
        return exemption

    def _position(self, code: str, scope: Scope) -> PositionRef:
        ref = self._directory().position_of_code(code)
        if ref is None or not scope.contains(ref.unit_path):
            raise NotFound(f"There is no position {code!r}.")
        return ref

    def _in_force(self, number: int, scope: Scope) -> Exemption:
        """Find one whose position lies in the scope now, whoever had it when it was declared."""
        with self._database.read() as connection:
            found = store.find(connection, number)
        ref = None if found is None else self._directory().positions.get(found.position_id)
        if found is None or ref is None or not scope.contains(ref.unit_path):
            raise _no_exemption(number)
        return found

    def _audit(self, connection: Connection, act: str, exemption: Exemption, actor: str, now_ms: int, **more: int) -> None:
        ref = self._directory().positions[exemption.position_id]
        data = {
            "exemption": exemption.id,
            "kind": exemption.kind.value,
            "from_ms": exemption.from_ms,
            "to_ms": exemption.to_ms,
            "reason": exemption.reason,
            **more,
        }
        audit.append(
            connection,
            at_ms=now_ms,
            actor=actor,
            action=f"exemption.{act}",
            subject=ref.code,
            unit_path=ref.unit_path,
            data=data,
        )


def _check(new: Exemption, now_ms: int) -> None:
    if new.from_ms >= new.to_ms:
        raise Rejected("The span must start before it ends.")
    if not new.reason:
        raise Rejected("A reason is needed.")
    if new.kind is ExemptionKind.MAINTENANCE and new.from_ms < now_ms:
        raise Rejected("Maintenance must be approved before it starts.")
    if new.kind is ExemptionKind.EXCUSED and not new.document:
        raise Rejected("An excuse needs a document.")


def _withdraw(connection: Connection, old: Exemption, by: str, now_ms: int) -> None:
    if not store.withdraw(connection, old.id, by=by, at_ms=now_ms):  # somebody else was quicker
        raise _no_exemption(old.id)


def _no_exemption(number: int) -> NotFound:
    return NotFound(f"There is no exemption {number}.")
