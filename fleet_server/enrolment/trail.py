"""What happened to a node's trust, written in the transaction in which it happens: state, audit and news, or none of them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from fleet_server.access import audit
from fleet_server.enrolment import store
from fleet_server.enrolment.model import Act, Enrolment, next_state
from fleet_server.registry.model import NodeRef
from fleet_server.storage import changes


def move(
    connection: Connection,
    node: NodeRef,
    enrolment: Enrolment,
    act: Act,
    *,
    actor: str,
    at_ms: int,
    data: Mapping[str, Any] | None = None,
) -> Enrolment:
    """Bring a node into its next state and store `enrolment` with what else changed in it.

    Raises:
        Conflict: the act is not possible in this state, or somebody else changed the node meanwhile.
    """
    state = next_state(enrolment.state, act, previous=enrolment.previous_state)
    changed = store.save(connection, replace(enrolment, state=state, changed_at_ms=at_ms))
    note(connection, node, changed, actor=actor, action=f"enrolment.{act}", at_ms=at_ms, data={"from": enrolment.state, **(data or {})})
    return changed


def note(
    connection: Connection,
    node: NodeRef,
    enrolment: Enrolment,
    *,
    actor: str,
    action: str,
    at_ms: int,
    data: Mapping[str, Any] | None = None,
) -> None:
    """Write one row of audit and one piece of news; never a claim code."""
    facts = {"node": node.id, "state": enrolment.state, "generation": enrolment.generation, **(data or {})}
    audit.append(connection, at_ms=at_ms, actor=actor, action=action, subject=node.serial, unit_path=node.unit_path, data=facts)
    news = {"serial": node.serial, "state": enrolment.state, "is_locked": enrolment.is_locked}
    changes.append(connection, at_ms=at_ms, unit_path=node.unit_path, kind="enrolment", subject=node.id, data=news)
