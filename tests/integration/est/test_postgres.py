"""The same service on PostgreSQL, where writers do not wait for each other."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from firmware_agent.contract.ids import new_node_id
from fleet_server.access.model import Scope
from fleet_server.clock import SystemClock
from fleet_server.enrolment.model import Cause
from fleet_server.enrolment.service import EnrolmentService, Issued, Refused
from fleet_server.errors import Conflict, Transient
from fleet_server.registry.model import NodeRef
from fleet_server.storage import Database
from provisioning import claims, est
from provisioning.pki import Pki
from provisioning.signer import FileSigner
from tests.unit.fleet_server.enrolment.fakes import Nodes


@pytest.fixture
def service(postgres_url: str, pki: Pki) -> Iterator[EnrolmentService]:
    database = Database(postgres_url)
    database.create_all()
    signer = FileSigner.of(pki, now=lambda: datetime.now(UTC))
    nodes = Nodes([NodeRef(new_node_id(), serial, "/") for serial in ("SSZ-1", "SSZ-2")])
    yield EnrolmentService(database, nodes, signer, clock=SystemClock(), claim_key=b"k" * 32, refusal_s=0.0)
    database.close()


def new_applicant() -> est.Applicant:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return est.Applicant(key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))


async def ask_until_answered(service: EnrolmentService, login: est.Login, applicant: est.Applicant) -> Any:
    for _ in range(50):
        try:
            return await service.simpleenroll(login, applicant, peer="10.0.0.9")
        except Transient:
            await asyncio.sleep(0.01)
    raise AssertionError("never answered")


async def test_many_at_once_with_one_key_get_one_certificate(service: EnrolmentService) -> None:
    claim = service.register("SSZ-1", actor="somchai", scope=Scope.ALL, approve=True)
    applicant = new_applicant()
    login = est.Login("SSZ-1", claim.code)
    answers = await asyncio.gather(*(ask_until_answered(service, login, applicant) for _ in range(8)))
    assert {a.certificate.serial_number for a in answers if isinstance(a, Issued)} == {
        int(c.serial, 16) for c in service.certificates("SSZ-1", scope=Scope.ALL)
    }
    assert len(answers) == 8
    assert all(isinstance(a, Issued) for a in answers)


async def test_of_many_keys_with_one_code_at_most_one_wins(service: EnrolmentService) -> None:
    claim = service.register("SSZ-1", actor="somchai", scope=Scope.ALL, approve=True)
    login = est.Login("SSZ-1", claim.code)
    answers = await asyncio.gather(*(ask_until_answered(service, login, new_applicant()) for _ in range(6)))
    assert sum(isinstance(a, Issued) for a in answers) == len(service.certificates("SSZ-1", scope=Scope.ALL)) <= 1
    assert service.enrolment("SSZ-1", scope=Scope.ALL).is_locked


async def test_of_two_nodes_with_one_key_one_wins(service: EnrolmentService) -> None:
    codes = {s: service.register(s, actor="somchai", scope=Scope.ALL, approve=True).code for s in ("SSZ-1", "SSZ-2")}
    applicant = new_applicant()
    answers = await asyncio.gather(*(ask_until_answered(service, est.Login(s, c), applicant) for s, c in codes.items()))
    assert sorted(type(a).__name__ for a in answers) == ["Issued", "Refused"]
    assert Refused(Cause.KEY_SEEN) in answers


async def test_wrong_tries_at_once_all_count(service: EnrolmentService) -> None:
    service.register("SSZ-1", actor="somchai", scope=Scope.ALL, approve=True)
    wrong = [est.Login("SSZ-1", claims.new_claim()) for _ in range(8)]
    await asyncio.gather(*(ask_until_answered(service, login, new_applicant()) for login in wrong))
    assert service.enrolment("SSZ-1", scope=Scope.ALL).is_locked


def test_one_node_registered_many_times_at_once_has_one_code(service: EnrolmentService) -> None:
    def register(_number: int) -> bool:
        try:
            service.register("SSZ-1", actor="somchai", scope=Scope.ALL)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(register, range(8))) == 1
