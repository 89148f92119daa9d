"""Who may have a certificate: claim codes made and reissued, approvals given, requests answered, certificates kept."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from firmware_agent.contract.ids import NodeId
from fleet_server.access.model import Scope
from fleet_server.clock import Clock
from fleet_server.enrolment import store, trail
from fleet_server.enrolment.admission import Admission, Issued, NodeLookup, Pending, Refused
from fleet_server.enrolment.model import Act, Cause, Certificate, Enrolment, State
from fleet_server.errors import Conflict, NotFound, Rejected
from fleet_server.registry.model import NodeRef
from fleet_server.storage import Database
from fleet_server.storage.database import serialise
from provisioning import claims, errors, est
from provisioning.profile import parse_serial
from provisioning.signer import Signer

__all__ = ["Claim", "EnrolmentService", "Issued", "NodeLookup", "Pending", "Refused"]

_LOCK: Final = 7_307
_NODES_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Claim:
    """A new claim code, shown this once."""

    node_id: NodeId
    serial: str
    code: str
    """In groups, as labels show it."""
    expires_at_ms: int
    state: State


class EnrolmentService:
    """Enrolment of nodes, which are named by id or serial. Methods block, but for `simpleenroll`."""

    def __init__(
        self,
        database: Database,
        nodes: NodeLookup,
        signer: Signer,
        *,
        clock: Clock,
        claim_key: bytes,
        refusal_s: float = 0.25,
        pending_retry_s: int = 15,
    ) -> None:
        """Wire the service.

        Args:
            database: SQL.
            nodes: the registry.
            signer: of device certificates.
            clock: the server's.
            claim_key: at least 32 secret bytes; with another key no code made so far is right any more.
            refusal_s: no refusal is answered sooner than this, so that its cause cannot be told from its time.
            pending_retry_s: when a node that waits for approval should ask again.

        Raises:
            ValueError: the key is too short.
        """
        claims.claim_digest(claim_key, "", claims.new_claim())  # too short a key fails here, at the start
        self._db = database
        self._nodes = nodes
        self._clock = clock
        self._claim_key = claim_key
        self._admission = Admission(
            database, nodes, signer, clock=clock, claim_key=claim_key, refusal_s=refusal_s, pending_retry_s=pending_retry_s
        )

    def register(self, name: str, *, actor: str, scope: Scope, approve: bool = False) -> Claim:
        """Make the first claim code of a node; with `approve` its first request gets a certificate at once.

        Raises:
            NotFound: no such node within `scope`.
            Conflict: it has a code already.
            Rejected: its serial cannot stand in a certificate.
        """
        node = self._nodes.node(name, scope)
        code, now_ms = claims.new_claim(), self._clock.now_ms()
        with self._db.write() as connection:
            serialise(connection, _LOCK)
            if store.find(connection, node) is not None:
                raise Conflict(f"The node {node.serial} has a claim code already. Have a new one made instead (reissue).")
            enrolment = self._first(node, code, now_ms)
            store.add(connection, enrolment)
            trail.note(connection, node, enrolment, actor=actor, action="enrolment.register", at_ms=now_ms)
            if approve:
                enrolment = trail.move(connection, node, enrolment, Act.APPROVE, actor=actor, at_ms=now_ms)
        return _claim(node, code, enrolment)

    def approve(self, name: str, *, actor: str, scope: Scope) -> Enrolment:
        """Vouch for a node. Doing so twice is the same as once.

        Raises:
            NotFound: no such node within `scope`, or it has no claim code.
            Conflict: it is suspended, revoked or the like.
        """
        node = self._nodes.node(name, scope)
        with self._db.write() as connection:
            enrolment = _known(store.find(connection, node, for_update=True), node)
            if enrolment.state in (State.CLAIMED, State.PROVISIONED, State.COMMISSIONED):
                return enrolment
            return trail.move(connection, node, enrolment, Act.APPROVE, actor=actor, at_ms=self._clock.now_ms())

    def reissue_claim(self, name: str, *, actor: str, scope: Scope, approve: bool = False) -> Claim:
        """Make a new code in place of the old one: lost label, locked, expired, or hardware that lost its key.

        A node that has a certificate begins a new generation: it needs a new key, and its old certificates count as
        superseded (they stay valid until they are on the list of revoked certificates, or expire).

        Raises:
            NotFound: no such node within `scope`.
            Conflict: it is suspended, quarantined or retired.
        """
        node = self._nodes.node(name, scope)
        code, now_ms = claims.new_claim(), self._clock.now_ms()
        with self._db.write() as connection:
            enrolment = _known(store.find(connection, node, for_update=True), node)
            is_unissued = enrolment.state in (State.MANUFACTURED, State.CLAIMED, State.PENDING)
            act = Act.REISSUE if is_unissued else Act.RECLAIM
            fresh = replace(
                self._first(node, code, now_ms),
                state=enrolment.state,
                generation=enrolment.generation + (not is_unissued),
                version=enrolment.version,
            )
            enrolment = trail.move(connection, node, fresh, act, actor=actor, at_ms=now_ms)
            store.supersede(connection, node.id, at_ms=now_ms)
            if approve:
                enrolment = trail.move(connection, node, enrolment, Act.APPROVE, actor=actor, at_ms=now_ms)
        return _claim(node, code, enrolment)

    async def simpleenroll(self, login: est.Login | None, applicant: est.Applicant, *, peer: str) -> Issued | Pending | Refused:
        """Answer a node's request for a certificate.

        Idempotent: the same serial, code and key get the same certificate, whatever was lost on the way.

        Args:
            login: serial and claim code, as sent.
            applicant: of the checked request.
            peer: the sender's address.

        Raises:
            Transient: database or signer are away or busy; nothing is lost, ask again.
        """
        return await self._admission.answer(login, applicant, peer=peer)

    def enrolment(self, name: str, *, scope: Scope) -> Enrolment:
        """Return how far a node is trusted.

        Raises:
            NotFound: no such node within `scope`, or it has no claim code.
        """
        node = self._nodes.node(name, scope)
        with self._db.read() as connection:
            return _known(store.find(connection, node), node)

    def enrolments(self, *, scope: Scope, state: State | None = None, after: str = "", limit: int = 100) -> list[Enrolment]:
        """Return enrolments of the nodes within `scope`, ordered by serial, from beyond the serial `after`."""
        found: list[Enrolment] = []
        while len(found) < limit and (nodes := self._nodes.nodes(scope, after=after, limit=_NODES_AT_ONCE)):
            with self._db.read() as connection:
                found += store.of_nodes(connection, nodes, state=state)
            after = nodes[-1].serial
        return found[:limit]

    def certificates(self, name: str, *, scope: Scope) -> list[Certificate]:
        """Return all certificates of a node, newest first.

        Raises:
            NotFound: no such node within `scope`.
        """
        node = self._nodes.node(name, scope)
        with self._db.read() as connection:
            return store.certificates(connection, node.id)

    @property
    def refusals(self) -> Mapping[Cause, int]:
        """How many requests were refused since the start, by cause."""
        return dict(self._admission.refusals)

    def _first(self, node: NodeRef, code: claims.ClaimCode, now_ms: int) -> Enrolment:
        try:
            parse_serial(node.serial)
        except errors.Rejected as error:
            raise Rejected(str(error)) from error
        return Enrolment(
            node_id=node.id,
            serial=node.serial,
            unit_path=node.unit_path,
            state=State.MANUFACTURED,
            claim_digest=claims.claim_digest(self._claim_key, node.serial, code),
            claim_expires_at_ms=now_ms + round(claims.LIFE.total_seconds() * 1000),
            changed_at_ms=now_ms,
        )


def _known(enrolment: Enrolment | None, node: NodeRef) -> Enrolment:
    if enrolment is None:
        raise NotFound(f"The node {node.serial} has no claim code yet: register it first.")
    return enrolment


def _claim(node: NodeRef, code: claims.ClaimCode, enrolment: Enrolment) -> Claim:
    return Claim(node.id, node.serial, claims.format_claim(code), enrolment.claim_expires_at_ms, enrolment.state)
