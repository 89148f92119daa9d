"""Numbers of one picture (numpy). Only the worker imports this.

Source: reference `edge.md` §1.4 (measured thresholds).
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Luma = NDArray[np.uint8]
"""Brightness of each kept pixel, rows × columns."""

_COLUMNS: Final = 320


class Numbers(NamedTuple):
    """Of one picture, 0 to 255."""

    mean: float
    std: float


def luma_of(frame: Any) -> Luma:
    """Return the brightness of a decoded frame, thinned out (never averaged: noise must stay) to about 320 columns."""
    if not frame.format.name.startswith(("yuv4", "yuvj4", "nv12", "gray")) or frame.format.components[0].bits != 8:
        frame = frame.reformat(format="gray")
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]
    step = max(1, frame.width // _COLUMNS)
    return rows[::step, ::step].copy()


def measure(luma: Luma) -> Numbers:
    """Return mean and standard deviation."""
    return Numbers(round(float(luma.mean()), 2), round(float(luma.std()), 2))


def changed_share(before: Luma, after: Luma) -> float | None:
    """Return the share of pixels that differ by more than 1, 0 to 1; None when the pictures are not of one size."""
    if before.shape != after.shape:
        return None
    return round(float((np.abs(before.astype(np.int16) - after.astype(np.int16)) > 1).mean()), 4)
