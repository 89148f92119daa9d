"""`/api/v1`: what is known of a node's streams, and messages that were not believed."""

from typing import Annotated, Protocol

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from firmware_agent.contract.ids import NodeId
from fleet_server.access.guard import Guard
from fleet_server.access.model import Permission, Principal, Scope
from fleet_server.ingest.bad_messages import BadMessages, Complaint
from fleet_server.ingest.journal import Journal
from fleet_server.ingest.model import Reason, StreamRecord
from fleet_server.paging import Cursor, Limit, Page, decode_cursor, page_of
from fleet_server.registry.model import Directory, NodeRef


class Registry(Protocol):
    """What these routes ask of the registry."""

    def node(self, name: str, scope: Scope) -> NodeRef:
        """Return one node by id or serial number."""
        ...

    def directory(self) -> Directory:
        """Return the snapshot of now."""
        ...


class StreamOut(BaseModel):
    """One stream of heartbeats of a node."""

    stream: str
    through: int
    """All up to here is stored, but the gaps, and what was evicted."""
    floor: int
    """The lowest number that the node still holds."""
    gaps: list[tuple[int, int]]
    """Inclusive spans that are missing; the newest hundred at most."""
    missing: int
    stored: int
    evicted: int
    """Given up by the node before they arrived here."""


class ComplaintOut(BaseModel):
    """Messages of one node that were not believed for one reason."""

    node: str
    """Empty when the topic named none."""
    reason: Reason
    count: int
    first_at_ms: int
    last_at_ms: int
    topic: str
    detail: str
    sample: str
    """The beginning of the newest one; bytes that are no text are shown as `\\x…`."""


def router(journal: Journal, bad: BadMessages, guard: Guard, registry: Registry) -> APIRouter:
    """Return the routes, to be mounted under `/api/v1`."""
    routes = APIRouter(tags=["ingest"])
    viewer = Depends(guard.allow(Permission.VIEW))

    @routes.get("/nodes/{node}/streams")
    def streams(principal: Annotated[Principal, viewer], node: str) -> list[StreamOut]:
        """Show each stream of a node (id or serial number): what is stored, what is missing, what was lost."""
        found = registry.node(node, principal.scope)
        return [_stream_out(record) for record in journal.streams(found.id)]

    @routes.get("/ingest/bad-messages")
    def bad_messages(principal: Annotated[Principal, viewer], limit: Limit = 100, cursor: Cursor = None) -> Page[ComplaintOut]:
        """List what was not believed, by node and reason. What names no node of the fleet is shown to those who see all of it."""
        after = decode_cursor("bad-messages", cursor, str) or ""
        seen = [complaint for complaint in bad.all() if _may_see(principal, complaint, registry.directory()) and _key(complaint) > after]
        return page_of(sorted(seen, key=_key), limit=limit, listing="bad-messages", key=_key, show=_complaint_out)

    return routes


def _may_see(principal: Principal, complaint: Complaint, directory: Directory) -> bool:
    node = directory.nodes.get(NodeId(complaint.node))
    return principal.scope == Scope.ALL if node is None else principal.scope.contains(node.unit_path)


def _key(complaint: Complaint) -> str:
    return f"{complaint.node} {complaint.reason}"


def _stream_out(record: StreamRecord) -> StreamOut:
    return StreamOut(
        stream=record.stream,
        through=record.through,
        floor=record.floor,
        gaps=list(record.gaps[-100:]),
        missing=sum(last - first + 1 for first, last in record.gaps),
        stored=record.stored,
        evicted=record.evicted,
    )


def _complaint_out(complaint: Complaint) -> ComplaintOut:
    return ComplaintOut(
        node=complaint.node,
        reason=complaint.reason,
        count=complaint.count,
        first_at_ms=complaint.first_at_ms,
        last_at_ms=complaint.last_at_ms,
        topic=complaint.topic,
        detail=complaint.detail,
        sample=complaint.sample.decode("utf-8", "backslashreplace"),
    )
