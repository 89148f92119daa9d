"""Key, signing request and certificate check. Loads `cryptography`, so only enrolment imports it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from firmware_agent import files
from firmware_agent.contract.ids import NodeId, parse_node_id
from firmware_agent.errors import Rejected, Untrusted


def load_or_make_key(file: Path) -> ec.EllipticCurvePrivateKey:
    """Return the node's key (P-256); made here, mode 0600, when there is none. It never leaves this machine.

    Raises:
        Rejected: a file is there but is no such key.
    """
    if not file.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        files.save(file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600)
        return key
    try:
        found = serialization.load_pem_private_key(file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise Rejected(
            f"{file} cannot be read as a key ({error}). Move it away to make a new one, and ask for a new claim code."
        ) from error
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        raise Rejected(f"{file} is not an elliptic-curve key. Move it away to make a new one.")
    file.chmod(0o600)
    return found


def signing_request(key: ec.EllipticCurvePrivateKey, serial: str) -> bytes:
    """Return a PKCS#10 request (DER). All but the key is decided by the server's registry; the serial is only a courtesy.

    Raises:
        Rejected: no certificate can hold such a serial.
    """
    try:
        name = x509.Name([x509.NameAttribute(NameOID.SERIAL_NUMBER, serial), x509.NameAttribute(NameOID.COMMON_NAME, serial)])
        return x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    except ValueError as error:
        raise Rejected(f"{serial!r} is no serial: give 1 to 64 letters, digits and hyphens, as on the label of this node.") from error


def load_anchors(file: Path) -> list[x509.Certificate]:
    """Read the trust anchors a technician gave.

    Raises:
        Rejected: the file is missing or holds no certificate.
    """
    try:
        return x509.load_pem_x509_certificates(file.read_bytes())
    except OSError as error:
        raise Rejected(f"The CA file {file} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise Rejected(f"The CA file {file} holds no PEM certificate.") from error


@dataclass(frozen=True)
class Credentials:
    """A certificate that was checked: ours, from an issuer we trust, for a node id."""

    node: NodeId
    leaf: x509.Certificate
    issuers: tuple[x509.Certificate, ...]
    """From the leaf's issuer upward, without the anchor."""
    anchors: tuple[x509.Certificate, ...]

    def chain_pem(self) -> bytes:
        """Return our certificate and its issuers."""
        return b"".join(c.public_bytes(Encoding.PEM) for c in (self.leaf, *self.issuers))

    def anchors_pem(self) -> bytes:
        """Return the trust anchors."""
        return b"".join(c.public_bytes(Encoding.PEM) for c in self.anchors)


def check(
    issued: Sequence[x509.Certificate],
    *,
    key: ec.EllipticCurvePrivateKey,
    given: Sequence[x509.Certificate],
    published: Sequence[x509.Certificate],
) -> Credentials:
    """Check what the server issued before it is kept.

    `given` are the anchors of the technician, `published` the server's `/cacerts` (fetched over TLS that `given` verified). Dates
    are not held against this machine's clock, which may not be set yet; the broker will check them by its own.

    Raises:
        Untrusted: not for our key, not under an anchor, not for clients, or without a node id.
    """
    leaf = next((c for c in issued if _spki(c) == _spki_of(key)), None)
    if leaf is None:
        raise Untrusted("The server issued a certificate for another key than ours; nothing was kept.")
    anchors = list(dict.fromkeys([*given, *(c for c in published if c.subject == c.issuer)]))
    others = [c for c in (*published, *issued) if c not in anchors and c != leaf]
    instant = max(c.not_valid_before_utc for c in (leaf, *anchors, *others)) + timedelta(seconds=1)
    verifier = PolicyBuilder().store(Store(anchors)).time(instant).build_client_verifier()
    try:
        chain = verifier.verify(leaf, others).chain
    except VerificationError as error:
        raise Untrusted(f"The certificate the server issued does not lead to the CA given ({error}); nothing was kept.") from error
    return Credentials(_node_of(leaf), leaf, tuple(chain[1:-1]), tuple(anchors))


def _node_of(leaf: x509.Certificate) -> NodeId:
    names = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    try:
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        if ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
            raise ValueError("it is not for clients")
        return parse_node_id(str(names[0].value) if len(names) == 1 else "")
    except (ValueError, x509.ExtensionNotFound) as error:
        raise Untrusted(f"The certificate the server issued is not one of a node ({error}); nothing was kept.") from error


def _spki(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _spki_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def milliseconds(instant: datetime) -> int:
    """Return an aware instant as milliseconds since 1970-01-01 UTC."""
    return int(instant.astimezone(UTC).timestamp() * 1000)
