import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from fleet_server.ingest.greedy import GreedySocket


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 that signed itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        certificate.public_bytes(Encoding.PEM) + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )
    return path


@pytest.fixture
def ends(pem: Path) -> Iterator[tuple[ssl.SSLSocket, GreedySocket]]:
    """Both ends of a connection: who sends, and who reads."""
    near, far = socket.socketpair()
    near.settimeout(10)
    far.settimeout(10)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    client = ssl.create_default_context(cafile=str(pem))
    client.sslsocket_class = GreedySocket
    accepted: list[ssl.SSLSocket] = []
    accepting = threading.Thread(target=lambda: accepted.append(server.wrap_socket(near, server_side=True)))
    accepting.start()
    reader = client.wrap_socket(far, server_hostname="127.0.0.1")
    accepting.join(10)
    assert isinstance(reader, GreedySocket)
    yield accepted[0], reader
    accepted[0].close()
    reader.close()


def test_small_readings_are_served_from_what_was_read_ahead(ends: tuple[ssl.SSLSocket, GreedySocket]) -> None:
    sender, reader = ends
    for part in (b"abc", b"defg", b"h"):
        sender.sendall(part)
    reader.setblocking(False)

    assert reader.recv(1) == b"a"
    assert reader.pending() == 7
    assert reader.recv(3) == b"bcd"
    assert reader.recv(100) == b"efgh"
    assert reader.pending() == 0
    with pytest.raises(ssl.SSLWantReadError):
        reader.recv(1)


def test_many_large_records_arrive_whole_and_in_order(ends: tuple[ssl.SSLSocket, GreedySocket]) -> None:
    sender, reader = ends
    sent = bytes(range(256)) * 4000
    sending = threading.Thread(target=lambda: sender.sendall(sent))
    sending.start()
    reader.settimeout(10)
    got = reader.recv(1)  # the handshake's tickets are behind us now
    reader.setblocking(False)
    while len(got) < len(sent):
        try:
            got += reader.recv(997)
        except ssl.SSLWantReadError:
            continue
    sending.join(10)

    assert got == sent


def test_the_end_is_told_after_the_last_byte(ends: tuple[ssl.SSLSocket, GreedySocket]) -> None:
    sender, reader = ends
    sender.sendall(b"last")
    sender.shutdown(socket.SHUT_RDWR)
    reader.setblocking(False)

    assert reader.recv(100) == b"last"
    assert reader.recv(100) == b""


def test_a_blocking_socket_waits_for_its_first_bytes_only(ends: tuple[ssl.SSLSocket, GreedySocket]) -> None:
    sender, reader = ends
    sender.sendall(b"one")

    assert reader.recv(100) == b"one"
