"""The table of states, and the judgement of a request: all forbidden ways first."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_agent.contract.ids import NodeId
from fleet_server.enrolment.model import TRANSITIONS, Act, Answer, Cause, Enrolment, KeyOwner, State, judge, next_state
from fleet_server.errors import Conflict

NODE = NodeId("b57e43d8-ab35-48c6-8a6b-d3371faa0fed")
OTHER = NodeId("00000000-ab35-48c6-8a6b-d3371faa0fed")
KEY, OTHER_KEY = "aa" * 32, "bb" * 32
HERE = Enrolment(
    node_id=NODE, serial="SSZ-1", unit_path="/a/", state=State.CLAIMED, claim_digest=b"d" * 32, claim_expires_at_ms=1_000, changed_at_ms=0
)


def answer(
    enrolment: Enrolment | None, *, right: bool = True, key: str = KEY, owner: KeyOwner | None = None, now_ms: int = 0
) -> tuple[Answer, Cause | None]:
    judgement = judge(enrolment, is_code_right=right, fingerprint=key, key_owner=owner, now_ms=now_ms)
    return judgement.answer, judgement.cause


def test_only_an_approval_leads_to_a_certificate() -> None:
    before_issue = {state for (state, act), target in TRANSITIONS.items() if target is State.PROVISIONED}
    assert before_issue == {State.CLAIMED}
    assert {act for (_, act), target in TRANSITIONS.items() if target is State.CLAIMED} == {Act.APPROVE}


def test_nothing_leads_out_of_retired() -> None:
    assert not [key for key in TRANSITIONS if key[0] is State.RETIRED]


def test_a_revoked_node_begins_anew_or_retires() -> None:
    assert {act: target for (state, act), target in TRANSITIONS.items() if state is State.REVOKED} == {
        Act.RECLAIM: State.MANUFACTURED,
        Act.RETIRE: State.RETIRED,
    }


@pytest.mark.parametrize("back", [(State.SUSPENDED, Act.RESUME), (State.QUARANTINED, Act.RELEASE)])
@pytest.mark.parametrize("previous", [State.PROVISIONED, State.COMMISSIONED])
def test_resume_and_release_lead_back(back: tuple[State, Act], previous: State) -> None:
    assert next_state(*back, previous=previous) is previous
    with pytest.raises(Conflict):
        next_state(*back)


@pytest.mark.parametrize(("state", "act"), [pair for pair in product(State, Act) if pair not in TRANSITIONS])
def test_what_is_not_in_the_table_is_forbidden(state: State, act: Act) -> None:
    with pytest.raises(Conflict, match=str(state)):
        next_state(state, act, previous=State.PROVISIONED)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (State.MANUFACTURED, (Answer.PEND, None)),
        (State.PENDING, (Answer.PEND, None)),
        (State.CLAIMED, (Answer.ISSUE, None)),
        (State.PROVISIONED, (Answer.REPEAT, None)),
        (State.COMMISSIONED, (Answer.REPEAT, None)),
        (State.SUSPENDED, (Answer.REFUSE, Cause.STATE)),
        (State.QUARANTINED, (Answer.REFUSE, Cause.STATE)),
        (State.REVOKED, (Answer.REFUSE, Cause.STATE)),
        (State.RETIRED, (Answer.REFUSE, Cause.STATE)),
    ],
)
def test_the_right_code_gets_what_the_state_allows(state: State, expected: tuple[Answer, Cause | None]) -> None:
    assert answer(replace(HERE, state=state, fingerprint=KEY)) == expected


def test_refusals() -> None:
    assert answer(None) == (Answer.REFUSE, Cause.UNKNOWN_SERIAL)
    assert answer(HERE, right=False) == (Answer.REFUSE, Cause.WRONG_CODE)
    assert answer(replace(HERE, locked_at_ms=1)) == (Answer.REFUSE, Cause.LOCKED)
    assert answer(HERE, now_ms=1_000) == (Answer.REFUSE, Cause.EXPIRED)
    assert answer(replace(HERE, fingerprint=OTHER_KEY)) == (Answer.REFUSE, Cause.OTHER_KEY)
    assert answer(HERE, owner=KeyOwner(OTHER, 1)) == (Answer.REFUSE, Cause.KEY_SEEN)
    assert answer(replace(HERE, generation=2), owner=KeyOwner(NODE, 1)) == (Answer.REFUSE, Cause.KEY_SEEN)


def test_the_same_key_again_within_one_generation() -> None:
    assert answer(HERE, owner=KeyOwner(NODE, 1)) == (Answer.ISSUE, None)


@given(
    st.sampled_from(State),
    st.booleans(),
    st.one_of(st.none(), st.just(1)),
    st.sampled_from([None, KEY, OTHER_KEY]),
    st.sampled_from([None, KeyOwner(NODE, 1), KeyOwner(NODE, 2), KeyOwner(OTHER, 1)]),
    st.sampled_from([0, 999, 1_000]),
)
def test_a_certificate_needs_everything_to_be_right(
    state: State, right: bool, locked: int | None, pinned: str | None, owner: KeyOwner | None, now_ms: int
) -> None:
    enrolment = replace(HERE, state=state, locked_at_ms=locked, fingerprint=pinned)
    is_answered = answer(enrolment, right=right, owner=owner, now_ms=now_ms)[0] in (Answer.ISSUE, Answer.REPEAT)
    assert is_answered == (
        right
        and locked is None
        and now_ms < 1_000
        and pinned in (None, KEY)
        and owner in (None, KeyOwner(NODE, 1))
        and state in (State.CLAIMED, State.PROVISIONED, State.COMMISSIONED)
    )
