"""What agent and video worker say to each other: one JSON object per line over the worker's standard streams."""

from msgspec import Struct


class SampleRequest(Struct, frozen=True):
    """Look at a camera."""

    url: str
    """With credentials: it goes through the pipe only, never into an argument list or a log."""
    seconds: float
    timeout_s: float


class Sample(Struct, frozen=True, omit_defaults=True):
    """What was seen. Figures that could not be had are absent."""

    cause: str = ""
    """Empty: video came. Else `no_video`, `stalled`, `undecodable`, or a word of the probe."""
    fps: float | None = None
    """By the median distance of presentation times; arrival times lie after opening."""
    kbps: float | None = None
    p_i_ratio: float | None = None
    """Median size of the pictures between, over that of key pictures: the cheap sign of a frozen picture."""
    luma: float | None = None
    """Mean brightness of the last key picture, 0 to 255."""
    luma_std: float | None = None
    changed_share: float | None = None
    """Share of pixels that differ by more than 1 between two key pictures."""
    codec: str = ""
    width: int = 0
    height: int = 0
    rss_mb: float = 0.0
    """Memory of the worker."""


class Ready(Struct, frozen=True):
    """The worker's first line. `error` is empty when it can work."""

    error: str = ""
