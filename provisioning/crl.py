"""Lists of revoked certificates: one full CRL per CA, and all of them in one file for the broker.

A broker that meets a bad, expired or missing list either lets revoked clients in or locks everybody out. So a list is
read back and checked before it takes the place of the last good one, and its place is taken by one rename.
Source: RFC 5280 §5.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from provisioning.errors import UNREADABLE, Missing, Rejected, Untrusted
from provisioning.files import write_file
from provisioning.pki import ISSUING, Pki, crl_path, load_pki, read_file
from provisioning.profile import Issuer, ProfileName, check_time

BACKDATE: Final = timedelta(minutes=10)
LIFE: Final = timedelta(days=7)
"""How long a list of an issuing CA is good: freshness comes from the refresh, length only buys time when signing fails."""

ROOT_LIFE: Final = timedelta(days=400)
"""How long the root's list is good: an offline root signs it once a year."""

LEAST_LEFT: Final = timedelta(days=5)
"""A new list that would be good for less than this is not published; an alarm is due when a published one has less."""


def refresh_crls(folder: Path, now: datetime) -> datetime:
    """Sign the lists anew, keep every entry, and publish them; to be called every 15 minutes and after each revocation.

    CAs whose key is not here keep the list that was brought from offline. Safe to call from several processes. When it
    raises, the last good file is still in place.

    Returns:
        Until when the published file is good (aware UTC).

    Raises:
        Missing: a CA has neither a key nor a list here.
        Untrusted: a list does not verify, or is too short-lived.
        Rejected: the folder cannot be written, or the clock of this machine is wrong.
    """
    with _only_one(folder):
        pki = load_pki(folder)
        lists = {name: _renewed(pki, name, now) for name in (ProfileName.ROOT, *ISSUING)}
        for name, crl in lists.items():
            check_crl(crl, pki.certificate(name), now=now, is_root=name is ProfileName.ROOT)
        for name, crl in lists.items():
            write_file(crl_path(folder, name), crl.public_bytes(serialization.Encoding.PEM))
        write_file(pki.crl_file, b"".join(c.public_bytes(serialization.Encoding.PEM) for c in lists.values()))
        return min(ends_at(lists[name]) for name in ISSUING)


def sign_root_crl(pki: Pki, now: datetime) -> x509.CertificateRevocationList:
    """Sign the root's own list anew and store it (`fleet-ca sign-crl` on the machine that holds the root).

    Raises:
        Missing: the root's key is not here.
    """
    with _only_one(pki.folder):
        crl = _signed(pki.issuer(ProfileName.ROOT), load_crl(crl_path(pki.folder, ProfileName.ROOT)), now, ROOT_LIFE)
        write_file(crl_path(pki.folder, ProfileName.ROOT), crl.public_bytes(serialization.Encoding.PEM))
        return crl


def build_crl(
    issuer: Issuer, *, number: int, now: datetime, life: timedelta = LIFE, entries: Iterable[x509.RevokedCertificate] = ()
) -> x509.CertificateRevocationList:
    """Sign a full list with `entries`; `number` must be higher than that of any earlier list of this CA."""
    now = now.astimezone(UTC).replace(microsecond=0)
    identifier = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(now - BACKDATE)
        .next_update(now + life)
        .add_extension(x509.CRLNumber(number), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False)
    )
    for entry in entries:
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(issuer.key, hashes.SHA384() if issuer.key.curve.key_size > 256 else hashes.SHA256())


def check_crl(crl: x509.CertificateRevocationList, issuer: x509.Certificate, *, now: datetime, is_root: bool = False) -> None:
    """See that a list is fit to be published.

    Raises:
        Untrusted: it is of another CA, its signature is bad, it has no number, or too little life is left.
    """
    key = issuer.public_key()
    name = issuer.subject.rfc4514_string()
    try:
        is_genuine = crl.issuer == issuer.subject and crl.is_signature_valid(key)  # type: ignore[arg-type]  # CA keys are EC
    except UNREADABLE as error:
        raise Untrusted("The list of revoked certificates is damaged.") from error
    if not is_genuine:
        raise Untrusted(f"The list of revoked certificates is not one that {name} signed.")
    number_of(crl)
    # Brokers check the list of a leaf's issuer only, so an aged list of the root does no harm.
    if not is_root and ends_at(crl) < now + LEAST_LEFT:
        raise Untrusted(f"The list of revoked certificates of {name} ends on {ends_at(crl):%Y-%m-%d %H:%M} UTC, too soon.")


def load_crl(path: Path) -> x509.CertificateRevocationList | None:
    """Read a list, `None` where there is none.

    Raises:
        Untrusted: the file holds something else.
    """
    if not path.exists():
        return None
    try:
        return x509.load_pem_x509_crl(read_file(path))
    except UNREADABLE as error:
        raise Untrusted(f"{path} does not hold a list of revoked certificates.") from error


def number_of(crl: x509.CertificateRevocationList) -> int:
    """Return a list's number.

    Raises:
        Untrusted: it has none.
    """
    try:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except UNREADABLE as error:
        raise Untrusted("A list of revoked certificates has no number.") from error


def ends_at(crl: x509.CertificateRevocationList) -> datetime:
    """Return until when a list is good (aware UTC).

    Raises:
        Untrusted: it does not say.
    """
    if crl.next_update_utc is None:
        raise Untrusted("A list of revoked certificates does not say until when it is good.")
    return crl.next_update_utc


def _renewed(pki: Pki, name: ProfileName, now: datetime) -> x509.CertificateRevocationList:
    previous = load_crl(crl_path(pki.folder, name))
    is_root = name is ProfileName.ROOT
    is_due = previous is None or not is_root or ends_at(previous) < now + ROOT_LIFE / 2
    if is_due and name in pki.keys:
        return _signed(pki.issuer(name), previous, now, ROOT_LIFE if is_root else LIFE)
    if previous is None:
        raise Missing(f"The {name} has no list of revoked certificates in {pki.folder}: sign one with fleet-ca sign-crl and bring it.")
    return previous


def _signed(
    issuer: Issuer, previous: x509.CertificateRevocationList | None, now: datetime, life: timedelta
) -> x509.CertificateRevocationList:
    """Follow `previous`: all its entries, a higher number. The seconds of today also beat a folder restored from an older backup."""
    check_time(issuer.certificate, now)
    if previous is not None:
        check_crl(previous, issuer.certificate, now=now, is_root=True)
    number = max(int(now.timestamp()), number_of(previous) + 1 if previous is not None else 1)
    return build_crl(issuer, number=number, now=now, life=life, entries=previous if previous is not None else ())


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Let one process at a time write the lists of `folder`."""
    try:
        (folder / "crl").mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / "crl" / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise Rejected(f"{folder} cannot be written: {error.strerror}.") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
