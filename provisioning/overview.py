"""What there is in a PKI folder, and what of it will need attention. Pure but for reading the lists."""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from provisioning.crl import LEAST_LEFT, ends_at, load_crl, number_of
from provisioning.pki import ISSUING, Pki, crl_path, key_path
from provisioning.profile import ProfileName

ROTATE_BEFORE: Final = timedelta(days=365)
"""An issuing CA is followed by a new one a year before it ends, so that what it signs never outlives it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """One CA; times are ISO 8601 in UTC, and empty where there is nothing yet."""

    name: str
    subject: str = ""
    serial: str = ""
    not_before: str = ""
    not_after: str = ""
    key: str
    """`here`, `encrypted` or `absent`."""
    crl_number: int | None = None
    crl_entries: int | None = None
    crl_good_until: str = ""


@dataclass(frozen=True, slots=True)
class Overview:
    """All CAs, and sentences about what is wrong or will be."""

    folder: str
    authorities: tuple[Authority, ...]
    warnings: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """Return it for machines."""
        return asdict(self)

    def text(self) -> str:
        """Return it for people."""
        lines = [f"{'':12}{'from':12}{'to':12}{'key':10}{'list until':12}{'entries':8}serial"]
        for a in self.authorities:
            entries = "-" if a.crl_entries is None else str(a.crl_entries)
            dates = f"{a.not_before[:10] or '-':12}{a.not_after[:10] or '-':12}"
            lines.append(f"{a.name:12}{dates}{a.key:10}{a.crl_good_until[:10] or '-':12}{entries:8}{a.serial}".rstrip())
        return "\n".join([*lines, *(f"! {warning}" for warning in self.warnings)])


def overview(pki: Pki, now: datetime) -> Overview:
    """Describe a PKI folder.

    Raises:
        Untrusted: a list is not one.
    """
    names = (ProfileName.ROOT, *ISSUING)
    warnings = [warning for name in names for warning in _warnings(pki, name, now)]
    return Overview(str(pki.folder), tuple(_authority(pki, name) for name in names), tuple(warnings))


def _authority(pki: Pki, name: ProfileName) -> Authority:
    certificate = pki.certificates.get(name)
    if certificate is None:
        return Authority(name=name, key=_key(pki, name))
    crl = load_crl(crl_path(pki.folder, name))
    return Authority(
        name=name,
        subject=certificate.subject.rfc4514_string(),
        serial=f"{certificate.serial_number:x}",
        not_before=certificate.not_valid_before_utc.isoformat(),
        not_after=certificate.not_valid_after_utc.isoformat(),
        key=_key(pki, name),
        crl_number=number_of(crl) if crl is not None else None,
        crl_entries=len(crl) if crl is not None else None,
        crl_good_until=ends_at(crl).isoformat() if crl is not None else "",
    )


def _key(pki: Pki, name: ProfileName) -> str:
    if name in pki.keys:
        return "here"
    return "encrypted" if key_path(pki.folder, name).exists() else "absent"


def _warnings(pki: Pki, name: ProfileName, now: datetime) -> list[str]:
    certificate = pki.certificates.get(name)
    if certificate is None:
        return [f"The {name} is not signed yet."] if name in pki.keys else []
    found = []
    left = certificate.not_valid_after_utc - now
    if left < ROTATE_BEFORE:
        found.append(f"The {name} ends in {left.days} days: it is time for its successor.")
    crl = load_crl(crl_path(pki.folder, name))
    if crl is None:
        found.append(f"The {name} has no list of revoked certificates: run fleet-ca sign-crl.")
    elif ends_at(crl) - now < LEAST_LEFT:
        found.append(f"The list of the {name} ends on {ends_at(crl):%Y-%m-%d %H:%M} UTC: run fleet-ca sign-crl, or nobody can connect.")
    return found
