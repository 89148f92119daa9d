"""What the library raises for odd bytes is said in our words, whatever class it is of."""

from collections.abc import Callable
from pathlib import Path

import pytest
from asn1crypto import pem  # type: ignore[import-untyped]  # ships no types
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from provisioning.ca import sign_issuing
from provisioning.crl import load_crl
from provisioning.errors import ProvisioningError
from provisioning.pki import Pki, certificate_path, crl_path, read_certificate
from provisioning.profile import ProfileName


def of_another_version(body: bytes, version: int) -> bytes:
    """Return PEM of the same thing, that says to be of a version which nobody knows."""
    kind, _, der = pem.unarmor(body)
    changed: bytes = pem.armor(kind, der.replace(bytes((2, 1, version)), bytes((2, 1, 9)), 1))
    return changed


@pytest.fixture
def request_pem() -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    ("path_of", "version", "read"),
    [(certificate_path, 2, read_certificate), (crl_path, 1, load_crl)],
)
def test_certificate_or_list_of_another_version(
    own_pki: Pki, path_of: Callable[[Path, ProfileName], Path], version: int, read: Callable[[Path], object]
) -> None:
    path = path_of(own_pki.folder, ProfileName.DEVICE_CA)
    path.write_bytes(of_another_version(path.read_bytes(), version))
    with pytest.raises(ProvisioningError, match="does not hold"):
        read(path)


def test_request_of_another_version(own_pki: Pki, tmp_path: Path, request_pem: bytes) -> None:
    (tmp_path / "device-ca.csr.pem").write_bytes(of_another_version(request_pem, 0))
    with pytest.raises(ProvisioningError, match="does not hold a certificate request"):
        sign_issuing(own_pki.folder, tmp_path, passphrase=None)
