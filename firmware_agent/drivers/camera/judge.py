"""What a sample proves of `live`. Pure.

A frozen picture shows in the sizes of the stream: the pictures between key pictures shrink to almost nothing. How small they are
while all is well differs from camera to camera, so each is compared with its own past (`baseline`), never with a constant.

Source: reference `edge.md` §1.4.
"""

from typing import Final, NamedTuple

from firmware_agent.contract.vocabulary import Verdict
from firmware_agent.drivers.camera.protocol import Sample

_BLACK_MEAN, _FLAT_STD = 32.0, 3.0
_BRIGHT_MEAN: Final = 215.0
_FROZEN_SHARE: Final = 0.2
_FROZEN_RATIO: Final = 0.003
"""Without a baseline: suspicious, but not proven."""
_STILL_SHARE: Final = 0.10
_LEARN: Final = 0.1


class Finding(NamedTuple):
    """What one sample says."""

    verdict: Verdict
    cause: str = ""


def judge(sample: Sample, baseline: float | None, *, min_fps: float, has_frozen_check: bool) -> Finding:
    """Return what a sample says; a bad one may be a hiccup, the caller confirms it.

    `baseline` is the camera's usual `p_i_ratio`, None as long as none is learnt.
    """
    if sample.cause:
        return Finding(Verdict.FAILED, sample.cause)
    if sample.luma is not None and sample.luma_std is not None:
        if sample.luma_std < _FLAT_STD:
            return Finding(Verdict.FAILED, "black" if sample.luma < _BLACK_MEAN else "covered")
        if sample.luma > _BRIGHT_MEAN:
            return Finding(Verdict.DEGRADED, "overexposed")
    if has_frozen_check and is_still(sample, baseline):
        return Finding(Verdict.FAILED, "frozen") if baseline is not None else Finding(Verdict.UNKNOWN, "no_baseline")
    if sample.fps is not None and sample.fps < min_fps:
        return Finding(Verdict.DEGRADED, "low_fps")
    return Finding(Verdict.WORKING)


def is_still(sample: Sample, baseline: float | None) -> bool:
    """Return whether the stream looks frozen: almost nothing between key pictures, and these are alike."""
    if sample.p_i_ratio is None or (sample.changed_share is not None and sample.changed_share > _STILL_SHARE):
        return False
    return sample.p_i_ratio < (_FROZEN_RATIO if baseline is None else _FROZEN_SHARE * baseline)


def learn(baseline: float | None, sample: Sample) -> float | None:
    """Return the baseline after a sample that showed a working camera."""
    if sample.p_i_ratio is None:
        return baseline
    return sample.p_i_ratio if baseline is None else baseline + _LEARN * (sample.p_i_ratio - baseline)
