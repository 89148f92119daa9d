"""What clients send is read or refused with a sentence, never with a crash; what they get is what three of them need."""

import base64
import subprocess
from collections.abc import Callable

import pytest
from asn1crypto import csr as asn1_csr  # type: ignore[import-untyped]  # ships no types
from asn1crypto import parser
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import example, given
from hypothesis import strategies as st

from provisioning import est
from provisioning.errors import Rejected
from provisioning.pki import Pki

Spki = Callable[[ec.EllipticCurvePrivateKey], bytes]


def request_of(key: CertificateIssuerPrivateKeyTypes, algorithm: hashes.HashAlgorithm | None = None) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    is_edwards = isinstance(key, ed25519.Ed25519PrivateKey)
    signed = builder.sign(key, None if is_edwards else algorithm or hashes.SHA256())  # type: ignore[arg-type]  # the kinds that X.509 has
    return signed.public_bytes(serialization.Encoding.DER)


def with_null(der: bytes) -> bytes:
    """What tpm2-openssl 1.1.1 sends."""
    request = asn1_csr.CertificationRequest.load(der)
    algorithm = parser.emit(0, 1, 16, request["signature_algorithm"]["algorithm"].dump() + b"\x05\x00")
    return bytes(parser.emit(0, 1, 16, request["certification_request_info"].dump() + algorithm + request["signature"].dump()))


@pytest.fixture(scope="module")
def der(node_key: ec.EllipticCurvePrivateKey) -> bytes:
    return request_of(node_key)


# Bodies


@pytest.mark.parametrize("separator", [b"", b"\n", b"\r\n", b" \t"])
def test_a_body_is_base64_wrapped_or_not(der: bytes, separator: bytes) -> None:
    text = base64.b64encode(der)
    body = separator.join(text[i : i + 64] for i in range(0, len(text), 64)) + separator
    assert est.decode_body(body) == der


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "empty"),
        (b" \r\n", "empty"),
        (b"-----BEGIN CERTIFICATE REQUEST-----", "not base64"),
        (b"MIIB", None),
        (b"MII", "not base64"),
        (b"\xff\xfe", "not base64"),
        (b"A" * (est.LARGEST_BODY + 1), "larger than"),
    ],
)
def test_other_bodies_are_refused(body: bytes, message: str | None) -> None:
    if message is None:
        assert est.decode_body(body)
        return
    with pytest.raises(Rejected, match=message):
        est.decode_body(body)


@given(st.binary(max_size=2000))
def test_no_body_crashes(body: bytes) -> None:
    try:
        est.read_request(est.decode_body(body))
    except Rejected as error:
        assert str(error).endswith(".")  # noqa: PT017  # both outcomes are right; Hypothesis chooses


# Requests


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()])
def test_the_key_is_taken_and_nothing_else(curve: ec.EllipticCurve, spki: Spki) -> None:
    key = ec.generate_private_key(curve)
    applicant = est.read_request(request_of(key))
    assert applicant.public_key == spki(key)
    assert len(applicant.fingerprint) == 64
    assert not applicant.was_repaired


def test_a_compressed_key_is_the_same_key(node_key: ec.EllipticCurvePrivateKey, spki: Spki) -> None:
    full, compressed = (
        parser.emit(0, 0, 3, b"\0" + node_key.public_key().public_bytes(serialization.Encoding.X962, point))
        for point in (serialization.PublicFormat.UncompressedPoint, serialization.PublicFormat.CompressedPoint)
    )
    key = spki(node_key)
    shorter_key = parser.emit(0, 1, 16, parser.parse(key)[4].replace(full, compressed))
    info = asn1_csr.CertificationRequest.load(request_of(node_key))["certification_request_info"].dump()
    shorter = parser.emit(0, 1, 16, parser.parse(info)[4].replace(key, shorter_key))
    signature = parser.emit(0, 0, 3, b"\0" + node_key.sign(shorter, ec.ECDSA(hashes.SHA256())))
    ecdsa_with_sha256 = bytes.fromhex("300a06082a8648ce3d040302")
    assert len(shorter) < len(info)
    assert est.read_request(parser.emit(0, 1, 16, shorter + ecdsa_with_sha256 + signature)).public_key == key


def test_what_a_request_asks_for_is_ignored(node_key: ec.EllipticCurvePrivateKey, spki: Spki) -> None:
    greedy = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody else")]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("fleet.example.go.th")]), critical=False)
        .sign(node_key, hashes.SHA256())
    )
    assert est.read_request(greedy.public_bytes(serialization.Encoding.DER)) == est.Applicant(spki(node_key))


def test_a_null_of_tpm_software_is_dropped(der: bytes, node_key: ec.EllipticCurvePrivateKey, spki: Spki) -> None:
    with pytest.raises(ValueError, match="signature_alg"):
        x509.load_der_x509_csr(with_null(der))
    assert est.read_request(with_null(der)) == est.Applicant(spki(node_key), was_repaired=True)


def test_a_repaired_request_is_checked_like_all_others(der: bytes) -> None:
    with pytest.raises(Rejected, match="not signed by its own key"):
        est.read_request(with_null(der[:-1] + bytes([der[-1] ^ 1])))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: request_of(rsa.generate_private_key(65537, 1024)), "P-256"),
        (lambda: request_of(rsa.generate_private_key(65537, 2048)), "P-256"),
        (lambda: request_of(ed25519.Ed25519PrivateKey.generate()), "P-256"),
        (lambda: request_of(ec.generate_private_key(ec.SECP521R1())), "P-256"),
        (lambda: request_of(ec.generate_private_key(ec.SECP256K1())), "P-256"),
        (lambda: request_of(ec.generate_private_key(ec.SECP256R1()), hashes.SHA224()), "SHA-256"),
        (lambda: request_of(ec.generate_private_key(ec.SECP256R1())).replace(b"\2\1\0", b"\2\1\7", 1), "not a PKCS#10"),
        (lambda: b"\x30\x00", "not a PKCS#10"),
        (lambda: b"", "not a PKCS#10"),
    ],
)
def test_other_keys_and_garbage_are_refused(make: Callable[[], bytes], message: str) -> None:
    with pytest.raises(Rejected, match=message):
        est.read_request(make())


def test_a_request_signed_by_another_key_is_refused(der: bytes) -> None:
    other = asn1_csr.CertificationRequest.load(request_of(ec.generate_private_key(ec.SECP256R1())))
    own = asn1_csr.CertificationRequest.load(der)
    stolen = own["certification_request_info"].dump() + other["signature_algorithm"].dump() + other["signature"].dump()
    with pytest.raises(Rejected, match="not signed by its own key"):
        est.read_request(parser.emit(0, 1, 16, stolen))


@given(st.data())
def test_a_damaged_request_never_crashes_nor_gets_another_key(
    der: bytes, node_key: ec.EllipticCurvePrivateKey, spki: Spki, data: st.DataObject
) -> None:
    body = bytearray(data.draw(st.sampled_from([der, with_null(der)])))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    del body[data.draw(st.integers(len(body) // 2, len(body))) :]
    try:
        applicant = est.read_request(bytes(body))
    except Rejected:
        return
    assert applicant.public_key == spki(node_key)


# Answers


def test_certificates_are_unwrapped_with_one_newline(pki: Pki) -> None:
    body = est.encode_certificates([pki.root], user_agent="curl/8")
    assert body.endswith(b"\n")
    assert body.count(b"\n") == 1
    assert pkcs7.load_der_pkcs7_certificates(base64.b64decode(body)) == [pki.root]


def test_libest_gets_lines_of_64(pki: Pki) -> None:
    body = est.encode_certificates([pki.root], user_agent="libest 3.2.0p")
    lines = body.decode().splitlines()
    assert {len(line) for line in lines[:-1]} == {64}
    assert 0 < len(lines[-1]) <= 64
    assert pkcs7.load_der_pkcs7_certificates(base64.b64decode(body)) == [pki.root]


def test_csr_attributes_name_the_signature_and_the_curve() -> None:
    command = ["openssl", "asn1parse", "-inform", "DER"]
    text = subprocess.run(command, input=est.CSR_ATTRIBUTES, capture_output=True, check=True, timeout=60).stdout.decode()
    assert [line.rpartition(":")[2] for line in text.splitlines() if "OBJECT" in line] == [
        "ecdsa-with-SHA256",
        "id-ecPublicKey",
        "prime256v1",
    ]


@pytest.mark.parametrize("headers", [est.CERTIFICATES_HEADERS, est.CSR_ATTRIBUTES_HEADERS])
def test_bouncy_castle_needs_the_transfer_encoding(headers: dict[str, str]) -> None:
    assert headers["Content-Transfer-Encoding"] == "base64"


# Logins


@pytest.mark.parametrize(
    ("header", "login"),
    [
        ("Basic U1NaLTE6Y29kZQ==", est.Login("SSZ-1", "code")),
        ("basic U1NaLTE6Y29kZQ==", est.Login("SSZ-1", "code")),
        ("Basic " + base64.b64encode("a:b:ก".encode()).decode(), est.Login("a", "b:ก")),
        ("Basic Og==", est.Login("", "")),
        ("", None),
        ("Basic", None),
        ("Basic ???", None),
        ("Basic U1NaLTE=", None),
        ("Basic /////w==", None),
        ("Bearer abc", None),
        ("Basic กขค", None),
    ],
)
def test_logins(header: str, login: est.Login | None) -> None:
    assert est.read_login(header) == login


@given(st.text())
@example("Basic " + "A" * 100_000)
def test_no_login_crashes(header: str) -> None:
    est.read_login(header)
    est.read_login("Basic " + header)
