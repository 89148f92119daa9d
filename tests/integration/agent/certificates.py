"""Certificates for the tests: a root, a device CA, and what they sign."""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
YEAR = timedelta(days=365)


@dataclass
class Ca:
    """A CA that signs."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @staticmethod
    def root(name: str) -> "Ca":
        key = ec.generate_private_key(ec.SECP384R1())
        return Ca(_build(name, name, key.public_key(), key, ca=1, days=20 * 365, aki=None), key)

    def sub(self, name: str) -> "Ca":
        key = ec.generate_private_key(ec.SECP256R1())
        return Ca(self._sign(name, key.public_key(), ca=0), key)

    def server(self, *, until: datetime | None = None, ip: str = "127.0.0.1") -> tuple[bytes, bytes]:
        """Return certificate and key (PEM) of a server at `ip`."""
        key = ec.generate_private_key(ec.SECP256R1())
        san = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(ip)), x509.DNSName("fleet.test")])
        found = self._sign("fleet.test", key.public_key(), usage=ExtendedKeyUsageOID.SERVER_AUTH, san=san, until=until)
        return found.public_bytes(Encoding.PEM), _pem(key)

    def node(self, public: ec.EllipticCurvePublicKey, name: str, *, usage: x509.ObjectIdentifier | None = None) -> x509.Certificate:
        """Return the certificate of a node."""
        san = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"urn:uuid:{name}")])
        return self._sign(name, public, usage=usage or ExtendedKeyUsageOID.CLIENT_AUTH, san=san)

    def service(self, name: str) -> tuple[bytes, bytes]:
        """Return certificate and key (PEM) of a service."""
        key = ec.generate_private_key(ec.SECP256R1())
        san = x509.SubjectAlternativeName([x509.DNSName(name)])
        return self._sign(name, key.public_key(), usage=ExtendedKeyUsageOID.CLIENT_AUTH, san=san).public_bytes(Encoding.PEM), _pem(key)

    def crl(self, *revoked: x509.Certificate) -> bytes:
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject)
        builder = builder.last_update(now - timedelta(minutes=10)).next_update(now + timedelta(days=7))
        for certificate in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number).revocation_date(now).build()
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def _sign(
        self,
        name: str,
        public: ec.EllipticCurvePublicKey,
        *,
        ca: int | None = None,
        usage: x509.ObjectIdentifier | None = None,
        san: x509.SubjectAlternativeName | None = None,
        until: datetime | None = None,
    ) -> x509.Certificate:
        issuer = self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        return _build(
            name, str(issuer), public, self.key, ca=ca, days=5 * 365, aki=self.key.public_key(), usage=usage, san=san, until=until
        )


def _build(
    name: str,
    issuer: str,
    public: ec.EllipticCurvePublicKey,
    key: ec.EllipticCurvePrivateKey,
    *,
    ca: int | None,
    days: int,
    aki: ec.EllipticCurvePublicKey | None,
    usage: x509.ObjectIdentifier | None = None,
    san: x509.SubjectAlternativeName | None = None,
    until: datetime | None = None,
) -> x509.Certificate:
    is_ca = ca is not None
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(EPOCH)
        .not_valid_after(until or EPOCH + timedelta(days=days))
        .add_extension(x509.BasicConstraints(is_ca, ca), critical=True)
        .add_extension(_key_usage(is_ca=is_ca), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    if aki is not None:
        builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(aki), critical=False)
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    if san is not None:
        builder = builder.add_extension(san, critical=False)
    return builder.sign(key, hashes.SHA256())


def _key_usage(*, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_key_of(request: bytes) -> ec.EllipticCurvePublicKey:
    """Return the key of a PKCS#10 request (DER)."""
    found = x509.load_der_x509_csr(request)
    assert found.is_signature_valid
    public = found.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    return public


def write(folder: Path, name: str, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


__all__ = ["EPOCH", "YEAR", "Ca", "public_key_of", "write"]
