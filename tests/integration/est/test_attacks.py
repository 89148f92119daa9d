"""What the enrolment listener answers to those who lie, guess, flood or talk nonsense: never a 500, never a reason."""

import base64
import ssl
from collections.abc import Iterator

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet_server.access.model import Scope
from fleet_server.enrolment.service import Claim
from provisioning import claims, est
from provisioning.profile import ProfileName
from tests.integration.est.listener import EstServer

ENROL = "/.well-known/est/simpleenroll"


@pytest.fixture(scope="module")
def http(est_server: EstServer) -> Iterator[httpx.Client]:
    context = ssl.create_default_context(cafile=str(est_server.root_file))
    with httpx.Client(base_url=est_server.url, verify=context, timeout=30) as client:
        yield client


def request_for(key: CertificateIssuerPrivateKeyTypes, *extensions: x509.ExtensionType, cn: str = "x") -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn)]))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return base64.b64encode(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER))


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


# Requests for more than a node gets


@pytest.mark.parametrize(
    ("serial", "extension"),
    [
        ("GREED-CA", x509.BasicConstraints(ca=True, path_length=None)),
        ("GREED-EKU", x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])),
        ("GREED-DNS", x509.SubjectAlternativeName([x509.DNSName("fleet.example.go.th"), x509.DNSName("*")])),
        ("GREED-URI", x509.SubjectAlternativeName([x509.UniformResourceIdentifier("urn:uuid:00000000-0000-4000-8000-000000000000")])),
        ("GREED-USE", x509.KeyUsage(True, True, True, True, True, True, True, False, False)),
    ],
)
def test_a_greedy_request_gets_the_profile(est_server: EstServer, http: httpx.Client, serial: str, extension: x509.ExtensionType) -> None:
    claim, key = est_server.add(serial), new_key()
    body = request_for(key, extension, cn="00000000-0000-4000-8000-000000000000")
    answer = http.post(ENROL, content=body, auth=(serial, claim.code))
    assert answer.status_code == 200
    (certificate,) = pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer.content))
    plain_claim, plain_key = est_server.add(f"{serial}-PLAIN"), new_key()
    plain_answer = http.post(ENROL, content=request_for(plain_key), auth=(f"{serial}-PLAIN", plain_claim.code))
    (plain,) = pkcs7.load_der_pkcs7_certificates(base64.b64decode(plain_answer.content))
    assert certificate.public_key() == key.public_key()
    assert shape(certificate, claim) == shape(plain, plain_claim)
    assert certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == claim.node_id


def shape(certificate: x509.Certificate, claim: Claim) -> str:
    """Everything of a certificate but key, serials and times."""
    kinds = (x509.SubjectKeyIdentifier,)
    extensions = [
        (e.oid.dotted_string, e.critical, e.value.public_bytes().hex()) for e in certificate.extensions if not isinstance(e.value, kinds)
    ]
    text = repr((certificate.issuer.rfc4514_string(), certificate.subject.rfc4514_string(), extensions))
    return text.replace(claim.node_id.encode().hex(), "NODE").replace(claim.node_id, "NODE").replace(claim.serial, "SERIAL")


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b"", 400, "empty"),
        (b"garbage!", 400, "not base64"),
        (b"Z2FyYmFnZQ==", 400, "not a PKCS#10"),
        (b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", 400, "not base64"),
        (b"A" * (est.LARGEST_BODY + 1), 413, "at most"),
        (b"A" * 5_000_000, 413, "at most"),
        (request_for(rsa.generate_private_key(65537, 1024)), 400, "P-256"),
        (request_for(ec.generate_private_key(ec.SECP521R1())), 400, "P-256"),
    ],
)
def test_a_bad_request_is_told_so_and_burns_no_code(
    est_server: EstServer, http: httpx.Client, body: bytes, status: int, sentence: str
) -> None:
    serial = f"BAD-{abs(hash(body)) % 10**9}"
    claim = est_server.add(serial)
    answer = http.post(ENROL, content=body, auth=(serial, claim.code))
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/plain; charset=utf-8")
    assert sentence in answer.text
    assert http.post(ENROL, content=request_for(new_key()), auth=(serial, claim.code)).status_code == 200


def test_a_stream_without_length_is_cut_off(est_server: EstServer, http: httpx.Client) -> None:
    claim = est_server.add("STREAM-1")
    answer = http.post(ENROL, content=(b"A" * 1000 for _ in range(100)), auth=("STREAM-1", claim.code))
    assert answer.status_code == 413


# Who has not the right code


def test_wrong_used_expired_locked_and_unknown_look_the_same(est_server: EstServer, http: httpx.Client) -> None:
    wrong_code = claims.format_claim(claims.new_claim())
    used, locked, wrong = est_server.add("SAME-USED"), est_server.add("SAME-LOCKED"), est_server.add("SAME-WRONG")
    assert http.post(ENROL, content=request_for(new_key()), auth=("SAME-USED", used.code)).status_code == 200
    for _ in range(5):
        http.post(ENROL, content=request_for(new_key()), auth=("SAME-LOCKED", wrong_code))
    assert est_server.service.enrolment(locked.node_id, scope=Scope.ALL).is_locked
    answers = [
        http.post(ENROL, content=request_for(new_key()), auth=who)
        for who in (
            ("SAME-WRONG", wrong_code),
            ("SAME-WRONG", wrong.code[:-1]),
            ("SAME-USED", used.code),
            ("SAME-LOCKED", locked.code),
            ("SAME-UNKNOWN", wrong_code),
            ("", ""),
            ("ก" * 300, "\x00"),
        )
    ]
    answers.append(http.post(ENROL, content=request_for(new_key())))
    seen = {(a.status_code, a.content, tuple((k, v) for k, v in a.headers.items() if k != "date")) for a in answers}
    assert len(seen) == 1
    ((status, body, headers),) = seen
    assert (status, body) == (401, b"")
    assert dict(headers)["www-authenticate"].startswith("Basic ")
    assert dict(headers)["content-length"] == "0"


def test_somebody_else_s_key_is_refused_by_name(est_server: EstServer, http: httpx.Client) -> None:
    key, first, second = new_key(), est_server.add("TWIN-1"), est_server.add("TWIN-2")
    assert http.post(ENROL, content=request_for(key), auth=("TWIN-1", first.code)).status_code == 200
    answer = http.post(ENROL, content=request_for(key), auth=("TWIN-2", second.code))
    assert (answer.status_code, answer.text) == (400, "This key was used before: make a new one.\n")


# Nonsense


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.one_of(st.binary(max_size=400), st.binary(max_size=300).map(base64.b64encode)),
    login=st.one_of(st.none(), st.binary(min_size=1, max_size=40)),
)
def test_nothing_makes_it_fail(est_server: EstServer, http: httpx.Client, body: bytes, login: bytes | None) -> None:
    headers = {"Authorization": "Basic " + base64.b64encode(login).decode()} if login is not None else {}
    assert http.post(ENROL, content=body, headers=headers).status_code in (400, 401, 429)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", ENROL, 405),
        ("PUT", ENROL, 405),
        ("POST", "/.well-known/est/cacerts", 405),
        ("GET", "/.well-known/est/serverkeygen", 404),
        ("POST", "/.well-known/est/simplereenroll", 404),
        ("GET", "/", 404),
        ("GET", "/.well-known/est/../../etc/passwd", 404),
        ("GET", "/api/v1/nodes", 404),
    ],
)
def test_other_ways_in_are_closed(http: httpx.Client, method: str, path: str, status: int) -> None:
    assert http.request(method, path).status_code == status


def test_cacerts_holds_the_root_and_the_device_ca(est_server: EstServer, http: httpx.Client) -> None:
    answer = http.get("/.well-known/est/cacerts")
    found = pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer.content))
    assert set(found) == {est_server.pki.root, est_server.pki.certificate(ProfileName.DEVICE_CA)}
    assert answer.headers["content-transfer-encoding"] == "base64"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_12_and_13(est_server: EstServer, version: ssl.TLSVersion) -> None:
    context = ssl.create_default_context(cafile=str(est_server.root_file))
    context.minimum_version = context.maximum_version = version
    assert httpx.get(f"{est_server.url}/.well-known/est/csrattrs", verify=context).status_code == 200
