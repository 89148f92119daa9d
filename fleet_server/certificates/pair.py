"""A certificate chain with its key: whether they are fit for a host, and when to renew them. Pure."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from fleet_server.errors import Rejected
from provisioning.errors import UNREADABLE

RENEW_AT: Final = 2 / 3
"""Part of its life after which a certificate is renewed."""

SPREAD: Final = 1 / 12
"""Part of its life over which renewals are spread, so that not all installations ask in the same minute."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A chain, leaf first, and the leaf's key, both as PEM."""

    chain_pem: bytes
    key_pem: bytes

    @property
    def leaf(self) -> x509.Certificate:
        """The first certificate.

        Raises:
            Rejected: there is none, or it cannot be read to its end.
        """
        try:
            leaf = x509.load_pem_x509_certificates(self.chain_pem)[0]
            leaf.public_key(), leaf.extensions  # read when they are looked at
        except UNREADABLE as error:
            raise Rejected("The certificate's file does not hold PEM certificates.") from error
        return leaf

    def check(self, host: str, now: datetime) -> None:
        """See that browsers can be served with it.

        Args:
            host: name or address that browsers use.
            now: aware UTC.

        Raises:
            Rejected: key and certificate do not belong together, its time is over or has not come, or it is for other hosts.
        """
        leaf = self.leaf
        if _public_key(self.key_pem) != _spki(leaf.public_key()):
            raise Rejected("The key does not belong to the first certificate of the chain (the server's own must come first).")
        if now >= leaf.not_valid_after_utc:
            raise Rejected(f"The certificate expired on {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC: have it renewed.")
        if now < leaf.not_valid_before_utc:
            raise Rejected(
                f"The certificate is good only from {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC: see to this machine's clock."
            )
        names = names_of(leaf)
        if not is_for(host, names):
            raise Rejected(f"The certificate is for {', '.join(names) or 'no host at all'}, not for {host}: browsers would refuse it.")


def names_of(certificate: x509.Certificate) -> list[str]:
    """Return the hosts that a certificate is for: DNS names and addresses of its subject alternative name, and nothing else.

    Source: RFC 9525 §2 (the common name counts no more).
    """
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [*alternative.get_values_for_type(x509.DNSName), *(str(a) for a in alternative.get_values_for_type(x509.IPAddress))]


def is_for(host: str, names: Sequence[str]) -> bool:
    """Whether `host` is one of `names`; a `*` stands for exactly the leftmost label. Source: RFC 9525 §6.3."""
    wanted = _plain(host)
    if _is_address(wanted):
        return wanted in {_plain(name) for name in names}
    parent = wanted.partition(".")[2]
    return any(wanted == _plain(name) or (bool(parent) and _plain(name) == f"*.{parent}") for name in names)


def renew_at(certificate: x509.Certificate) -> datetime:
    """Return when to renew: after two thirds of its life and a part that its serial number says, the same after each restart."""
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    spread = SPREAD * (certificate.serial_number % 1000) / 1000
    return certificate.not_valid_before_utc + life * (RENEW_AT + spread)


def _plain(host: str) -> str:
    text = host.strip().lower().rstrip(".")
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        return text


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _public_key(key_pem: bytes) -> bytes:
    try:
        key = serialization.load_pem_private_key(key_pem, None)
    except TypeError as error:
        raise Rejected("The key is encrypted: this server starts without anybody to ask for a passphrase. Decrypt it first.") from error
    except ValueError as error:
        raise Rejected("The key's file does not hold a PEM private key.") from error
    return _spki(key.public_key())


def _spki(key: object) -> bytes:
    encoded: bytes = key.public_bytes(  # type: ignore[attr-defined]  # every public key has it; the union of all has no name
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded
