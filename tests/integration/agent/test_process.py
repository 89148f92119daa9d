"""The agent as a process: killed, stopped, cut off, and woken in the wrong century. Mutual TLS throughout."""

import json
import signal
import ssl
import sys
from collections.abc import Callable
from pathlib import Path

import libfaketime  # type: ignore[import-untyped]  # it ships no types
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from firmware_agent.contract.vocabulary import ClockQuality, Online
from firmware_agent.identity import credentials
from firmware_agent.identity.enrol import Request, keep
from hil.scenarios.programs import faketime_environment
from tests.integration.agent.certificates import Ca, write
from tests.integration.agent.nodes import NODE, NodeProcess, make_node, status
from tests.integration.agent.stub_server import StubServer, until
from tests.servers.mosquitto import Mosquitto
from tests.servers.process import free_port

ROOT = Ca.root("Root")
DEVICES, SERVERS, SERVICES = ROOT.sub("Devices"), ROOT.sub("Servers"), ROOT.sub("Services")

BROKER = """
listener {port} 127.0.0.1
cafile {folder}/ca.pem
certfile {folder}/server.pem
keyfile {folder}/server.key
crlfile {folder}/crl.pem
require_certificate true
use_identity_as_username true
allow_anonymous false
tls_version tlsv1.2
max_packet_size 131072
"""


class Site:
    """A broker with mutual TLS, and an enrolled node beside it."""

    def __init__(self, folder: Path, start_mosquitto: Callable[[str], Mosquitto], *, anchor: Ca = ROOT) -> None:
        self.folder = folder / "node"
        pki = folder / "pki"
        certificate, key = SERVERS.server()
        write(pki, "server.pem", certificate + SERVERS.pem)
        write(pki, "server.key", key)
        write(pki, "ca.pem", ROOT.pem + DEVICES.pem + SERVICES.pem)
        self.crl = write(pki, "crl.pem", DEVICES.crl() + SERVICES.crl())
        self.broker = start_mosquitto(BROKER.replace("{folder}", str(pki)))
        self.config = make_node(self.folder, self.broker.port, no_tls=False)
        self.leaf = self._enrol(anchor)
        certificate, key = SERVICES.service("svc-core")
        self._certificate, self._key = write(pki, "svc.pem", certificate), write(pki, "svc.key", key)

    def _enrol(self, anchor: Ca) -> x509.Certificate:
        identity = self.folder / "identity"
        identity.mkdir()
        key = credentials.load_or_make_key(identity / "key.pem")
        public = key.public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey)
        leaf = DEVICES.node(public, NODE)
        found = credentials.check([leaf], key=key, given=[ROOT.certificate], published=[ROOT.certificate, DEVICES.certificate])
        keep(found, Request("SSZ-1", "", identity, identity))
        (identity / "ca.pem").write_bytes(anchor.pem)
        return leaf

    def server(self, *, is_deaf: bool = False) -> StubServer:
        context = ssl.create_default_context(cafile=str(self.folder.parent / "pki" / "ca.pem"))
        context.load_cert_chain(self._certificate, self._key)
        return StubServer(self.broker.port, NODE, is_deaf=is_deaf, tls=context)

    def status(self) -> dict[str, object]:
        return status(self.folder)


@pytest.fixture
def site(tmp_path: Path, start_mosquitto: Callable[[str], Mosquitto]) -> Site:
    return Site(tmp_path, start_mosquitto)


def books(folder: Path) -> tuple[int, int]:
    """Heartbeats and events made, as the status says."""
    found = status(folder)
    return (sum(s["made"] for s in found["streams"]), found["events"]["made"]) if found else (0, 0)


def wall_ms(folder: Path) -> int:
    """The node's clock, as the status says."""
    return int(status(folder)["clock"]["wall_ms"])


def faketime(folder: Path, time: str) -> tuple[dict[str, str], Path]:
    """Return an environment with a wall clock of its own, and the file that sets it."""
    stamp = folder / "faketime"
    stamp.write_text(time)
    return faketime_environment(Path(libfaketime.__file__).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1", stamp), stamp


async def test_node_killed_between_commit_and_sending_loses_nothing(site: Site) -> None:
    site.broker.kill()
    async with NodeProcess(site.config) as node:
        for presses in (1, 2, 3):
            node.press()
            await until(lambda presses=presses: books(site.folder)[1] == presses)  # type: ignore[misc]  # bound at once
            heartbeats = books(site.folder)[0]
            await until(lambda heartbeats=heartbeats: books(site.folder)[0] > heartbeats)  # type: ignore[misc]  # bound at once
            await node.kill()
            await node.start()
        made = books(site.folder)[0]
        site.broker.start()
        async with site.server() as server:
            await until(lambda: len(server.event_ids) == 3)
            await until(
                lambda: len(server.stored) >= made and server.seqs() == list(range(1, max(server.seqs()) + 1)), what="a whole stream"
            )
            assert server.conflicts == []
            assert len({stream for stream, _ in server.stored}) == 1, "a killed process goes on with its stream"
            await until(lambda: site.status()["events"] == {"made": 3, "acked": 3, "held": 0})


async def test_killed_node_is_offline_by_its_will(site: Site) -> None:
    async with site.server() as server, NodeProcess(site.config) as node:
        await until(lambda: server.live)
        await node.kill()
        await until(lambda: server.statuses[-1].status is Online.OFFLINE)
        assert server.statuses[-1].session == server.statuses[0].session


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_ends_it_in_order(site: Site, number: signal.Signals) -> None:
    async with site.server() as server, NodeProcess(site.config) as node:
        await until(lambda: server.live)
        assert await node.stop(number) == 0
        await until(lambda: server.statuses[-1].status is Online.OFFLINE)
        assert "Traceback" not in node.log


async def test_signal_ends_it_while_there_is_no_broker(site: Site) -> None:
    site.broker.kill()
    async with NodeProcess(site.config) as node:
        await until(lambda: "nothing listens" in str(site.status().get("why_not_connected")))
        assert await node.stop() == 0


async def test_broker_under_another_ca_is_not_believed(tmp_path: Path, start_mosquitto: Callable[[str], Mosquitto]) -> None:
    site = Site(tmp_path, start_mosquitto, anchor=Ca.root("Other"))
    async with NodeProcess(site.config):
        await until(lambda: "not certified by our CA" in str(site.status().get("why_not_connected")))


async def test_revoked_node_knows_why(site: Site) -> None:
    site.crl.write_bytes(DEVICES.crl(site.leaf) + SERVICES.crl())
    site.broker.restart()
    async with NodeProcess(site.config) as node:
        await until(lambda: "it is revoked" in str(site.status().get("why_not_connected")), what=node.log)
        node.press()
        await until(lambda: books(site.folder)[1] == 1)


@pytest.mark.skipif(sys.platform != "linux", reason="libfaketime is preloaded")
@pytest.mark.parametrize(("wrong", "says"), [("@1970-01-01 00:00:10", "before"), ("@2099-01-01 00:00:00", "has expired")])
async def test_node_in_the_wrong_century_keeps_evidence_and_connects_when_the_clock_is_right(site: Site, wrong: str, says: str) -> None:
    env, stamp = faketime(site.folder, wrong)
    async with site.server() as server, NodeProcess(site.config, env) as node:
        await until(lambda: says in str(site.status().get("why_not_connected")), what=f"it says why: {node.log}")
        found = status(site.folder)
        assert found["clock"]["quality"] == ClockQuality.NONE
        assert "the clock shows" in found["why_not_connected"]
        node.press()
        await until(lambda: books(site.folder)[1] == 1)
        made = books(site.folder)[0]
        stamp.write_text("+0")
        await until(lambda: server.event_ids, what=node.log)
        await until(lambda: len(server.stored) >= made)
        undated = [h for replay in server.replays for h in replay.heartbeats if h.clock.quality is ClockQuality.NONE]
        assert undated
        await until(lambda: server.live and server.live[-1].clock.quality is ClockQuality.NTP)
        boots = {h.clock.boot for h in [*undated, server.live[-1]]}
        assert len(boots) == 1, "one boot, so that the server can date the old by the new"
        assert "Traceback" not in node.log


@pytest.mark.skipif(sys.platform != "linux", reason="libfaketime is preloaded")
async def test_clock_that_was_ahead_for_a_moment_is_believed_again(site: Site) -> None:
    """What is remembered as good time can never be unlearnt: somebody who sets 2029 by mistake must not spoil the years until then."""
    env, stamp = faketime(site.folder, "+0")
    async with NodeProcess(site.config, env) as node:
        await until(lambda: site.status().get("is_connected"))
        right_ms = wall_ms(site.folder)
        stamp.write_text("+1000d")
        await until(lambda: wall_ms(site.folder) > right_ms + 10**10)
        made = books(site.folder)[0]
        await until(lambda: books(site.folder)[0] > made + 5, what="some ticks with the wrong clock")
        assert await node.stop() == 0
        stamp.write_text("+0")
        await node.start()
        await until(lambda: site.status().get("is_connected") and site.status()["pid"] == node.pid)
        found = status(site.folder)["clock"]
        assert (found["complaint"], found["quality"]) == ("", ClockQuality.NTP)


async def test_run_without_identity_says_what_to_do(tmp_path: Path) -> None:
    config = make_node(tmp_path, free_port(), no_tls=False)
    async with NodeProcess(config) as node:
        assert await node.stop(signal.SIGCONT) == 1
        assert "zone-agent enrol" in node.log
        assert len(node.log.strip().splitlines()) == 1


async def test_status_can_be_read_by_programs(site: Site) -> None:
    async with NodeProcess(site.config):
        await until(lambda: site.status().get("is_connected"))
        found = json.loads((site.folder / "status.json").read_text())
        assert {"node_id", "session", "is_connected", "streams", "events", "channels", "clock"} <= found.keys()
        assert found["channels"][0]["channel"] == "btn-1"
