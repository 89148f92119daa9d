"""Enrolment over Secure Transport on the wire: bodies and headers, no I/O.

Bodies are base64 of DER whatever the headers say. Answers carry `Content-Transfer-Encoding: base64` because Bouncy Castle
needs it, are not wrapped because strongSwan needs that, and are wrapped for libest alone.
Source: RFC 7030 §4; RFC 8951 §2-3 (encoding); RFC 2986 (requests); RFC 5652 §5 (certs-only).
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7

from provisioning.errors import UNREADABLE, Rejected
from provisioning.profile import NODE_CURVES

PATH: Final = "/.well-known/est"
LARGEST_BODY: Final = 16 * 1024
"""In bytes; a request with a P-256 key has about 400, one that copies every old extension about 2,000."""

CSR_ATTRIBUTES: Final = bytes.fromhex(
    "3021"
    "06082a8648ce3d040302"  # sign with ecdsa-with-SHA256
    "301506072a8648ce3d0201310a06082a8648ce3d030107"  # a key on the curve P-256
)
"""DER of CsrAttrs: what a request should have. Source: RFC 7030 §4.5.2, RFC 9908."""

CERTIFICATES_HEADERS: Final = MappingProxyType(
    {"Content-Type": "application/pkcs7-mime; smime-type=certs-only", "Content-Transfer-Encoding": "base64"}
)
CSR_ATTRIBUTES_HEADERS: Final = MappingProxyType({"Content-Type": "application/csrattrs", "Content-Transfer-Encoding": "base64"})

_LINE: Final = 64
_NULL: Final = b"\x05\x00"
_WHITE: Final = b" \t\r\n"
_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


@dataclass(frozen=True, slots=True)
class Applicant:
    """All that is taken from a request: its public key, of which the sender has shown to hold the private one."""

    public_key: bytes
    """DER of SubjectPublicKeyInfo."""
    was_repaired: bool = False
    """Whether the request had the NULL that some TPM software puts in, and which strict readers refuse."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the key, 64 hex digits."""
        return hashlib.sha256(self.public_key).hexdigest()


class Login(NamedTuple):
    """What HTTP Basic carries."""

    user: str
    password: str


def decode_body(body: bytes) -> bytes:
    """Return the DER of a base64 body, wrapped or not.

    Raises:
        Rejected: it is empty, too large, or not base64.
    """
    if len(body) > LARGEST_BODY:
        raise Rejected(f"The request is larger than {LARGEST_BODY} bytes.")
    compact = body.translate(None, _WHITE)
    if not compact:
        raise Rejected("The request is empty: send a PKCS#10 request in base64.")
    try:
        return base64.b64decode(compact, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Rejected("The request is not base64: send a PKCS#10 request as base64 of DER, without PEM lines.") from error


def read_request(der: bytes) -> Applicant:
    """Check a PKCS#10 request and return whose it is. Subject and attributes are ignored: they come from the registry.

    Raises:
        Rejected: it is not PKCS#10, its key is neither P-256 nor P-384, or its signature is not that key's.
    """
    try:
        return _applicant(x509.load_der_x509_csr(der), was_repaired=False)
    except UNREADABLE as error:
        repaired = _without_null(der)
        if repaired is None:
            raise Rejected("This is not a PKCS#10 certificate request.") from error
    try:
        return _applicant(x509.load_der_x509_csr(repaired), was_repaired=True)
    except UNREADABLE as error:
        raise Rejected("This is not a PKCS#10 certificate request.") from error


def encode_certificates(certificates: Sequence[x509.Certificate], *, user_agent: str = "") -> bytes:
    """Return certificates as the body of an answer: certs-only CMS in base64, one newline at its end.

    Args:
        certificates: at least one; an answer to simpleenroll holds exactly one.
        user_agent: the client's; libest needs lines of 64, nobody else gets lines.
    """
    return encode_body(pkcs7.serialize_certificates(list(certificates), serialization.Encoding.DER), user_agent=user_agent)


def encode_body(der: bytes, *, user_agent: str = "") -> bytes:
    """Return DER as the body of an answer."""
    text = base64.b64encode(der)
    if not user_agent.lower().startswith("libest"):
        return text + b"\n"
    return b"".join(text[i : i + _LINE] + b"\n" for i in range(0, len(text), _LINE))


def read_login(authorization: str) -> Login | None:
    """Return user and password of an `Authorization: Basic` header, `None` where there is none. Source: RFC 7617."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(value.strip().encode("ascii"), validate=True).decode().partition(":")
    except (UnicodeError, binascii.Error, ValueError):
        return None
    return Login(user, password) if colon else None


def _applicant(request: x509.CertificateSigningRequest, *, was_repaired: bool) -> Applicant:
    key = request.public_key()
    # The kind of key first: checking a signature with a huge RSA key would cost seconds.
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, NODE_CURVES):
        raise Rejected("The key of the request must be on the curve P-256 (or P-384).")
    if not isinstance(request.signature_hash_algorithm, _HASHES):
        raise Rejected("The request must be signed with SHA-256, SHA-384 or SHA-512.")
    if not request.is_signature_valid:
        raise Rejected("The request is not signed by its own key.")
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return Applicant(spki, was_repaired)


def _without_null(der: bytes) -> bytes | None:
    """Return the request without NULL parameters in an ECDSA signature algorithm, `None` if it has none.

    The field lies outside of what is signed, so the signature stays good. Source: RFC 5758 §3.2 (parameters MUST be absent).
    """
    from asn1crypto import csr  # type: ignore[import-untyped]  # ships no types; takes long to load, and few requests need it

    try:
        request = csr.CertificationRequest.load(der, strict=True)
        algorithm = request["signature_algorithm"]
        if not algorithm["algorithm"].native.endswith("_ecdsa") or algorithm["parameters"].dump() != _NULL:
            return None
        parts = (request["certification_request_info"], algorithm["algorithm"], request["signature"])
        info, oid, signature = (part.dump() for part in parts)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        return None
    return _sequence(info + _sequence(oid) + signature)


def _sequence(content: bytes) -> bytes:
    from asn1crypto import parser

    return bytes(parser.emit(0, 1, 16, content))
