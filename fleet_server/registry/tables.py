"""Tables of the registry."""

from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, String, Table, Text, UniqueConstraint

from fleet_server.storage.database import RowNumber, metadata

unit = Table(
    "unit",
    metadata,
    Column("id", RowNumber, primary_key=True, autoincrement=True),
    Column("path", String(200), nullable=False, unique=True),
    Column("parent_path", String(200)),
    Column("code", String(32), nullable=False, index=True),
    Column("level", String(16), nullable=False),
    Column("name_th", String(200), nullable=False),
    Column("name_en", String(200), nullable=False),
)

zone = Table(
    "zone",
    metadata,
    Column("id", RowNumber, primary_key=True, autoincrement=True),
    Column("code", String(64), nullable=False, unique=True),
    Column("name_th", String(200), nullable=False),
    Column("name_en", String(200), nullable=False),
    Column("area_km2", Float),
    Column("lead_unit_path", String(200), nullable=False),
)

zone_station = Table(
    "zone_station",
    metadata,
    Column("zone_id", BigInteger, ForeignKey("zone.id"), primary_key=True),
    Column("unit_path", String(200), primary_key=True),
)

position = Table(
    "position",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("code", String(64), nullable=False, unique=True),
    Column("zone_code", String(64), nullable=False),
    Column("unit_path", String(200), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("functions", Text, nullable=False),
    Column("label_th", String(200), nullable=False),
    Column("label_en", String(200), nullable=False),
    Column("lat", Float, nullable=False),
    Column("lon", Float, nullable=False),
    Column("owner", String(200), nullable=False),
    Column("funder", String(200), nullable=False),
    Column("maintainer", String(200), nullable=False),
    Column("warranty_until", String(10)),
    Column("innovation_type", String(64)),
    Column("commissioned_at_ms", BigInteger),
    Column("retired_at_ms", BigInteger),
    Column("supervision_ms", BigInteger),
    Index("ix_position_unit_path_code", "unit_path", "code"),
)

node = Table(
    "node",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("serial", String(64), nullable=False, unique=True),
    Column("unit_path", String(200), nullable=False),
    Column("is_simulated", Boolean, nullable=False),
    Column("label", String(200), nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Index("ix_node_unit_path_serial", "unit_path", "serial"),
)

installation = Table(
    "installation",
    metadata,
    Column("id", RowNumber, primary_key=True, autoincrement=True),
    Column("position_id", String(36), ForeignKey("position.id"), nullable=False, index=True),
    Column("node_id", String(36), ForeignKey("node.id"), nullable=False),
    Column("channel", String(32), nullable=False),
    Column("device_serial", String(64), nullable=False),
    Column("device_model", String(64), nullable=False),
    Column("from_ms", BigInteger, nullable=False),
    Column("to_ms", BigInteger),
    UniqueConstraint("node_id", "channel", "from_ms", name="uq_installation_channel"),
)

registry_version = Table(
    "registry_version",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", BigInteger, nullable=False),
)
"""One row (id 1); each transaction that changes the registry raises it."""
