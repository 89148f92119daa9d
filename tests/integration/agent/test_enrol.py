"""Enrolment over real TLS: every way it can fail, and that it can be run again."""

import base64
import stat
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from typer.testing import CliRunner

from firmware_agent.__main__ import app
from firmware_agent.clock import SystemClock
from firmware_agent.drivers.fake import ManualClock
from firmware_agent.errors import Rejected, Untrusted
from firmware_agent.identity.enrol import GaveUp, Patience, Request, enrol
from firmware_agent.identity.est import EstClient
from firmware_agent.identity.model import Identity, NotEnrolled, load_identity
from tests.integration.agent.certificates import EPOCH, YEAR, Ca, public_key_of, write
from tests.integration.agent.nodes import NODE
from tests.integration.agent.stub_est import StubEst
from tests.servers.process import free_port

ROOT = Ca.root("Root")
DEVICES = ROOT.sub("Devices")
SERVER = ROOT.sub("Servers")
NO_SIGNED_DATA = base64.b64encode(bytes.fromhex("300b06092a864886f70d010701"))
"""PKCS#7 of another kind."""


class Place:
    """A node's folder, and a server for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.identity = folder / "identity"
        self.ca = write(folder, "root.pem", ROOT.pem)
        self.said: list[str] = []
        self.slept: list[float] = []
        self.clock = ManualClock()

    def server(self, *, leaf: tuple[bytes, bytes] | None = None) -> StubEst:
        certificate, key = leaf or SERVER.server()
        return StubEst(self.folder, ROOT, DEVICES, (certificate + SERVER.pem, key), NODE)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(int(seconds * 1000))

    def enrol(self, url: str, *, serial: str = "SSZ-1", wait_s: float = 600, ca: Path | None = None) -> Identity:
        request = Request(serial, "CODE", ca or self.ca, self.identity)
        client = EstClient(url, request.ca_file, clock=SystemClock(), timeout_s=5)
        return enrol(request, client, Patience(wait_s, self.clock, self.sleep, self.said.append))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_enrolled_node_has_key_certificate_anchors_and_name(place: Place) -> None:
    with place.server() as est:
        identity = place.enrol(est.url)
        assert est.asked[0][0] == "SSZ-1:CODE"
    assert (identity.node, identity.serial) == (NODE, "SSZ-1")
    assert stat.S_IMODE(identity.key_file.stat().st_mode) == 0o600
    chain = x509.load_pem_x509_certificates(identity.cert_file.read_bytes())
    assert [c.issuer for c in chain] == [DEVICES.certificate.subject, ROOT.certificate.subject]
    assert (place.identity / "ca.pem").read_bytes() == ROOT.pem
    assert identity.clock_bounds().ceiling_ms == int((EPOCH + 20 * YEAR).timestamp() * 1000)


def test_same_key_asks_again(place: Place) -> None:
    with place.server() as est:
        first = place.enrol(est.url)
        key = first.key_file.read_bytes()
        place.enrol(est.url)
        assert public_key_of(est.asked[0][1]) == public_key_of(est.asked[1][1])
    assert first.key_file.read_bytes() == key


def test_waits_for_approval_as_long_as_the_server_says(place: Place) -> None:
    with place.server() as est:
        est.answers = [(202, {"Retry-After": "7"}, b""), (202, {"Retry-After": "7"}, b"")]
        place.enrol(est.url)
    assert place.slept == [7, 7]
    assert "waits for a person to approve" in place.said[0]


def test_gives_up_in_the_end_and_can_be_run_again(place: Place) -> None:
    with place.server() as est:
        est.answers = [(202, {"Retry-After": "60"}, b"")] * 11
        with pytest.raises(GaveUp, match="run the same command again"):
            place.enrol(est.url, wait_s=600)
        place.enrol(est.url)


def test_wrong_code_is_a_clear_no(place: Place) -> None:
    with place.server() as est:
        est.answers = [(401, {"WWW-Authenticate": 'Basic realm="est"'}, b"")]
        with pytest.raises(Rejected, match="serial is unknown, or the code is wrong"):
            place.enrol(est.url)
    assert place.slept == []
    with pytest.raises(NotEnrolled):
        load_identity(place.identity)


@pytest.mark.parametrize("status", [503, 500, 429])
def test_fault_of_the_server_is_waited_out(place: Place, status: int) -> None:
    with place.server() as est:
        est.answers = [(status, {"Retry-After": "3"} if status != 500 else {}, b"")]
        place.enrol(est.url)
    assert len(place.slept) == 1


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [(400, b"bad CSR\n", "bad CSR"), (404, b"", "404"), (200, b"!!!", "no certificate"), (200, NO_SIGNED_DATA, "no certificate")],
)
def test_other_answers_are_refused(place: Place, status: int, body: bytes, says: str) -> None:
    with place.server() as est:
        est.answers = [(status, {}, body)]
        with pytest.raises(Rejected, match=says):
            place.enrol(est.url)


def test_server_not_up_yet_is_tried_for_a_bounded_time(place: Place) -> None:
    with pytest.raises(GaveUp, match="nothing listens there"):
        place.enrol(f"https://127.0.0.1:{free_port()}", wait_s=100)
    assert sum(place.slept) < 101
    assert max(place.slept) <= 30


def test_wrong_ca_stops_at_once(place: Place) -> None:
    other = write(place.folder, "other.pem", Ca.root("Other").pem)
    with place.server() as est, pytest.raises(Untrusted, match="wrong CA file, or somebody in between"):
        place.enrol(est.url, ca=other)
    assert place.slept == []


def test_certificate_for_another_name_stops_at_once(place: Place) -> None:
    with place.server(leaf=SERVER.server(ip="10.0.0.1")) as est, pytest.raises(Untrusted, match="for another name"):
        place.enrol(est.url)


def test_expired_server_points_at_the_clock(place: Place) -> None:
    leaf = SERVER.server(until=EPOCH + timedelta(days=1))
    with place.server(leaf=leaf) as est, pytest.raises(GaveUp, match=r"By the clock of this node.*has expired"):
        place.enrol(est.url, wait_s=0)


@pytest.mark.parametrize("content", [b"", b"not PEM", None])
def test_bad_ca_file_is_named(place: Place, content: bytes | None) -> None:
    file = place.folder / "nothing.pem" if content is None else write(place.folder, "bad.pem", content)
    with pytest.raises(Rejected, match=file.name):
        place.enrol("https://127.0.0.1:1", ca=file)


@pytest.mark.parametrize("case", ["other key", "other CA", "server usage", "no UUID"])
def test_false_certificate_is_not_kept(place: Place, case: str) -> None:
    stranger = ec.generate_private_key(ec.SECP256R1()).public_key()
    rogue = Ca.root("Root").sub("Devices")
    with place.server() as est:
        match case:
            case "other key":
                est.issue = lambda _: DEVICES.node(stranger, NODE)
            case "other CA":
                est.issue = lambda csr: rogue.node(public_key_of(csr), NODE)
            case "server usage":
                est.issue = lambda csr: DEVICES.node(public_key_of(csr), NODE, usage=ExtendedKeyUsageOID.SERVER_AUTH)
            case _:
                est.issue = lambda csr: DEVICES.node(public_key_of(csr), "Node-1")
        with pytest.raises(Untrusted, match="nothing was kept"):
            place.enrol(est.url)
    assert [f.name for f in place.identity.iterdir()] == ["key.pem"]


def test_another_serial_is_refused(place: Place) -> None:
    with place.server() as est:
        place.enrol(est.url)
        with pytest.raises(Rejected, match="is enrolled as SSZ-1"):
            place.enrol(est.url, serial="SSZ-2")


def test_damaged_key_is_not_overwritten(place: Place) -> None:
    write(place.identity, "key.pem", b"damaged")
    with place.server() as est, pytest.raises(Rejected, match="Move it away"):
        place.enrol(est.url)
    assert (place.identity / "key.pem").read_bytes() == b"damaged"


def test_retry_after_may_be_a_date(place: Place) -> None:
    with place.server() as est:
        date = (datetime.now().astimezone() + timedelta(minutes=5)).strftime("%a, %d %b %Y %H:%M:%S %z")
        est.answers = [(202, {"Retry-After": date}, b"")]
        place.enrol(est.url)
    assert 200 < place.slept[0] <= 301


def test_command_line_says_who_it_became(place: Place) -> None:
    arguments = ["enrol", "--ca", str(place.ca), "--serial", "SSZ-1", "--code", "C", "--data", str(place.folder), "--json"]
    with place.server() as est:
        done = CliRunner().invoke(app, [*arguments, "--server", est.url])
        assert (done.exit_code, f'"node_id":"{NODE}"' in done.stdout) == (0, True)
        est.answers = [(401, {}, b"")]
        refused = CliRunner().invoke(app, [*arguments, "--server", est.url])
    assert refused.exit_code == 1
    assert refused.stdout == ""
    assert len(refused.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"--server": "http://127.0.0.1:1"}, "https://host:port"),
        ({"--server": "https://127.0.0.1:99999"}, "https://host:port"),
        ({"--server": "https://[2001:db8::1"}, "https://host:port"),
        ({"--server": "https://fleet..example"}, "https://host:port"),
        ({"--serial": ""}, "no serial"),
        ({"--serial": "S" * 65}, "no serial"),
        ({"--serial": "ปุ่ม-1"}, "no serial"),
        ({"--data": "/proc/nowhere"}, "/proc/nowhere"),
        ({"--data": "/dev/null"}, "/dev/null"),
    ],
)
def test_wrong_words_on_the_command_line_are_one_sentence(place: Place, wrong: dict[str, str], says: str) -> None:
    words = {"--server": "https://127.0.0.1:1", "--ca": str(place.ca), "--serial": "SSZ-1", "--code": "C", "--data": str(place.folder)}
    done = CliRunner().invoke(app, ["enrol", *(word for pair in (words | wrong).items() for word in pair), "--wait", "0"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
