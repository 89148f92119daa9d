"""What was last told of each unit's innovation count, so that a restart tells only what changed."""

from sqlalchemy import BigInteger, Column, Connection, String, Table, Text, select

from fleet_server.storage.database import dialect_insert, metadata

innovation_status = Table(
    "innovation_status",
    metadata,
    Column("unit_path", String(200), primary_key=True),
    Column("data", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
)


def told(connection: Connection) -> dict[str, str]:
    """Return what was last told, by unit path."""
    return {row.unit_path: row.data for row in connection.execute(select(innovation_status))}


def tell(connection: Connection, unit_path: str, data: str, at_ms: int) -> None:
    """Keep what is told of a unit."""
    statement = dialect_insert(connection, innovation_status)
    upsert = statement.on_conflict_do_update(
        index_elements=["unit_path"], set_={"data": statement.excluded.data, "at_ms": statement.excluded.at_ms}
    )
    connection.execute(upsert, {"unit_path": unit_path, "data": data, "at_ms": at_ms})
