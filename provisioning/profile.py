"""What each certificate of the fleet is: profiles as data, and the one function that turns a profile into a certificate.

    root R1 ──┬── device CA   ── device leaf    a node as client, for 90 days
              ├── server CA   ── server leaf    broker, console, enrolment
              └── service CA  ── service leaf   `svc-…`, the server's own programs as clients

Subject, alternative names, usage and validity come from here and from the registry; of a request only its public key is
used. Source: RFC 5280 §4; the reasons for lives and dates are in the table `PROFILES`.
"""

import ipaddress
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from firmware_agent.contract.ids import NodeId, parse_node_id
from provisioning.errors import Rejected

BACKDATE: Final = timedelta(hours=1)
"""How far a certificate that starts now is dated back, for verifiers whose clocks lag."""

EPOCH_BACKDATE: Final = timedelta(days=1)
"""How far the root is dated back: a node without a clock, or whose clock holds local time (UTC+7), must not find it in the future."""


class ProfileName(StrEnum):
    """The name of a profile."""

    ROOT = "root"
    DEVICE_CA = "device-ca"
    SERVER_CA = "server-ca"
    SERVICE_CA = "service-ca"
    DEVICE = "device"
    SERVER = "server"
    SERVICE = "service"


class Start(Enum):
    """When a certificate begins to be valid."""

    EPOCH = "a day before it is made"
    NOW = "an hour before it is made"
    ISSUER = "when its issuer does"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One row of the table of certificates."""

    name: ProfileName
    life: timedelta
    """From the moment of issue, and never beyond the issuer's end."""
    start: Start
    path_length: int | None = None
    """Of a CA, the number of CAs that may follow it; `None` for a leaf."""
    extended_key_usage: x509.ObjectIdentifier | None = None
    curve: ec.EllipticCurve = field(default_factory=ec.SECP256R1)
    """Of the keys made here; a node's own may be on any of `NODE_CURVES`."""

    @property
    def is_ca(self) -> bool:
        """Whether certificates of this profile issue others."""
        return self.path_length is not None


_YEAR: Final = timedelta(days=365)
_CLIENT: Final = ExtendedKeyUsageOID.CLIENT_AUTH
_SERVER: Final = ExtendedKeyUsageOID.SERVER_AUTH

PROFILES: Final = MappingProxyType(
    {
        p.name: p
        for p in (
            Profile(name=ProfileName.ROOT, life=20 * _YEAR, start=Start.EPOCH, path_length=1, curve=ec.SECP384R1()),
            Profile(name=ProfileName.DEVICE_CA, life=5 * _YEAR, start=Start.NOW, path_length=0, extended_key_usage=_CLIENT),
            # Servers are verified by nodes that may not know the time: everything on that path starts at the epoch, so that a clock
            # that lags can never find it "not yet valid".
            Profile(name=ProfileName.SERVER_CA, life=5 * _YEAR, start=Start.ISSUER, path_length=0, extended_key_usage=_SERVER),
            Profile(name=ProfileName.SERVICE_CA, life=5 * _YEAR, start=Start.NOW, path_length=0, extended_key_usage=_CLIENT),
            Profile(name=ProfileName.DEVICE, life=timedelta(days=90), start=Start.NOW, extended_key_usage=_CLIENT),
            Profile(name=ProfileName.SERVER, life=_YEAR, start=Start.ISSUER, extended_key_usage=_SERVER),
            Profile(name=ProfileName.SERVICE, life=_YEAR, start=Start.NOW, extended_key_usage=_CLIENT),
        )
    }
)
"""All certificates of the fleet."""


NODE_CURVES: Final = (ec.SECP256R1, ec.SECP384R1)
"""Whatever else a node's key is on or of, no certificate is signed for it."""


class Names(NamedTuple):
    """Whom a certificate names."""

    subject: x509.Name
    alternative: tuple[x509.GeneralName, ...] = ()


class Issuer(NamedTuple):
    """Who signs."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


class Distribution(NamedTuple):
    """Where verifiers that look for them find the issuer's list of revoked certificates and its own certificate (http URLs)."""

    crl_url: str
    issuer_url: str


_COMMON_NAME_LIMIT: Final = 64
_ORGANISATION = re.compile(r"[^\x00-\x1f\x7f]{1,64}")
_SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,63}")
_SERVICE = re.compile(r"svc-[a-z0-9]([a-z0-9-]{0,58}[a-z0-9])?")
_HOST = re.compile(r"(?!.*-(\.|$))[a-z0-9][a-z0-9-]{0,62}(\.[a-z0-9][a-z0-9-]{0,62})*")


def ca_names(organisation: str, common_name: str) -> Names:
    """Name a CA.

    Raises:
        Rejected: the organisation is empty, longer than 64 characters or not printable.
    """
    return Names(_subject(organisation, (NameOID.COMMON_NAME, common_name)))


def device_names(organisation: str, serial: str, node: NodeId) -> Names:
    """Name a node: its UUID is the broker's user name, so nothing but a lower-case UUID may stand there.

    Raises:
        Rejected: the serial or the id has a form that a certificate cannot carry safely.
    """
    try:
        parse_node_id(node)
    except ValueError as error:
        raise Rejected(f"A device certificate needs a lower-case UUID as its name, not {node!r}.") from error
    subject = _subject(organisation, (NameOID.SERIAL_NUMBER, parse_serial(serial)), (NameOID.COMMON_NAME, node))
    return Names(subject, (x509.UniformResourceIdentifier(f"urn:uuid:{node}"),))


def server_names(hosts: Sequence[str]) -> Names:
    """Name a server by its DNS names and IP addresses, in the order given; 127.0.0.1 is always among them.

    Raises:
        Rejected: a host is neither a DNS name (wildcards are refused) nor an IP address.
    """
    known = dict.fromkeys([*(h.strip().lower().rstrip(".") for h in hosts), "127.0.0.1"])
    alternative = tuple(_host(h) for h in known)
    common_name = next(h for h in known if len(h) <= _COMMON_NAME_LIMIT)
    return Names(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]), alternative)


def service_names(organisation: str, name: str) -> Names:
    """Name one of the server's own programs, such as `svc-core`.

    Raises:
        Rejected: the name is not `svc-` and 1 to 60 of `a-z 0-9 -`.
    """
    if not _SERVICE.fullmatch(name):
        raise Rejected(f"A service is named svc- and 1 to 60 of a-z 0-9 -, not {name!r}.")
    return Names(_subject(organisation, (NameOID.COMMON_NAME, name)))


def parse_serial(text: str) -> str:
    """Return a node's label serial if a certificate can carry it.

    Raises:
        Rejected: it is not 1 to 64 of `A-Z a-z 0-9 . -`, starting with a letter or digit.
    """
    if not _SERIAL.fullmatch(text):
        raise Rejected(f"A serial is 1 to 64 of A-Z a-z 0-9 . - and starts with a letter or digit, not {text!r}.")
    return text


def build(
    profile: Profile,
    names: Names,
    public_key: CertificatePublicKeyTypes,
    *,
    issuer: Issuer | None,
    now: datetime,
    key: ec.EllipticCurvePrivateKey | None = None,
    distribution: Distribution | None = None,
) -> x509.Certificate:
    """Make a certificate that is what `profile` says, and nothing else.

    Args:
        profile: a row of `PROFILES`.
        names: from one of the `…_names` functions above.
        public_key: whom it is for.
        issuer: who signs; `None` for a root, which `key` signs itself.
        now: aware UTC time of issue.
        key: the root's own key, only where there is no issuer.
        distribution: where the issuer's CRL and certificate can be fetched, where they can.
    """
    signing_key = issuer.key if issuer else key
    if signing_key is None:
        raise ValueError("a certificate needs an issuer, or its own key")
    not_before, not_after = _validity(profile, issuer.certificate if issuer else None, now)
    builder = (
        x509.CertificateBuilder()
        .subject_name(names.subject)
        .issuer_name(issuer.certificate.subject if issuer else names.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )
    for extension, is_critical in _extensions(profile, names, public_key, issuer.certificate if issuer else None, distribution):
        builder = builder.add_extension(extension, is_critical)
    digest = hashes.SHA384() if signing_key.curve.key_size > 256 else hashes.SHA256()
    return builder.sign(signing_key, digest)


def check_time(certificate: x509.Certificate, now: datetime) -> None:
    """See that a CA may be used now.

    Raises:
        Rejected: its time is over, or a clock is wrong: it cannot be used before it was made.
    """
    name, begin, end = certificate.subject.rfc4514_string(), certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now >= end:
        raise Rejected(f"{name} ended on {end:%Y-%m-%d %H:%M} UTC: make a new one.")
    if now < begin:
        clock = f"by this machine's clock it is {now:%Y-%m-%d %H:%M}"
        raise Rejected(
            f"{name} is good only from {begin:%Y-%m-%d %H:%M} UTC, and {clock}: set it, or that of the machine that made the CA."
        )


def _extensions(
    profile: Profile,
    names: Names,
    public_key: CertificatePublicKeyTypes,
    issuer: x509.Certificate | None,
    distribution: Distribution | None,
) -> list[tuple[x509.ExtensionType, bool]]:
    found: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=profile.is_ca, path_length=profile.path_length), True),
        (_key_usage(is_ca=profile.is_ca), True),
        (x509.SubjectKeyIdentifier.from_public_key(public_key), False),
    ]
    if profile.extended_key_usage:
        found.append((x509.ExtendedKeyUsage([profile.extended_key_usage]), False))
    if names.alternative:
        found.append((x509.SubjectAlternativeName(names.alternative), False))
    if issuer:
        identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        found.append((x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False))
    if distribution:
        where = [x509.UniformResourceIdentifier(distribution.crl_url)]
        found.append((x509.CRLDistributionPoints([x509.DistributionPoint(where, None, None, None)]), False))
        access = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier(distribution.issuer_url))
        found.append((x509.AuthorityInformationAccess([access]), False))
    return found


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


def _validity(profile: Profile, issuer: x509.Certificate | None, now: datetime) -> tuple[datetime, datetime]:
    now = now.astimezone(UTC).replace(microsecond=0)
    not_after = now + profile.life
    if issuer is None:
        return now - EPOCH_BACKDATE, not_after
    check_time(issuer, now)
    not_before = issuer.not_valid_before_utc if profile.start is Start.ISSUER else max(now - BACKDATE, issuer.not_valid_before_utc)
    return not_before, min(not_after, issuer.not_valid_after_utc)


def _subject(organisation: str, *attributes: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    if not _ORGANISATION.fullmatch(organisation) or not organisation.strip():
        raise Rejected("The organisation must be 1 to 64 printable characters.")
    pairs = ((NameOID.ORGANIZATION_NAME, organisation), *attributes)
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in pairs])


def _host(text: str) -> x509.GeneralName:
    with suppress(ValueError):
        address = ipaddress.ip_address(text)
        if "%" not in text:
            return x509.IPAddress(address)
    if len(text) > 253 or not _HOST.fullmatch(text):
        raise Rejected(f"Neither a DNS name nor an IP address: {text!r}.")
    return x509.DNSName(text)
