"""Tables of enrolment. A claim code is stored as a digest; certificates and keys are never deleted."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Index, Integer, LargeBinary, Row, String, Table, Text, insert, select, update

from firmware_agent.contract.ids import NodeId
from fleet_server.enrolment.model import Certificate, Enrolment, KeyOwner, State
from fleet_server.errors import Conflict
from fleet_server.registry.model import NodeRef
from fleet_server.storage import metadata

enrolment = Table(
    "enrolment",
    metadata,
    Column("node_id", String(36), primary_key=True),
    Column("serial", String(64), nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("previous_state", String(16)),
    Column("claim_digest", LargeBinary(32), nullable=False),
    Column("claim_expires_at_ms", BigInteger, nullable=False),
    Column("wrong_tries", Integer, nullable=False),
    Column("locked_at_ms", BigInteger),
    Column("fingerprint", String(64)),
    Column("generation", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("changed_at_ms", BigInteger, nullable=False),
)

certificate = Table(
    "certificate",
    metadata,
    Column("serial", String(40), primary_key=True),
    Column("node_id", String(36), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("not_before_ms", BigInteger, nullable=False),
    Column("not_after_ms", BigInteger, nullable=False),
    Column("issued_at_ms", BigInteger, nullable=False),
    Column("superseded_at_ms", BigInteger),
    Column("pem", Text, nullable=False),
    Index("ix_certificate_node_id_issued_at_ms", "node_id", "issued_at_ms"),
)

key_seen = Table(
    "key_seen",
    metadata,
    Column("fingerprint", String(64), primary_key=True),
    Column("node_id", String(36), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("seen_at_ms", BigInteger, nullable=False),
)


def find(connection: Connection, node: NodeRef, *, for_update: bool = False) -> Enrolment | None:
    """Return a node's enrolment; `for_update` holds other writers of it until the transaction ends."""
    query = select(enrolment).where(enrolment.c.node_id == node.id)
    row = connection.execute(query.with_for_update() if for_update else query).one_or_none()
    return _enrolment(row, node) if row is not None else None


def of_nodes(connection: Connection, nodes: Sequence[NodeRef], *, state: State | None) -> list[Enrolment]:
    """Return the enrolments of at most some hundred nodes, in their order."""
    query = select(enrolment).where(enrolment.c.node_id.in_([node.id for node in nodes]))
    if state is not None:
        query = query.where(enrolment.c.state == state)
    rows = {row.node_id: row for row in connection.execute(query)}
    return [_enrolment(rows[node.id], node) for node in nodes if node.id in rows]


def add(connection: Connection, value: Enrolment) -> None:
    """Insert a new enrolment."""
    connection.execute(insert(enrolment).values(**_columns(value)))


def save(connection: Connection, value: Enrolment) -> Enrolment:
    """Replace a row with `value`, whose version must still be the stored one; returns it with its new version.

    Raises:
        Conflict: somebody else changed it meanwhile.
    """
    changed = replace(value, version=value.version + 1)
    condition = (enrolment.c.node_id == value.node_id) & (enrolment.c.version == value.version)
    if connection.execute(update(enrolment).where(condition).values(**_columns(changed))).rowcount != 1:
        raise Conflict("The node's enrolment was changed by somebody else meanwhile. Look again.")
    return changed


def add_certificate(connection: Connection, value: Certificate) -> None:
    """Insert an issued certificate."""
    connection.execute(insert(certificate).values(**asdict(value)))


def certificates(connection: Connection, node: NodeId) -> list[Certificate]:
    """Return all certificates of a node, newest first."""
    query = select(certificate).where(certificate.c.node_id == node)
    rows = connection.execute(query.order_by(certificate.c.issued_at_ms.desc(), certificate.c.serial))
    return [Certificate(**row._mapping) for row in rows]


def supersede(connection: Connection, node: NodeId, *, at_ms: int) -> list[str]:
    """Mark all live certificates of a node as replaced; returns their serials."""
    condition = (certificate.c.node_id == node) & certificate.c.superseded_at_ms.is_(None)
    serials = list(connection.execute(select(certificate.c.serial).where(condition)).scalars())
    connection.execute(update(certificate).where(condition).values(superseded_at_ms=at_ms))
    return serials


def key_owner(connection: Connection, fingerprint: str) -> KeyOwner | None:
    """Return the node that was ever seen with a key."""
    query = select(key_seen.c.node_id, key_seen.c.generation).where(key_seen.c.fingerprint == fingerprint)
    row = connection.execute(query).one_or_none()
    return KeyOwner(NodeId(row.node_id), row.generation) if row is not None else None


def note_key(connection: Connection, fingerprint: str, owner: KeyOwner, *, at_ms: int) -> None:
    """Remember for ever which node has a key.

    Raises:
        sqlalchemy.exc.IntegrityError: the key is known already.
    """
    values = {"fingerprint": fingerprint, "node_id": owner.node_id, "generation": owner.generation, "seen_at_ms": at_ms}
    connection.execute(insert(key_seen).values(**values))


def _columns(value: Enrolment) -> dict[str, Any]:
    return {column.name: getattr(value, column.name) for column in enrolment.columns}


def _enrolment(row: Row[Any], node: NodeRef) -> Enrolment:
    values = dict(row._mapping) | {"unit_path": node.unit_path}
    values["state"] = State(values["state"])
    values["previous_state"] = State(values["previous_state"]) if values["previous_state"] else None
    values["claim_digest"] = bytes(values["claim_digest"])
    return Enrolment(**values)
