"""The node's side: a request for a certificate is judged, acted upon and answered."""

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass, replace
from typing import Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from fleet_server.access.model import Scope
from fleet_server.clock import Clock
from fleet_server.enrolment import store, trail
from fleet_server.enrolment.limits import WrongTries
from fleet_server.enrolment.model import (
    WRONG_TRIES,
    Act,
    Answer,
    Cause,
    Certificate,
    Enrolment,
    Judgement,
    KeyOwner,
    State,
    judge,
)
from fleet_server.errors import Conflict, NotFound, Transient
from fleet_server.registry.model import NodeRef
from fleet_server.storage import Database
from provisioning import claims, errors, est
from provisioning.profile import ProfileName, parse_serial
from provisioning.signer import IssueRequest, Signer

_log = logging.getLogger(__name__)

_NO_DIGEST: Final = b"\0" * 32
"""Stands for the digest of a node that does not exist, so that its codes are compared like all others."""

_SIGNING: Final = 64
"""Requests that may be at the signer at once; more are told to come back."""


class NodeLookup(Protocol):
    """Finds nodes; the registry does."""

    def node(self, name: str, scope: Scope) -> NodeRef:
        """Return the node with this id or serial.

        Raises:
            NotFound: there is none within `scope`.
        """
        ...

    def nodes(self, scope: Scope, *, after: str | None, limit: int | None) -> list[NodeRef]:
        """Return nodes by serial number, from beyond `after`."""
        ...


@dataclass(frozen=True, slots=True)
class Issued:
    """The node's certificate; the same again when the same key asked again."""

    certificate: x509.Certificate
    is_new: bool


@dataclass(frozen=True, slots=True)
class Pending:
    """The code is right, but a person must still approve."""

    retry_after_s: int


@dataclass(frozen=True, slots=True)
class Refused:
    """No certificate. `cause` is for operators: senders must not learn which it was."""

    cause: Cause
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True)
class _Followed:
    """A judgement that has been acted upon."""

    judgement: Judgement
    node: NodeRef | None = None
    certificate: Certificate | None = None


class Admission:
    """Answers requests; the database is its only memory but for the counts of wrong tries by address."""

    def __init__(
        self,
        database: Database,
        nodes: NodeLookup,
        signer: Signer,
        *,
        clock: Clock,
        claim_key: bytes,
        refusal_s: float,
        pending_retry_s: int,
    ) -> None:
        """See `EnrolmentService`."""
        self._db = database
        self._nodes = nodes
        self._signer = signer
        self._clock = clock
        self._claim_key = claim_key
        self._refusal_s = refusal_s
        self._pending_retry_s = pending_retry_s
        self._wrong = WrongTries()
        self._signing = 0
        self.refusals: Final[Counter[Cause]] = Counter()

    async def answer(self, login: est.Login | None, applicant: est.Applicant, *, peer: str) -> Issued | Pending | Refused:
        """See `EnrolmentService.simpleenroll`."""
        started_s = self._clock.mono_s()
        wait_s = self._wrong.wait_s(peer, started_s)
        if wait_s > 0:
            self.refusals[Cause.TOO_MANY] += 1
            return Refused(Cause.TOO_MANY, retry_after_s=int(wait_s) + 1)
        answer = await self._decide(login, applicant)
        if isinstance(answer, Refused):
            self.refusals[answer.cause] += 1
            if login is not None:
                self._wrong.count(peer, started_s)
                await asyncio.sleep(max(0.0, started_s + self._refusal_s - self._clock.mono_s()))
        return answer

    async def _decide(self, login: est.Login | None, applicant: est.Applicant) -> Issued | Pending | Refused:
        if login is None:
            return Refused(Cause.NO_LOGIN)
        followed = await self._db.run(self._admit, login, applicant)
        judgement, node = followed.judgement, followed.node
        if judgement.answer is Answer.PEND:
            return Pending(self._pending_retry_s)
        if judgement.answer is Answer.REPEAT and followed.certificate is not None:
            return Issued(_read(followed.certificate), is_new=False)
        if judgement.answer is Answer.ISSUE and node is not None:
            signed = await self._sign(node, applicant)
            return await self._db.run(self._record, node, applicant, signed)
        return Refused(judgement.cause or Cause.STATE)

    def _admit(self, login: est.Login, applicant: est.Applicant) -> _Followed:
        """Judge a request and store what follows from it. Looks before it writes: garbage costs no write."""
        node = self._labelled(login.user)
        try:
            code = claims.parse_claim(login.password)
        except errors.Rejected:
            return _Followed(Judgement(Answer.REFUSE, Cause.MALFORMED_CODE))
        with self._db.read() as connection:
            found = store.find(connection, node) if node is not None else None
            judgement = self._judged(connection, login.user, code, found, applicant)
        if node is None or found is None or (judgement.answer is Answer.REFUSE and not judgement.is_stored):
            return _Followed(judgement)
        try:
            with self._db.write() as connection:
                found = store.find(connection, node, for_update=True) or found
                judgement = self._judged(connection, login.user, code, found, applicant)
                return self._follow(connection, node, found, judgement, applicant)
        except (IntegrityError, Conflict) as error:  # two requests at once; the next try sees what the other one did
            raise Transient("Another request came at the same moment. Ask again.") from error

    def _labelled(self, serial: str) -> NodeRef | None:
        try:
            node = self._nodes.node(parse_serial(serial), Scope.ALL)
        except (errors.Rejected, NotFound):
            return None
        return node if node.serial == serial else None

    def _judged(
        self, connection: Connection, serial: str, code: claims.ClaimCode, enrolment: Enrolment | None, applicant: est.Applicant
    ) -> Judgement:
        stored = enrolment.claim_digest if enrolment is not None else _NO_DIGEST
        return judge(
            enrolment,
            is_code_right=claims.is_claim(self._claim_key, serial, code, stored),
            fingerprint=applicant.fingerprint,
            key_owner=store.key_owner(connection, applicant.fingerprint),
            now_ms=self._clock.now_ms(),
        )

    def _follow(
        self, connection: Connection, node: NodeRef, enrolment: Enrolment, judgement: Judgement, applicant: est.Applicant
    ) -> _Followed:
        """Store what follows from a judgement."""
        if judgement.answer is Answer.REPEAT:
            found = _current(connection, enrolment, now_ms=self._clock.now_ms())
            return _Followed(judgement if found else Judgement(Answer.REFUSE, Cause.EXPIRED), node, found)
        if judgement.answer is not Answer.REFUSE:
            self._pin(connection, node, enrolment, applicant)
        elif judgement.is_stored:
            self._count_wrong(connection, node, enrolment, judgement)
        return _Followed(judgement, node)

    def _count_wrong(self, connection: Connection, node: NodeRef, enrolment: Enrolment, judgement: Judgement) -> None:
        tries = enrolment.wrong_tries + (judgement.cause is Cause.WRONG_CODE)
        is_locked = judgement.locks or tries >= WRONG_TRIES
        now_ms = self._clock.now_ms()
        changed = store.save(connection, replace(enrolment, wrong_tries=tries, locked_at_ms=now_ms if is_locked else None))
        if is_locked:
            data = {"cause": judgement.cause, "wrong_tries": tries}
            trail.note(connection, node, changed, actor=_actor(node), action="enrolment.lock", at_ms=now_ms, data=data)

    def _pin(self, connection: Connection, node: NodeRef, enrolment: Enrolment, applicant: est.Applicant) -> None:
        """Tie the code to the first key that asks with it, so that no other key can use it."""
        now_ms = self._clock.now_ms()
        us = KeyOwner(node.id, enrolment.generation)
        owner = store.key_owner(connection, applicant.fingerprint)
        if owner is None:
            store.note_key(connection, applicant.fingerprint, us, at_ms=now_ms)
        elif owner != us:  # noted by another node since we judged
            raise Conflict("This key was used by another node meanwhile.")
        pinned = replace(enrolment, fingerprint=applicant.fingerprint)
        if enrolment.state is State.MANUFACTURED:
            data = {"key": applicant.fingerprint}
            trail.move(connection, node, pinned, Act.REQUEST, actor=_actor(node), at_ms=now_ms, data=data)
        elif pinned != enrolment:
            store.save(connection, pinned)

    async def _sign(self, node: NodeRef, applicant: est.Applicant) -> x509.Certificate:
        if self._signing >= _SIGNING:
            raise Transient("Too many certificates are being issued. Ask again.")
        request = IssueRequest(profile=ProfileName.DEVICE, node_id=node.id, serial_label=node.serial, public_key=applicant.public_key)
        self._signing += 1
        try:
            return await self._signer.issue(request)
        except errors.ProvisioningError as error:
            _log.error("The certificate of node %s cannot be signed: %s", node.serial, error)
            raise Transient("Certificates cannot be issued now. Ask again.") from error
        finally:
            self._signing -= 1

    def _record(self, node: NodeRef, applicant: est.Applicant, signed: x509.Certificate) -> Issued | Refused:
        """Store a signed certificate; it leaves this process only when this has been committed."""
        now_ms = self._clock.now_ms()
        with self._db.write() as connection:
            enrolment = store.find(connection, node, for_update=True)
            if enrolment is None or enrolment.is_locked or enrolment.fingerprint != applicant.fingerprint:
                return Refused(Cause.OTHER_KEY)
            current = _current(connection, enrolment, now_ms=now_ms)
            if current is not None:  # the same key asked twice at once: both get the one that was stored first
                return Issued(_read(current), is_new=False)
            if enrolment.state is not State.CLAIMED:
                return Refused(Cause.STATE)
            certificate = _certificate(signed, enrolment, applicant.fingerprint, now_ms=now_ms)
            store.add_certificate(connection, certificate)
            data = {"certificate": certificate.serial}
            trail.move(connection, node, enrolment, Act.ISSUE, actor=_actor(node), at_ms=now_ms, data=data)
            return Issued(signed, is_new=True)


def _current(connection: Connection, enrolment: Enrolment, *, now_ms: int) -> Certificate | None:
    """Return the live certificate that this generation's key has."""
    for certificate in store.certificates(connection, enrolment.node_id):
        is_same = certificate.fingerprint == enrolment.fingerprint and certificate.generation == enrolment.generation
        if is_same and certificate.superseded_at_ms is None and now_ms < certificate.not_after_ms:
            return certificate
    return None


def _certificate(signed: x509.Certificate, enrolment: Enrolment, fingerprint: str, *, now_ms: int) -> Certificate:
    return Certificate(
        serial=f"{signed.serial_number:x}",
        node_id=enrolment.node_id,
        fingerprint=fingerprint,
        generation=enrolment.generation,
        not_before_ms=round(signed.not_valid_before_utc.timestamp() * 1000),
        not_after_ms=round(signed.not_valid_after_utc.timestamp() * 1000),
        issued_at_ms=now_ms,
        pem=signed.public_bytes(serialization.Encoding.PEM).decode(),
    )


def _read(certificate: Certificate) -> x509.Certificate:
    return x509.load_pem_x509_certificate(certificate.pem.encode())


def _actor(node: NodeRef) -> str:
    return f"node:{node.serial}"
