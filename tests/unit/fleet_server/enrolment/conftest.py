"""An enrolment service on an embedded database, with a clock that tests hold."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from firmware_agent.contract.ids import new_node_id
from fleet_server.access.model import Scope
from fleet_server.enrolment.service import EnrolmentService
from fleet_server.errors import NotFound
from fleet_server.registry.model import NodeRef
from fleet_server.storage import Database
from provisioning import est
from provisioning.ca import create_pki
from provisioning.pki import Pki
from provisioning.signer import FileSigner, IssueRequest, Signer

NOW_MS = 1_795_512_600_000


class HeldClock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.ms = NOW_MS

    def now_ms(self) -> int:
        return self.ms

    def mono_s(self) -> float:
        return self.ms / 1000

    def utc(self) -> datetime:
        return datetime.fromtimestamp(self.ms / 1000, UTC)


@dataclass
class Nodes:
    """A registry of nodes in memory."""

    nodes: list[NodeRef] = field(default_factory=list)

    def add(self, serial: str, unit_path: str = "/bpp/n1/lumpini/") -> NodeRef:
        self.nodes.append(NodeRef(new_node_id(), serial, unit_path))
        return self.nodes[-1]

    def node(self, name: str, scope: Scope) -> NodeRef:
        for node in self.nodes:
            if name in (node.id, node.serial) and scope.contains(node.unit_path):
                return node
        raise NotFound(f"There is no node {name}.")


class CountingSigner:
    """The real signer, counting, and failing when told to."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self.count = 0
        self.fails_with: Exception | None = None

    async def issue(self, request: IssueRequest) -> x509.Certificate:
        if self.fails_with is not None:
            raise self.fails_with
        self.count += 1
        return await self._signer.issue(request)


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return create_pki(tmp_path_factory.mktemp("pki") / "pki", "Lumpini", local_root=True, now=datetime.fromtimestamp(NOW_MS / 1000, UTC))


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


@pytest.fixture
def nodes() -> Nodes:
    return Nodes()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/fleet.db")
    database.create_all()
    yield database
    database.close()


@pytest.fixture
def signer(pki: Pki, clock: HeldClock) -> CountingSigner:
    return CountingSigner(FileSigner.of(pki, now=clock.utc))


@pytest.fixture
def service(database: Database, nodes: Nodes, signer: CountingSigner, clock: HeldClock) -> EnrolmentService:
    return EnrolmentService(database, nodes, signer, clock=clock, claim_key=b"k" * 32, refusal_s=0.0)


@pytest.fixture(scope="session")
def new_applicant() -> Callable[[], est.Applicant]:
    def make() -> est.Applicant:
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
        return est.Applicant(key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))

    return make
