"""Which hosts a certificate is for, and when it is renewed."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from fleet_server.certificates.pair import Pair, is_for, names_of, renew_at
from fleet_server.errors import Rejected

NOW = datetime(2026, 11, 24, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP256R1())


def certificate(life: timedelta = timedelta(days=90), serial: int = 1) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ignored.example.org")]))
        .issuer_name(x509.Name([]))
        .public_key(KEY.public_key())
        .serial_number(serial)
        .not_valid_before(NOW)
        .not_valid_after(NOW + life)
        .sign(KEY, hashes.SHA256())
    )


@pytest.mark.parametrize(
    ("host", "names", "fits"),
    [
        ("fleet.example.org", ["fleet.example.org"], True),
        ("FLEET.example.org.", ["fleet.Example.org"], True),
        ("fleet.example.org", ["*.example.org"], True),
        ("a.fleet.example.org", ["*.example.org"], False),
        ("example.org", ["*.example.org"], False),
        ("fleet.example.org", ["other.org", "fleet.example.org"], True),
        ("10.0.0.1", ["10.0.0.1"], True),
        ("10.0.0.1", ["*.0.0.1"], False),
        ("[::1]", ["0:0:0:0:0:0:0:1"], True),
        ("localhost", ["*."], False),
        ("fleet.example.org", [], False),
    ],
)
def test_hosts(host: str, names: list[str], fits: bool) -> None:
    assert is_for(host, names) is fits


def test_common_name_counts_no_more() -> None:
    assert names_of(certificate()) == []


@given(days=st.integers(1, 400), serial=st.integers(1, 2**150))
def test_renewal_is_due_between_two_thirds_and_three_quarters(days: int, serial: int) -> None:
    life = timedelta(days=days)
    at = renew_at(certificate(life, serial))
    assert NOW + life * 2 / 3 - timedelta(seconds=1) <= at <= NOW + life * 3 / 4 + timedelta(seconds=1)
    assert at == renew_at(certificate(life, serial)), "the same after each restart"


@pytest.mark.parametrize("change", [(b"\2\1\2", b"\2\1\7"), (b"\x2a\x86\x48\xce\x3d\2\1", b"\x2a\x86\x48\xce\x3d\2\7"), (b"", b"")])
def test_no_certificate_that_can_be_read(change: tuple[bytes, bytes]) -> None:
    body = certificate().public_bytes(serialization.Encoding.DER).replace(*change, 1) if change[0] else b""
    text = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(body) + b"-----END CERTIFICATE-----\n"
    with pytest.raises(Rejected, match="PEM"):
        Pair(text, b"").leaf  # noqa: B018  # it is read for its error
