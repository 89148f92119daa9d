"""Applying CSV files to the registry, in the caller's transaction. Faults go into `findings`; who sees one undoes all.

The file's key column says which thing a row means: a known key updates, a new one creates, the same again changes nothing.
A column that the file has not stays as it is. Never changed by a file: a position's kind and the moment it was
commissioned, a node's mark as simulated. An empty `node_serial` leaves the hardware where it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fleet_server.registry.csv_cells import ImportKind, RowError
from fleet_server.registry.csv_rows import node_row, position_row, unit_row, zone_row
from fleet_server.registry.import_job import Job, read_rows
from fleet_server.registry.import_places import import_nodes, import_units, import_zones
from fleet_server.registry.import_positions import import_positions


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What a file did, or would do."""

    kind: ImportKind
    is_dry_run: bool
    rows: int
    created: int
    updated: int
    unchanged: int
    errors: Sequence[RowError]
    """If there is one, nothing was written."""
    warnings: Sequence[RowError]


def apply(job: Job, kind: ImportKind, text: str) -> None:
    """Read `text` and write what it says.

    Raises:
        Rejected: it is no CSV file of that kind.
    """
    match kind:
        case ImportKind.UNITS:
            import_units(job, read_rows(job, kind, text, unit_row, lambda row: (row.parent, row.code)))
        case ImportKind.ZONES:
            import_zones(job, read_rows(job, kind, text, zone_row, lambda row: row.code))
        case ImportKind.POSITIONS:
            import_positions(job, read_rows(job, kind, text, position_row, lambda row: row.code))
        case ImportKind.NODES:
            import_nodes(job, read_rows(job, kind, text, node_row, lambda row: row.serial))
