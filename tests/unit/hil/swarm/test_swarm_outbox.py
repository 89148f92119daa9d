from hypothesis import given
from hypothesis import strategies as st

from firmware_agent.contract.ids import StreamId
from hil.swarm.outbox import Outbox
from hil.swarm.swarm import Account


def _outbox(made: int) -> Outbox:
    outbox = Outbox(StreamId("0123456789abcdef"))
    for number in range(made):
        outbox.make(wall_ms=1000 + number, mono_ms=number)
    return outbox


def test_what_is_acknowledged_is_forgotten_and_what_is_missing_is_given_again() -> None:
    outbox = _outbox(10)

    missing = outbox.acknowledge(8, [(2, 3), (6, 6)])

    assert [beat.seq for beat in missing] == [2, 3, 6]
    assert [beat.seq for beat in outbox.all_held()] == [2, 3, 6, 9, 10]
    assert outbox.floor == 2
    assert missing[0].wall_ms == 1001


def test_gaps_that_it_does_not_hold_are_not_given() -> None:
    outbox = _outbox(5)
    outbox.acknowledge(5, [])

    assert outbox.acknowledge(5, [(1, 3)]) == []
    assert outbox.held == 0
    assert outbox.floor == 6


@given(st.integers(1, 40), st.lists(st.tuples(st.integers(0, 45), st.sets(st.integers(1, 40))), max_size=8))
def test_nothing_is_forgotten_that_was_never_acknowledged(made: int, acks: list[tuple[int, set[int]]]) -> None:
    outbox = _outbox(made)
    acknowledged: set[int] = set()
    for through, gaps in acks:
        outbox.acknowledge(through, [(seq, seq) for seq in sorted(gaps)])
        acknowledged |= {seq for seq in range(1, through + 1) if seq not in gaps}
    assert {beat.seq for beat in outbox.all_held()} == {seq for seq in range(1, made + 1) if seq not in acknowledged}


def test_lost_is_what_is_neither_stored_nor_held() -> None:
    account = Account(
        nodes=2,
        devices=20,
        seconds=10.0,
        heartbeats_made=100,
        heartbeats_stored=90,
        heartbeats_held=8,
        replayed=0,
        acks=2,
        reconnects=0,
        worst_delay_s=0.0,
        connect_s=1.0,
        cpu_s=1.0,
    )
    assert account.lost == 2
    assert account.rate == 200.0
    assert account.as_json()["lost"] == 2
