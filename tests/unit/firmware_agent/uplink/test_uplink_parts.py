"""Back-off, events to be sent, replay plan, explanations: the pure parts of the uplink."""

import socket
import ssl
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_agent.contract.ids import EventId, StreamId
from firmware_agent.drivers.fake import NODE, ManualClock
from firmware_agent.outbox.model import StoredEvent
from firmware_agent.uplink.backoff import Backoff
from firmware_agent.uplink.explain import alert, explain
from firmware_agent.uplink.link import Link, LinkDown, Server, Will
from firmware_agent.uplink.pending import PendingEvents
from firmware_agent.uplink.replay import ReplayPlan

S = StreamId("6f1c2a9b0d3e4f58")


def event(n: int) -> StoredEvent:
    return StoredEvent(EventId(f"e{n}"), b"")


def test_waits_double_up_to_the_longest_and_start_again() -> None:
    backoff = Backoff(draw=lambda low, high: high)
    assert [backoff.next_s() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    backoff.reset()
    assert backoff.next_s() == 1


@given(st.integers(1, 200))
def test_jitter_is_full(failures: int) -> None:
    backoff = Backoff()
    assert all(0 <= backoff.next_s() <= 60 for _ in range(failures))


def test_fresh_press_goes_before_a_backlog_and_all_go_once() -> None:
    pending = PendingEvents()
    for n in range(3):
        pending.add(event(n))
    first = pending.take(0)
    pending.add(event(9))
    rest = [pending.take(0) for _ in range(4)]
    assert first == event(2)
    assert rest == [event(9), event(1), event(0), None]


def test_unacknowledged_event_is_sent_again_ever_more_rarely() -> None:
    pending = PendingEvents()
    pending.add(event(1))
    times = []
    for now_ms in range(0, 200_000, 1_000):
        if pending.take(now_ms):
            times.append(now_ms // 1000)
    assert times == [0, 10, 30, 70, 130, 190]
    assert pending.wait_ms(200_000) == 50_000


def test_new_session_sends_all_at_once() -> None:
    pending = PendingEvents()
    pending.add(event(1))
    pending.take(0)
    assert pending.take(1) is None
    pending.begin_session()
    assert pending.take(1) == event(1)


def test_acknowledged_event_is_not_sent_again() -> None:
    pending = PendingEvents()
    pending.add(event(1))
    pending.forget(event(1).event_id)
    pending.forget(event(2).event_id)
    assert (pending.take(0), pending.wait_ms(0), len(pending)) == (None, None, 0)


def test_backlog_of_a_chattering_contact_costs_in_proportion() -> None:
    def cost_s(count: int) -> float:
        pending = PendingEvents()
        began_s = time.process_time()
        for n in range(count):
            pending.add(event(n))
        while (sent := pending.take(0)) is not None:
            pending.forget(sent.event_id)
        assert pending.wait_ms(0) is None
        for n in range(count):
            pending.add(event(n))
            pending.take(n)
        pending.begin_session()
        assert pending.wait_ms(0) == 0
        while pending.take(0) is not None:
            pass
        return time.process_time() - began_s

    small_s, large_s = (min(cost_s(count) for _ in range(3)) for count in (250, 2_000))
    assert large_s < 24 * small_s


def test_plan_is_what_the_acknowledgement_asks() -> None:
    plan = ReplayPlan()
    plan.ask(S, 10, [(3, 4)], top=12, now_ms=0)
    assert plan.next() == (S, [(3, 4), (11, 12)])
    plan.said(S, [(3, 4)], now_ms=0)
    assert plan.next() == (S, [(11, 12)])
    plan.said(S, [(11, 12)], now_ms=0)
    assert plan.next() is None


def test_acknowledgement_that_crossed_a_replay_does_not_repeat_it() -> None:
    plan = ReplayPlan()
    plan.ask(S, 10, [(3, 4)], top=10, now_ms=0)
    plan.said(S, [(3, 4)], now_ms=0)
    plan.ask(S, 10, [(3, 4), (7, 7)], top=10, now_ms=9_999)
    assert plan.next() == (S, [(7, 7)])
    plan.ask(S, 10, [(3, 4)], top=10, now_ms=10_000)
    assert plan.next() == (S, [(3, 4)])


def test_what_is_not_held_is_not_waited_for() -> None:
    plan = ReplayPlan()
    plan.ask(S, 10, [(1, 2), (5, 9)], top=10, now_ms=0)
    plan.said(S, [(6, 6)], now_ms=0)
    assert plan.next() == (S, [(7, 9)])
    plan.not_held(S)
    assert plan.next() is None


def test_satisfied_acknowledgement_ends_the_plan() -> None:
    plan = ReplayPlan()
    plan.ask(S, 5, [], top=9, now_ms=0)
    plan.ask(S, 9, [], top=9, now_ms=1)
    assert plan.next() is None


def certificate_error(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "x")
    error.verify_code, error.verify_message = code, "some reason"
    return error


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "nothing listens at fleet:8883"),
        (TimeoutError(), "does not answer in time"),
        (socket.gaierror(-2, "Name or service not known"), "cannot be resolved"),
        (OSError(113, "No route to host"), "No route to host"),
        (ssl.SSLError(1, "[SSL: SSLV3_ALERT_CERTIFICATE_REVOKED]"), "it is revoked"),
        (certificate_error(9), "waiting for the right time"),
        (certificate_error(10), "is the clock right"),
        (certificate_error(62), "another name"),
        (certificate_error(19), "not certified by our CA"),
        (ValueError(), "ValueError"),
    ],
)
def test_failure_is_one_clear_sentence(error: Exception, says: str) -> None:
    text = explain(error, where="fleet:8883", clock=ManualClock())
    assert says in text
    assert "\n" not in text


@pytest.mark.parametrize("content", [None, b"not PEM"])
async def test_certificates_that_cannot_be_used_are_named_and_not_the_server(tmp_path: Path, content: bytes | None) -> None:
    anchors = tmp_path / "ca.pem"
    if content is not None:
        anchors.write_bytes(content)
    server = Server("127.0.0.1", 1, ca_file=anchors, cert_file=tmp_path / "cert.pem", key_file=tmp_path / "key.pem")
    with pytest.raises(LinkDown, match=r"ca\.pem.*cannot be used: "):
        await Link(server, NODE, ManualClock()).open(Will("topic", b""))


def test_unknown_alert_is_no_explanation() -> None:
    assert alert("handshake failure") == ""
