"""What the imports share: the job, its rows, and finding units."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from sqlalchemy import Connection

from fleet_server.access.model import Scope
from fleet_server.registry import store
from fleet_server.registry.csv_cells import Cells, Findings, ImportKind, read_table
from fleet_server.registry.model import Level, Unit

T = TypeVar("T")
Read = tuple[Cells, T]


@dataclass(slots=True)
class Job:
    """One file on its way into the registry."""

    connection: Connection
    scope: Scope
    now_ms: int
    findings: Findings = field(default_factory=Findings)
    rows: int = 0
    created: int = 0
    updated: int = 0

    def count(self, *, is_new: bool) -> None:
        """Count one thing written."""
        self.created += is_new
        self.updated += not is_new


def read_rows(job: Job, kind: ImportKind, text: str, parse: Callable[[Cells], T], key: Callable[[T], object]) -> list[Read[T]]:
    """Parse all rows; return those without fault."""
    good: list[Read[T]] = []
    seen: dict[object, int] = {}
    for cells in read_table(kind, text, job.findings):
        job.rows += 1
        faults = len(job.findings.errors)
        row = parse(cells)
        if len(job.findings.errors) > faults:
            continue
        first = seen.setdefault(key(row), cells.number)
        if first != cells.number:
            cells.fault("", f"says the same thing as row {first}: each may appear once")
            continue
        good.append((cells, row))
    return good


class UnitIndex:
    """Finds units by path or code, inside the scope."""

    def __init__(self, job: Job) -> None:
        """Read all units."""
        self._scope = job.scope
        self.by_path = {unit.path: unit for unit in store.units(job.connection, Scope.ALL)}
        self._by_code: dict[str, list[str]] = {}
        for unit in self.by_path.values():
            self._by_code.setdefault(unit.code, []).append(unit.path)

    def add(self, unit: Unit) -> None:
        """Take note of a unit that was just written."""
        if unit.path not in self.by_path:
            self._by_code.setdefault(unit.code, []).append(unit.path)
        self.by_path[unit.path] = unit

    def find(self, reference: str, *, is_any: bool = False) -> Unit | None:
        """Return the one unit that is meant, also above the scope if `is_any`; None when there is no such one, or several."""
        paths = [reference] if reference.startswith("/") else self._by_code.get(reference, [])
        inside = [self.by_path[path] for path in paths if path in self.by_path and (is_any or self._scope.contains(path))]
        return inside[0] if len(inside) == 1 else None

    def station(self, cells: Cells, column: str, reference: str) -> Unit | None:
        """Return the station that is meant; note the fault when there is none."""
        unit = self.find(reference)
        if unit is None:
            cells.fault(column, f"there is no unit {reference!r} (if several have this code, give the path)")
        elif unit.level is not Level.STATION:
            cells.fault(column, f"{reference!r} is a {unit.level}, not a station")
            return None
        return unit
