"""An enrolment service on an embedded database, with a clock that tests hold."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fleet_server.enrolment.service import EnrolmentService
from fleet_server.storage import Database
from provisioning import est
from provisioning.ca import create_pki
from provisioning.pki import Pki
from provisioning.signer import FileSigner
from tests.unit.fleet_server.enrolment.fakes import NOW_MS, CountingSigner, HeldClock, NewApplicant, Nodes


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
def new_applicant() -> NewApplicant:
    def make() -> est.Applicant:
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
        return est.Applicant(key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))

    return make
