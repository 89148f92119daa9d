import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_agent.contract.vocabulary import Verdict
from firmware_agent.drivers.camera.judge import Finding, judge, learn
from firmware_agent.drivers.camera.protocol import Sample

GOOD = Sample(fps=15, kbps=1500, p_i_ratio=0.069, luma=110, luma_std=39, changed_share=0.43)
BASELINE = 0.069


def look(sample: Sample, baseline: float | None = BASELINE, *, min_fps: float = 5, has_frozen_check: bool = True) -> Finding:
    return judge(sample, baseline, min_fps=min_fps, has_frozen_check=has_frozen_check)


# The measured table of reference edge.md §1.4.
@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        (GOOD, Finding(Verdict.WORKING)),
        (Sample(fps=15, p_i_ratio=0.0007, luma=110, luma_std=39, changed_share=0.056), Finding(Verdict.FAILED, "frozen")),
        (Sample(fps=15, p_i_ratio=0.01, luma=16, luma_std=0, changed_share=0), Finding(Verdict.FAILED, "black")),
        (Sample(fps=15, p_i_ratio=0.01, luma=46, luma_std=0.3, changed_share=0.07), Finding(Verdict.FAILED, "covered")),
        (Sample(fps=15, p_i_ratio=0.05, luma=43, luma_std=8.6, changed_share=0.26), Finding(Verdict.WORKING)),
        (Sample(fps=15, p_i_ratio=0.05, luma=226, luma_std=19, changed_share=0.12), Finding(Verdict.DEGRADED, "overexposed")),
        (Sample(fps=2, p_i_ratio=0.069, luma=110, luma_std=39), Finding(Verdict.DEGRADED, "low_fps")),
        (Sample("no_video"), Finding(Verdict.FAILED, "no_video")),
    ],
)
def test_what_was_measured(sample: Sample, expected: Finding) -> None:
    assert look(sample) == expected


def test_a_still_scene_with_living_noise_is_not_frozen() -> None:
    assert look(Sample(fps=15, p_i_ratio=0.0007, luma=110, luma_std=39, changed_share=0.3)) == Finding(Verdict.WORKING)


def test_without_a_past_stillness_is_not_judged() -> None:
    still = Sample(fps=15, p_i_ratio=0.0007, luma=110, luma_std=39, changed_share=0.02)
    assert look(still, None) == Finding(Verdict.UNKNOWN, "no_baseline")
    assert look(still, None, has_frozen_check=False) == Finding(Verdict.WORKING)
    assert look(GOOD, None) == Finding(Verdict.WORKING)


def test_the_baseline_follows_slowly() -> None:
    assert learn(None, GOOD) == 0.069
    assert learn(0.1, Sample(p_i_ratio=0.2)) == pytest.approx(0.11)
    assert learn(0.1, Sample()) == 0.1


@given(st.floats(0.0005, 0.5), st.floats(0, 0.1))
def test_stillness_is_relative_to_the_cameras_own_past(baseline: float, changed: float) -> None:
    def with_ratio(ratio: float) -> Verdict:
        return look(Sample(fps=15, p_i_ratio=ratio, luma=110, luma_std=39, changed_share=changed), baseline).verdict

    assert with_ratio(baseline * 0.19) is Verdict.FAILED
    assert with_ratio(baseline * 0.21) is Verdict.WORKING
