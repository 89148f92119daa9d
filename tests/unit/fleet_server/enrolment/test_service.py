"""Claim codes are single use, tied to one key, locked when tried; nobody learns why, and nothing is lost on the way."""

import asyncio
import json
from typing import Any

import pytest
from sqlalchemy import text

from firmware_agent.contract.ids import new_node_id
from fleet_server.access.model import Scope
from fleet_server.clock import SystemClock
from fleet_server.enrolment.model import Cause, State
from fleet_server.enrolment.service import Claim, EnrolmentService, Issued, Pending, Refused
from fleet_server.errors import Conflict, NotFound, Rejected, Transient
from fleet_server.storage import Database, changes
from provisioning import claims, errors, est
from tests.unit.fleet_server.enrolment.fakes import CountingSigner, HeldClock, NewApplicant, Nodes

PEER = "10.0.0.9"
MONTH_MS = 30 * 86_400_000


def login(claim: Claim) -> est.Login:
    return est.Login(claim.serial, claim.code)


def wrong(claim: Claim) -> est.Login:
    return est.Login(claim.serial, claims.format_claim(claims.new_claim()))


async def ask(service: EnrolmentService, who: est.Login | None, applicant: est.Applicant, peer: str = PEER) -> Issued | Pending | Refused:
    return await service.simpleenroll(who, applicant, peer=peer)


def audited(database: Database) -> list[tuple[str, str, dict[str, Any]]]:
    with database.read() as connection:
        rows = connection.execute(text("SELECT actor, action, data FROM audit ORDER BY id"))
        return [(r.actor, r.action, json.loads(r.data)) for r in rows]


# What a technician meets


async def test_an_approved_node_gets_its_certificate_at_once(
    service: EnrolmentService, nodes: Nodes, new_applicant: NewApplicant, database: Database
) -> None:
    node = nodes.add("SSZ-1")
    claim = service.register(node.id, actor="somchai", scope=Scope.ALL, approve=True)
    assert claim.state is State.CLAIMED
    applicant = new_applicant()
    answer = await ask(service, login(claim), applicant)
    assert isinstance(answer, Issued)
    assert answer.is_new
    (stored,) = service.certificates(node.id, scope=Scope.ALL)
    assert (stored.serial, stored.fingerprint) == (f"{answer.certificate.serial_number:x}", applicant.fingerprint)
    assert service.enrolment(node.id, scope=Scope.ALL).state is State.PROVISIONED
    assert [(actor, action) for actor, action, _ in audited(database)] == [
        ("somchai", "enrolment.register"),
        ("somchai", "enrolment.approve"),
        ("node:SSZ-1", "enrolment.issue"),
    ]


async def test_the_subject_comes_from_the_registry(service: EnrolmentService, nodes: Nodes, new_applicant: NewApplicant) -> None:
    node = nodes.add("SSZ-1")
    claim = service.register(node.id, actor="somchai", scope=Scope.ALL, approve=True)
    answer = await ask(service, login(claim), new_applicant())
    assert isinstance(answer, Issued)
    assert answer.certificate.subject.rfc4514_string() == f"CN={node.id},2.5.4.5=SSZ-1,O=Lumpini"


async def test_without_approval_it_waits_whichever_comes_first(
    service: EnrolmentService, nodes: Nodes, new_applicant: NewApplicant
) -> None:
    node, applicant = nodes.add("SSZ-1"), new_applicant()
    claim = service.register(node.id, actor="somchai", scope=Scope.ALL)
    assert await ask(service, login(claim), applicant) == Pending(15)
    assert await ask(service, login(claim), applicant) == Pending(15)
    assert service.enrolment(node.id, scope=Scope.ALL).state is State.PENDING
    service.approve(node.id, actor="somchai", scope=Scope.ALL)
    assert isinstance(await ask(service, login(claim), applicant), Issued)


async def test_the_same_key_again_gets_the_same_certificate(
    service: EnrolmentService, nodes: Nodes, new_applicant: NewApplicant, signer: CountingSigner
) -> None:
    claim = service.register(nodes.add("SSZ-1").id, actor="somchai", scope=Scope.ALL, approve=True)
    applicant = new_applicant()
    first, second = await ask(service, login(claim), applicant), await ask(service, login(claim), applicant)
    assert isinstance(first, Issued)
    assert isinstance(second, Issued)
    assert (first.certificate, second.is_new, signer.count) == (second.certificate, False, 1)


async def test_two_at_once_get_one_certificate(service: EnrolmentService, nodes: Nodes, new_applicant: NewApplicant) -> None:
    node, applicant = nodes.add("SSZ-1"), new_applicant()
    claim = service.register(node.id, actor="somchai", scope=Scope.ALL, approve=True)
    answers = await asyncio.gather(*(ask(service, login(claim), applicant) for _ in range(5)), return_exceptions=True)
    issued = {a.certificate.serial_number for a in answers if isinstance(a, Issued)}
    assert len(issued) == 1
    assert all(isinstance(a, Issued | Transient) for a in answers)
    assert len(service.certificates(node.id, scope=Scope.ALL)) == 1


async def test_a_failing_signer_burns_no_code(
    service: EnrolmentService, nodes: Nodes, new_applicant: NewApplicant, signer: CountingSigner
) -> None:
    claim = service.register(nodes.add("SSZ-1").id, actor="somchai", scope=Scope.ALL, approve=True)
    applicant = new_applicant()
    for failure in (errors.Transient("away"), errors.Rejected("no such profile")):
        signer.fails_with = failure
        with pytest.raises(Transient):
            await ask(service, login(claim), applicant)
    signer.fails_with = None
    assert isinstance(await ask(service, login(claim), applicant), Issued)


# What an attacker meets


async def test_five_wrong_tries_lock_even_the_right_code(
    service: EnrolmentService, nodes: Nodes, new_applicant: NewApplicant, database: Database
) -> None:
    node = nodes.add("SSZ-1")
    claim = service.register(node.id, actor="somchai", scope=Scope.ALL, approve=True)
    for _ in range(4):
        assert await ask(service, wrong(claim), new_applicant()) == Refused(Cause.WRONG_CODE)
    assert not service.enrolment(node.id, scope=Scope.ALL).is_locked
    assert await ask(service, wrong(claim), new_applicant()) == Refused(Cause.WRONG_CODE)
    assert service.enrolment(node.id, scope=Scope.ALL).is_locked
    assert await ask(service, login(claim), new_applicant()) == Refused(Cause.LOCKED)
    assert audited(database)[-1][1] == "enrolment.lock"
    fresh = service.reissue_claim(node.id, actor="supervisor", scope=Scope.ALL, approve=True)
    assert isinstance(await ask(service, login(fresh), new_applicant()), Issued)


async def test_a_mistyped_code_does_not_count_toward_the_lock(service: EnrolmentService, nodes: Nodes, new_applicant: NewApplicant) -> None:
    node = nodes.add("SSZ-1")
    claim = service.register(node.id, actor="somchai", scope=Scope.ALL, approve=True)
    mistyped = est.Login("SSZ-1", claim.code[:-1] + ("0" if claim.code[-1] != "0" else "1"))
    for _ in range(6):
        assert await ask(service, mistyped, new_applicant()) == Refused(Cause.MALFORMED_CODE)
    assert isinstance(await ask(service, login(claim), new_applicant()), Issued)


async def test_a_used_code_is_worth_nothing_to_another_key(service: EnrolmentService, nodes: Nodes, new_applicant: NewApplicant) -> None:
    node = nodes.add("SSZ-1")
    claim = service.register(node.id, actor="somchai", scope=Scope.ALL, approve=True)
    assert isinstance(await ask(service, login(claim), new_applicant()), Issued)
    assert await ask(service, login(claim), new_applicant()) == Refused(Cause.OTHER_KEY)
    assert len(service.certificates(node.id, scope=Scope.ALL)) == 1


async def test_who_photographed_the_label_gets_nothing_and_is_noticed(
    service: EnrolmentService, nodes: Nodes, new_applicant: NewApplicant, database: Database
) -> None:
    node, thief, owner = nodes.add("SSZ-1"), new_applicant(), new_applicant()
    claim = service.register(node.id, actor="somchai", scope=Scope.ALL)
    assert isinstance(await ask(service, login(claim), thief), Pending)
    assert await ask(service, login(claim), owner) == Refused(Cause.OTHER_KEY)
    assert await ask(service, login(claim), thief) == Refused(Cause.LOCKED)
    assert audited(database)[-1][1:] == (
        "enrolment.lock",
        {"node": node.id, "state": "pending", "generation": 1, "cause": "other_key", "wrong_tries": 0},
    )
    fresh = service.reissue_claim(node.id, actor="supervisor", scope=Scope.ALL, approve=True)
    assert isinstance(await ask(service, login(fresh), owner), Issued)


async def test_no_two_nodes_share_a_key(service: EnrolmentService, nodes: Nodes, new_applicant: NewApplicant) -> None:
    applicant = new_applicant()
    first = service.register(nodes.add("SSZ-1").id, actor="somchai", scope=Scope.ALL, approve=True)
    second = service.register(nodes.add("SSZ-2").id, actor="somchai", scope=Scope.ALL, approve=True)
    assert isinstance(await ask(service, login(first), applicant), Issued)
    assert await ask(service, login(second), applicant) == Refused(Cause.KEY_SEEN)
    assert isinstance(await ask(service, login(second), new_applicant()), Issued)


async def test_a_code_fits_its_own_serial_only(service: EnrolmentService, nodes: Nodes, new_applicant: NewApplicant) -> None:
    first = service.register(nodes.add("SSZ-1").id, actor="somchai", scope=Scope.ALL, approve=True)
    service.register(nodes.add("SSZ-2").id, actor="somchai", scope=Scope.ALL, approve=True)
    assert await ask(service, est.Login("SSZ-2", first.code), new_applicant()) == Refused(Cause.WRONG_CODE)
    assert await ask(service, est.Login("SSZ-3", first.code), new_applicant()) == Refused(Cause.UNKNOWN_SERIAL)
    assert await ask(service, None, new_applicant()) == Refused(Cause.NO_LOGIN)


async def test_a_node_s_id_is_no_login(service: EnrolmentService, nodes: Nodes, new_applicant: NewApplicant) -> None:
    node = nodes.add("SSZ-1")
    claim = service.register(node.id, actor="somchai", scope=Scope.ALL, approve=True)
    assert await ask(service, est.Login(node.id, claim.code), new_applicant()) == Refused(Cause.UNKNOWN_SERIAL)


async def test_codes_expire_after_18_months(service: EnrolmentService, nodes: Nodes, new_applicant: NewApplicant, clock: HeldClock) -> None:
    claim = service.register(nodes.add("SSZ-1").id, actor="somchai", scope=Scope.ALL, approve=True)
    clock.ms = claim.expires_at_ms
    assert await ask(service, login(claim), new_applicant()) == Refused(Cause.EXPIRED)


async def test_an_expired_certificate_is_not_given_again(
    service: EnrolmentService, nodes: Nodes, new_applicant: NewApplicant, clock: HeldClock
) -> None:
    claim = service.register(nodes.add("SSZ-1").id, actor="somchai", scope=Scope.ALL, approve=True)
    applicant = new_applicant()
    assert isinstance(await ask(service, login(claim), applicant), Issued)
    clock.ms += 4 * MONTH_MS
    assert await ask(service, login(claim), applicant) == Refused(Cause.EXPIRED)


async def test_an_address_that_is_wrong_too_often_waits(
    service: EnrolmentService, nodes: Nodes, new_applicant: NewApplicant, clock: HeldClock
) -> None:
    claim = service.register(nodes.add("SSZ-1").id, actor="somchai", scope=Scope.ALL, approve=True)
    applicant = new_applicant()
    for _ in range(30):
        await ask(service, est.Login("nobody", claim.code), applicant)
    assert await ask(service, login(claim), applicant) == Refused(Cause.TOO_MANY, retry_after_s=601)
    assert service.refusals == {Cause.UNKNOWN_SERIAL: 30, Cause.TOO_MANY: 1}
    assert isinstance(await ask(service, login(claim), applicant, peer="10.0.0.10"), Issued)
    clock.ms += 600_000
    assert isinstance(await ask(service, login(claim), applicant), Issued)


async def test_refusals_take_the_same_time(database: Database, nodes: Nodes, signer: CountingSigner, new_applicant: NewApplicant) -> None:
    service = EnrolmentService(database, nodes, signer, clock=SystemClock(), claim_key=b"k" * 32, refusal_s=0.2)
    claim = service.register(nodes.add("SSZ-1").id, actor="somchai", scope=Scope.ALL, approve=True)
    loop = asyncio.get_running_loop()
    for who in (wrong(claim), est.Login("nobody", claim.code), est.Login("a\0b", claim.code), est.Login("SSZ-1", "mistyped")):
        started = loop.time()
        assert isinstance(await ask(service, who, new_applicant()), Refused)
        assert loop.time() - started >= 0.19


# What an administrator meets


def test_a_code_is_made_once_and_never_stored(service: EnrolmentService, nodes: Nodes, database: Database) -> None:
    node = nodes.add("SSZ-1")
    claim = service.register(node.id, actor="somchai", scope=Scope.ALL)
    with pytest.raises(Conflict, match="has a claim code already"):
        service.register(node.id, actor="somchai", scope=Scope.ALL)
    bare = claims.parse_claim(claim.code)
    with database.read() as connection:
        tables = [r[0] for r in connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'"))]
        dump = " ".join(str(row) for table in tables for row in connection.execute(text(f"SELECT * FROM {table}")))
    assert node.id in dump
    assert bare not in dump
    assert claim.code not in dump


def test_a_serial_that_no_certificate_can_carry_is_refused_early(service: EnrolmentService, nodes: Nodes) -> None:
    with pytest.raises(Rejected, match="A serial is"):
        service.register(nodes.add("SSZ 1/ก").id, actor="somchai", scope=Scope.ALL)


def test_who_may_not_see_a_node_cannot_enrol_it(service: EnrolmentService, nodes: Nodes) -> None:
    node, elsewhere = nodes.add("SSZ-1"), Scope("/bpp/n2/")
    for act in (service.register, service.approve, service.reissue_claim):
        with pytest.raises(NotFound):
            act(node.id, actor="somchai", scope=elsewhere)
    service.register(node.id, actor="somchai", scope=Scope("/bpp/n1/"))
    assert service.enrolments(scope=elsewhere) == []
    for ask_for in (service.enrolment, service.certificates):
        with pytest.raises(NotFound):
            ask_for(node.id, scope=elsewhere)


def test_nodes_that_do_not_exist_or_have_no_code(service: EnrolmentService, nodes: Nodes) -> None:
    with pytest.raises(NotFound, match="no node"):
        service.register(new_node_id(), actor="somchai", scope=Scope.ALL)
    node = nodes.add("SSZ-1")
    for act in (service.approve, service.reissue_claim):
        with pytest.raises(NotFound, match="no claim code yet"):
            act(node.id, actor="somchai", scope=Scope.ALL)


def test_approving_twice_is_once(service: EnrolmentService, nodes: Nodes, database: Database) -> None:
    node = nodes.add("SSZ-1")
    service.register(node.id, actor="somchai", scope=Scope.ALL, approve=True)
    assert service.approve(node.id, actor="somchai", scope=Scope.ALL).state is State.CLAIMED
    assert [action for _, action, _ in audited(database)] == ["enrolment.register", "enrolment.approve"]


async def test_a_new_code_for_a_node_with_a_certificate_is_a_new_generation(
    service: EnrolmentService, nodes: Nodes, new_applicant: NewApplicant, clock: HeldClock
) -> None:
    node, applicant = nodes.add("SSZ-1"), new_applicant()
    old = service.register(node.id, actor="somchai", scope=Scope.ALL, approve=True)
    assert isinstance(await ask(service, login(old), applicant), Issued)
    clock.ms += 1000
    fresh = service.reissue_claim(node.id, actor="somchai", scope=Scope.ALL)
    assert fresh.state is State.MANUFACTURED, "a new generation needs a fresh approval"
    assert await ask(service, login(old), applicant) == Refused(Cause.WRONG_CODE)
    assert await ask(service, login(fresh), applicant) == Refused(Cause.KEY_SEEN)
    assert isinstance(await ask(service, login(fresh), replacement := new_applicant()), Pending)
    service.approve(node.id, actor="somchai", scope=Scope.ALL)
    clock.ms += 1000
    assert isinstance(await ask(service, login(fresh), replacement), Issued)
    newest, oldest = service.certificates(node.id, scope=Scope.ALL)
    assert (newest.generation, newest.superseded_at_ms) == (2, None)
    assert (oldest.generation, oldest.superseded_at_ms) == (1, clock.ms - 1000)


def test_lists_are_by_state_and_page(service: EnrolmentService, nodes: Nodes) -> None:
    for number in range(5):
        service.register(nodes.add(f"SSZ-{number}").id, actor="somchai", scope=Scope.ALL, approve=number % 2 == 0)
    everything = service.enrolments(scope=Scope.ALL)
    assert [e.serial for e in everything] == ["SSZ-0", "SSZ-1", "SSZ-2", "SSZ-3", "SSZ-4"]
    assert service.enrolments(scope=Scope.ALL, after="SSZ-1", limit=2) == everything[2:4]
    assert len(service.enrolments(scope=Scope.ALL, state=State.MANUFACTURED)) == 2


def test_a_short_claim_key_fails_at_the_start(database: Database, nodes: Nodes, signer: CountingSigner, clock: HeldClock) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        EnrolmentService(database, nodes, signer, clock=clock, claim_key=b"short")


def test_every_step_is_news(service: EnrolmentService, nodes: Nodes, database: Database) -> None:
    node = nodes.add("SSZ-1")
    service.register(node.id, actor="somchai", scope=Scope.ALL, approve=True)
    with database.read() as connection:
        news = changes.after(connection, 0)
    assert [(n.kind, n.subject, n.unit_path, n.data["state"]) for n in news] == [
        ("enrolment", node.id, node.unit_path, "manufactured"),
        ("enrolment", node.id, node.unit_path, "claimed"),
    ]
