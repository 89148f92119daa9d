from firmware_agent.contract.ids import BootId, EventId
from firmware_agent.contract.vocabulary import ClockQuality
from firmware_agent.drivers.fake import ManualClock
from firmware_agent.drivers.moment import age_s, moment
from firmware_agent.drivers.panic_button.drill import Proof, Window


def test_a_window_ends_by_itself() -> None:
    window = Window()
    assert not window.holds(0)
    window.begin(1000, 60)
    assert not window.holds(999), "it was meant"
    assert window.holds(60_999)
    window.begin(2000, 60)
    assert window.holds(1000)
    assert not window.holds(62_000)
    window.begin(1000, 60)
    window.end()
    assert not window.holds(1001)


def test_a_proof_survives_being_remembered() -> None:
    proof = Proof(EventId("e"), moment(ManualClock(), 5))
    assert Proof.from_text(proof.to_text()) == proof
    assert Proof.from_text(None) is None
    assert Proof.from_text("not a proof") is None
    assert Proof.from_text('{"event_id": 1}') is None


def test_age_within_a_boot_needs_no_wall_clock() -> None:
    clock = ManualClock()
    clock.trust = ClockQuality.NONE
    then = moment(clock, clock.mono_ms())
    clock.advance(90_000)
    assert age_s(then, clock) == 90.0


def test_age_over_a_reboot_needs_two_good_clocks() -> None:
    class Rebooted(ManualClock):
        @property
        def boot(self) -> BootId:
            return BootId("another")

    before = ManualClock()
    dated = moment(before, before.mono_ms())
    before.trust = ClockQuality.NONE
    undated = moment(before, before.mono_ms())
    after = Rebooted(wall_ms=before.wall_ms() + 3_600_000, mono_ms=10)
    assert age_s(dated, after) == 3600.0
    assert age_s(undated, after) is None
    after.step(before.wall_ms() - 59_000)
    assert age_s(dated, after) == 0.0
    after.step(before.wall_ms() - 3_600_000)
    assert age_s(dated, after) is None, "a proof from the future would prove the button until then"
    after.trust = ClockQuality.NONE
    assert age_s(dated, after) is None
