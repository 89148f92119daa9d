"""Who a TLS client is. The chain, the dates, the usage and the list of revoked certificates are OpenSSL's to check; the issuer is ours.

The common name alone is not enough: a node's UUID counts only when the device CA itself signed it, `svc-…` only when the service CA did,
whatever chain the client sent along.
"""

import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import NameOID

from firmware_agent.contract.ids import parse_node_id
from provisioning.broker.embedded.rules import Identity
from provisioning.broker.embedded.settings import EmbeddedSettings
from provisioning.errors import Rejected, Untrusted
from provisioning.pki import read_certificate, read_file

_SERVICE = re.compile(r"svc-[a-z0-9-]{1,60}")


@dataclass(frozen=True, slots=True)
class Trust:
    """What is trusted now; made anew at each reload, as a whole or not at all."""

    context: ssl.SSLContext
    device_cas: tuple[x509.Certificate, ...]
    service_cas: tuple[x509.Certificate, ...]
    lists: tuple[x509.CertificateRevocationList, ...]

    def identify(self, der: bytes) -> Identity:
        """Say whom a certificate names that OpenSSL has verified already.

        Raises:
            Untrusted: its issuer may not sign such a name.
        """
        certificate = x509.load_der_x509_certificate(der)
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        if len(names) != 1:
            raise Untrusted("the certificate does not have exactly one common name")
        name = str(names[0].value)
        if _SERVICE.fullmatch(name):
            if not _is_signed_by(certificate, self.service_cas):
                raise Untrusted(f"the service CA did not sign the certificate of {name}")
            return Identity(name, is_service=True)
        try:
            node = parse_node_id(name)
        except ValueError as error:
            raise Untrusted("the certificate names neither a node nor a service") from error
        if not _is_signed_by(certificate, self.device_cas):
            raise Untrusted(f"the device CA did not sign the certificate of {node}")
        return Identity(node, is_service=False)

    def is_over(self, der: bytes) -> bool:
        """Whether a certificate has expired or is in the newest list of its issuer."""
        certificate = x509.load_der_x509_certificate(der)
        lists = [crl for crl in self.lists if crl.issuer == certificate.issuer]
        is_revoked = any(crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None for crl in lists)
        return is_revoked or certificate.not_valid_after_utc <= datetime.now(UTC)


def load_trust(settings: EmbeddedSettings) -> Trust:
    """Read certificates, key and lists.

    Raises:
        Missing: a file is not there.
        Rejected: a file holds something else than it should.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF | ssl.VERIFY_X509_STRICT
    # A resumed session skips the check of dates and lists, so there is none.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    try:
        context.load_cert_chain(settings.certificate_file, settings.key_file)
        context.load_verify_locations(settings.trust_file)
        context.load_verify_locations(settings.crl_file)
    except FileNotFoundError as error:
        raise Rejected("A file of the broker's certificate, key, trust or lists is not there.") from error
    except (ssl.SSLError, OSError) as error:
        raise Rejected(f"The broker's certificate, key, trust or lists cannot be used: {error}.") from error
    return Trust(context, _read_all(settings.device_ca_files), _read_all(settings.service_ca_files), _read_lists(Path(settings.crl_file)))


def _read_all(files: Sequence[str]) -> tuple[x509.Certificate, ...]:
    return tuple(read_certificate(Path(file)) for file in files)


def _read_lists(path: Path) -> tuple[x509.CertificateRevocationList, ...]:
    end = b"-----END X509 CRL-----"
    blocks = [block + end for block in read_file(path).split(end) if b"-----BEGIN X509 CRL-----" in block]
    try:
        lists = tuple(x509.load_pem_x509_crl(block) for block in blocks)
    except ValueError as error:
        raise Rejected(f"{path} does not hold lists of revoked certificates.") from error
    if not lists:
        raise Rejected(f"{path} does not hold lists of revoked certificates.")
    return lists


def _is_signed_by(certificate: x509.Certificate, issuers: Sequence[x509.Certificate]) -> bool:
    for issuer in issuers:
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return True
    return False
