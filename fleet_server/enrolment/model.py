"""The life of a node as far as trust goes, and the judgement of a request for a certificate. No clock, no I/O."""

from dataclasses import dataclass
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from firmware_agent.contract.ids import NodeId
from fleet_server.errors import Conflict

WRONG_TRIES: Final = 5
"""So many wrong codes lock a node's claim, until a person has a new code made."""


class State(StrEnum):
    """How far a node is trusted. `reference`: the device state machine of the PKI design."""

    MANUFACTURED = "manufactured"
    """It has a claim code; nobody has vouched for it and it has not asked."""
    CLAIMED = "claimed"
    """A person vouched for it: its next request with the right code gets a certificate."""
    PENDING = "pending"
    """It asked with the right code; a person must still vouch for it."""
    PROVISIONED = "provisioned"
    """It has its certificate; the code is burnt."""
    COMMISSIONED = "commissioned"
    """It passed the check on site."""
    SUSPENDED = "suspended"
    QUARANTINED = "quarantined"
    REVOKED = "revoked"
    RETIRED = "retired"


class Act(StrEnum):
    """What moves a node from one state to the next; each is one row of the audit."""

    APPROVE = "approve"
    REQUEST = "request"
    ISSUE = "issue"
    REISSUE = "reissue"
    """A new code for a node that has no certificate; needs a fresh approval."""
    RECLAIM = "reclaim"
    """A new code for a node that had one: a new generation, with a new key."""
    COMMISSION = "commission"
    SUSPEND = "suspend"
    RESUME = "resume"
    QUARANTINE = "quarantine"
    RELEASE = "release"
    REVOKE = "revoke"
    RETIRE = "retire"


class _Back(Enum):
    """The state the node was in before it was suspended or quarantined."""

    TO_PREVIOUS = "previous"


_LIVE: Final = (State.PROVISIONED, State.COMMISSIONED)
_UNISSUED: Final = (State.MANUFACTURED, State.CLAIMED, State.PENDING)

TRANSITIONS: Final = MappingProxyType[tuple[State, Act], State | _Back](
    {
        (State.MANUFACTURED, Act.APPROVE): State.CLAIMED,
        (State.MANUFACTURED, Act.REQUEST): State.PENDING,
        (State.PENDING, Act.APPROVE): State.CLAIMED,
        (State.CLAIMED, Act.ISSUE): State.PROVISIONED,
        (State.PROVISIONED, Act.COMMISSION): State.COMMISSIONED,
        **{(state, Act.REISSUE): State.MANUFACTURED for state in _UNISSUED},
        **{(state, Act.RECLAIM): State.MANUFACTURED for state in (*_LIVE, State.REVOKED)},
        **{(state, Act.SUSPEND): State.SUSPENDED for state in _LIVE},
        **{(state, Act.QUARANTINE): State.QUARANTINED for state in _LIVE},
        (State.SUSPENDED, Act.RESUME): _Back.TO_PREVIOUS,
        (State.QUARANTINED, Act.RELEASE): _Back.TO_PREVIOUS,
        **{(state, Act.REVOKE): State.REVOKED for state in (*_LIVE, State.SUSPENDED, State.QUARANTINED)},
        **{(state, Act.RETIRE): State.RETIRED for state in (*_UNISSUED, State.SUSPENDED, State.REVOKED)},
    }
)
"""All that can happen; what is not here is forbidden. To `provisioned` leads only a fresh approval; from `retired` nothing."""


def next_state(state: State, act: Act, *, previous: State | None = None) -> State:
    """Return the state after `act`.

    Args:
        state: before the act.
        act: what is done.
        previous: the state before a suspension or quarantine, which `resume` and `release` lead back to.

    Raises:
        Conflict: this act is not possible in this state.
    """
    target = TRANSITIONS.get((state, act))
    if target is _Back.TO_PREVIOUS:
        target = previous
    if not isinstance(target, State):
        raise Conflict(f"A node that is {state} cannot be the object of: {act}.")
    return target


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """What is known of a node's trust."""

    node_id: NodeId
    serial: str
    """On the label; the claim code is bound to it, the certificate names it."""
    unit_path: str
    """Where the node is now; the registry says so, and it is not kept here."""
    state: State
    previous_state: State | None = None
    claim_digest: bytes
    claim_expires_at_ms: int
    wrong_tries: int = 0
    locked_at_ms: int | None = None
    fingerprint: str | None = None
    """SHA-256 of the key that asked first; no other key may use this code."""
    generation: int = 1
    version: int = 1
    changed_at_ms: int

    @property
    def is_locked(self) -> bool:
        """Whether the claim code is useless until it is reissued."""
        return self.locked_at_ms is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate that was issued; all are kept."""

    serial: str
    """Lower-case hexadecimal, without leading zeros."""
    node_id: NodeId
    fingerprint: str
    generation: int
    not_before_ms: int
    not_after_ms: int
    issued_at_ms: int
    superseded_at_ms: int | None = None
    pem: str


class KeyOwner(NamedTuple):
    """Who was seen with a key, and in which generation of that node."""

    node_id: NodeId
    generation: int


class Answer(Enum):
    """What a request for a certificate gets."""

    ISSUE = "issue"
    REPEAT = "repeat"
    PEND = "pend"
    REFUSE = "refuse"


class Cause(StrEnum):
    """Why a request is refused; told to operators, never to the sender (but for the key's own fault)."""

    NO_LOGIN = "no_login"
    UNKNOWN_SERIAL = "unknown_serial"
    MALFORMED_CODE = "malformed_code"
    WRONG_CODE = "wrong_code"
    LOCKED = "locked"
    EXPIRED = "expired"
    OTHER_KEY = "other_key"
    KEY_SEEN = "key_seen"
    STATE = "state"
    TOO_MANY = "too_many"


@dataclass(frozen=True, slots=True)
class Judgement:
    """The answer, and for a refusal its cause."""

    answer: Answer
    cause: Cause | None = None

    @property
    def is_stored(self) -> bool:
        """Whether a refusal changes what is known of the node."""
        return self.cause in (Cause.WRONG_CODE, Cause.OTHER_KEY)

    @property
    def locks(self) -> bool:
        """Whether the code must be locked at once: somebody else holds it too."""
        return self.cause is Cause.OTHER_KEY


def judge(enrolment: Enrolment | None, *, is_code_right: bool, fingerprint: str, key_owner: KeyOwner | None, now_ms: int) -> Judgement:
    """Decide on a request for a certificate.

    Args:
        enrolment: of the node that the serial names, if there is one.
        is_code_right: whether the claim code is that node's.
        fingerprint: of the key that asks.
        key_owner: who was ever seen with this key; a node may use it again only within one generation.
        now_ms: milliseconds since 1970, UTC.
    """
    cause = _objection(enrolment, is_code_right=is_code_right, fingerprint=fingerprint, now_ms=now_ms)
    if cause is not None or enrolment is None:
        return Judgement(Answer.REFUSE, cause)
    if key_owner is not None and key_owner != (enrolment.node_id, enrolment.generation):
        return Judgement(Answer.REFUSE, Cause.KEY_SEEN)
    match enrolment.state:
        case State.CLAIMED:
            return Judgement(Answer.ISSUE)
        case State.PROVISIONED | State.COMMISSIONED:
            return Judgement(Answer.REPEAT)
        case State.MANUFACTURED | State.PENDING:
            return Judgement(Answer.PEND)
        case _:
            return Judgement(Answer.REFUSE, Cause.STATE)


def _objection(enrolment: Enrolment | None, *, is_code_right: bool, fingerprint: str, now_ms: int) -> Cause | None:
    if enrolment is None:
        return Cause.UNKNOWN_SERIAL
    if enrolment.is_locked:
        return Cause.LOCKED
    if not is_code_right:
        return Cause.WRONG_CODE
    if now_ms >= enrolment.claim_expires_at_ms:
        return Cause.EXPIRED
    if enrolment.fingerprint is not None and enrolment.fingerprint != fingerprint:
        return Cause.OTHER_KEY
    return None
