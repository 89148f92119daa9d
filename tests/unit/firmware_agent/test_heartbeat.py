"""What goes into a heartbeat."""

import math

import pytest

from firmware_agent.contract import messages
from firmware_agent.contract.ids import Channel
from firmware_agent.contract.messages import MAX_MESSAGE_BYTES, Health, Heartbeat
from firmware_agent.contract.vocabulary import Function, Verdict
from firmware_agent.drivers.fake import ManualClock
from firmware_agent.drivers.promise import Observation
from firmware_agent.heartbeat import Assembler, wall_of
from tests.unit.firmware_agent.drafts import SESSION

CAM = Channel("cam-1")


def seen(mono_ms: int, verdict: Verdict = Verdict.WORKING, *, ttl_ms: int = 10_000, cause: str = "") -> Observation:
    return Observation(Function.LIVE, verdict, mono_ms, ttl_ms, cause, {"fps": 15})


def test_newest_observation_of_a_function_is_sent_with_its_own_time() -> None:
    clock = ManualClock(wall_ms=2_000_000, mono_ms=1_000_000)
    assembler = Assembler(clock)
    assembler.observe(CAM, seen(999_000))
    assembler.observe(CAM, seen(998_000, Verdict.FAILED))
    heartbeat = assembler.draft(SESSION, Health())
    assert [(e.verdict, e.observed_at_ms) for e in heartbeat.evidence] == [(Verdict.WORKING, 1_999_000)]
    assert heartbeat.evidence[0].metrics == {"fps": 15.0}
    assert type(heartbeat.evidence[0].metrics["fps"]) is float


def test_evidence_is_said_until_its_ttl_ends_and_no_longer() -> None:
    clock = ManualClock(mono_ms=1_000_000)
    assembler = Assembler(clock)
    assembler.observe(CAM, seen(1_000_000))
    clock.advance(9_999)
    assert len(assembler.draft(SESSION, Health()).evidence) == 1
    assert assembler.verdict(CAM, Function.LIVE) is Verdict.WORKING
    clock.advance(1)
    assert assembler.draft(SESSION, Health()).evidence == []
    assert assembler.verdict(CAM, Function.LIVE) is Verdict.UNKNOWN


def test_only_a_changed_verdict_is_urgent() -> None:
    assembler = Assembler(ManualClock())
    urgent = [
        assembler.observe(CAM, seen(t, v))
        for t, v in [(1, Verdict.WORKING), (2, Verdict.WORKING), (3, Verdict.FAILED), (2, Verdict.WORKING)]
    ]
    assert urgent == [True, False, True, False]


@pytest.mark.parametrize(
    "wrong",
    [
        seen(1, ttl_ms=0),
        seen(1, ttl_ms=86_400_001),
        seen(1, cause="x" * 65),
        Observation(Function.LIVE, Verdict.WORKING, 1, 1, metrics={"fps": math.nan}),
        Observation(Function.LIVE, Verdict.WORKING, 1, 1, metrics={"x" * 33: 1.0}),
        Observation(Function.LIVE, Verdict.WORKING, 1, 1, metrics={f"m{i}": 1.0 for i in range(9)}),
    ],
)
def test_observation_beyond_the_wire_is_refused(wrong: Observation) -> None:
    with pytest.raises(ValueError):
        Assembler(ManualClock()).observe(CAM, wrong)


def test_more_evidence_than_fits_takes_turns() -> None:
    clock = ManualClock()
    assembler = Assembler(clock)
    channels = {Channel(f"cam-{i:03}") for i in range(600)}
    for channel in channels:
        assembler.observe(channel, seen(clock.mono_ms(), Verdict.FAILED, cause="x" * 64))
    told: set[Channel] = set()
    for _ in range(4):
        heartbeat = assembler.draft(SESSION, Health())
        payload = messages.encode(heartbeat)
        assert len(payload) < MAX_MESSAGE_BYTES - 100
        assert messages.decode(Heartbeat, payload) == heartbeat
        told |= {e.channel for e in heartbeat.evidence}
    assert told == channels
    assert assembler.left_out > 0


def test_forgotten_channel_is_not_said() -> None:
    assembler = Assembler(ManualClock())
    assembler.observe(CAM, seen(1_000_000))
    assembler.forget(CAM)
    assert assembler.draft(SESSION, Health()).evidence == []


def test_moments_are_never_after_the_message_nor_before_1970() -> None:
    clock = messages.Clock(1_000, 500, "b", "none")  # type: ignore[arg-type]  # plain words
    assert wall_of(600, clock) == 1_000
    assert wall_of(400, clock) == 900
    assert wall_of(-5_000, clock) == 0
