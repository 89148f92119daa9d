"""CAs made once for all tests of certificates, and the time at which they were made."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from provisioning.ca import create_pki
from provisioning.pki import Pki

MADE_AT = datetime(2026, 11, 24, 9, 30, 15, tzinfo=UTC)


@pytest.fixture(scope="session")
def made_at() -> datetime:
    return MADE_AT


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """A PKI that tests only read."""
    return create_pki(tmp_path_factory.mktemp("pki") / "pki", "สถานีตำรวจนครบาลลุมพินี", local_root=True, now=MADE_AT)


@pytest.fixture
def own_pki(tmp_path: Path) -> Pki:
    """A PKI that a test may spoil."""
    return create_pki(tmp_path / "pki", "Lumpini", local_root=True, now=MADE_AT)


@pytest.fixture(scope="session")
def node_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="session")
def spki() -> Callable[[ec.EllipticCurvePrivateKey], bytes]:
    def encode(key: ec.EllipticCurvePrivateKey) -> bytes:
        return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    return encode


@pytest.fixture(scope="session")
def leaf_of() -> Callable[[bytes], x509.Certificate]:
    return lambda chain: x509.load_pem_x509_certificates(chain)[0]
