"""Enrolment from end to end: key, request, waiting, checking, keeping. Safe to run again at any point: the same key asks again."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509

from firmware_agent import files
from firmware_agent.clock import Clock
from firmware_agent.errors import AgentError, Rejected, Transient
from firmware_agent.identity import credentials
from firmware_agent.identity.credentials import Credentials
from firmware_agent.identity.est import Busy, EstClient, NotYet
from firmware_agent.identity.model import Identity, NotEnrolled, Record, load_identity

_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 30.0


class GaveUp(Transient):
    """The time to wait is over; the same command can be run again."""


@dataclass(frozen=True)
class Request:
    """What a technician types."""

    serial: str
    code: str
    ca_file: Path
    folder: Path
    """`identity/` of the node."""


@dataclass(frozen=True)
class Patience:
    """How long to go on, and how to wait."""

    wait_s: float
    clock: Clock
    sleep: Callable[[float], None]
    say: Callable[[str], None]
    """Tells the technician what is waited for."""


def enrol(request: Request, est: EstClient, patience: Patience) -> Identity:
    """Make or find the key, get its certificate, check and keep it.

    Raises:
        GaveUp: not reachable or not approved within `wait_s`.
        Rejected: serial or code refused, or this node is enrolled under another serial.
        Untrusted: the server or the certificate is not genuine.
    """
    _refuse_other_serial(request)
    request.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    given = credentials.load_anchors(request.ca_file)
    key = credentials.load_or_make_key(request.folder / "key.pem")
    csr = credentials.signing_request(key, request.serial)

    published, issued = _patiently(lambda: _ask(est, csr, request), patience)
    return keep(credentials.check(issued, key=key, given=given, published=published), request)


def keep(found: Credentials, request: Request) -> Identity:
    """Write the identity; `node.json` last, so that it is complete or not there."""
    folder = request.folder
    files.save(folder / "ca.pem", found.anchors_pem())
    files.save(folder / "cert.pem", found.chain_pem())
    record = Record(
        node_id=found.node,
        serial=request.serial,
        not_before_ms=credentials.milliseconds(found.leaf.not_valid_before_utc),
        not_after_ms=credentials.milliseconds(found.leaf.not_valid_after_utc),
        anchor_not_after_ms=max(credentials.milliseconds(a.not_valid_after_utc) for a in found.anchors),
    )
    files.save(folder / "node.json", msgspec.json.format(msgspec.json.encode(record)) + b"\n")
    return load_identity(folder)


def _refuse_other_serial(request: Request) -> None:
    try:
        known = load_identity(request.folder)
    except NotEnrolled:
        return
    if known.serial != request.serial:
        raise Rejected(
            f"This node is enrolled as {known.serial}. To enrol it as {request.serial}, first move {request.folder} away: that gives up"
            " its key."
        )


def _ask(est: EstClient, csr: bytes, request: Request) -> tuple[list[x509.Certificate], list[x509.Certificate]] | NotYet:
    published = list(est.cacerts())
    answer = est.simpleenroll(csr, serial=request.serial, code=request.code)
    return answer if isinstance(answer, NotYet) else (published, list(answer))


def _patiently(
    ask: Callable[[], tuple[list[x509.Certificate], list[x509.Certificate]] | NotYet], patience: Patience
) -> tuple[list[x509.Certificate], list[x509.Certificate]]:
    """Ask until there is an answer, with growing waits while unreachable and the server's own while it asks to wait."""
    deadline_ms = patience.clock.mono_ms() + int(patience.wait_s * 1000)
    wait_s = _FIRST_WAIT_S
    while True:
        reason: AgentError
        try:
            answer = ask()
            if not isinstance(answer, NotYet):
                return answer
            reason, pause_s = Transient("The server waits for a person to approve this node."), answer.retry_after_s
        except Busy as error:
            reason, pause_s = error, error.retry_after_s
        except Transient as error:
            reason, pause_s = error, wait_s * random.uniform(0.5, 1.0)
            wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
        left_s = (deadline_ms - patience.clock.mono_ms()) / 1000
        if left_s <= 0:
            raise GaveUp(f"{reason} Gave up after {patience.wait_s:.0f} s; run the same command again.") from reason
        pause_s = min(pause_s, left_s)
        patience.say(f"{reason} Trying again in {pause_s:.0f} s.")
        patience.sleep(pause_s)
