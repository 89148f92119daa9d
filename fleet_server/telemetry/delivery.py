"""Writing lines so that one bad line harms no other: split on refusal, give up what is left with its reason."""

from collections.abc import Sequence
from typing import Final

from fleet_server.errors import Rejected
from fleet_server.telemetry.lines import timestamp_of
from fleet_server.telemetry.promise import MAX_LINES, RETENTION_MS, Bucket, PartlyRejected, TelemetryStore, TooLarge

MAX_SPLITS: Final = 200
"""Writes spent on finding the lines at fault in one batch; what is not told apart by then is given up as a whole. Stores keep
the good lines of a refused write where they can, so little is lost."""

_RETENTION_MARGIN_MS: Final = 3_600_000

Letter = tuple[bytes, str]


def deliver(store: TelemetryStore, bucket: Bucket, lines: Sequence[bytes], *, now_ms: int) -> list[Letter]:
    """Write lines, and return those that will never be accepted, each with its reason.

    Lines older than the bucket keeps are left out.

    Raises:
        TelemetryUnavailable: write all of them again later; doubles are harmless.
    """
    oldest_ms = now_ms - RETENTION_MS[bucket] + _RETENTION_MARGIN_MS
    kept = [line for line in lines if timestamp_of(line) >= oldest_ms]
    letters: list[Letter] = []
    for start in range(0, len(kept), MAX_LINES):
        letters += _Splitter(store, bucket).write(kept[start : start + MAX_LINES])
    return letters


class _Splitter:
    def __init__(self, store: TelemetryStore, bucket: Bucket) -> None:
        self._store = store
        self._bucket = bucket
        self._splits_left = MAX_SPLITS

    def write(self, lines: Sequence[bytes]) -> list[Letter]:
        try:
            self._store.write(self._bucket, lines)
        except (PartlyRejected, TooLarge) as error:
            return self._split(lines, error)
        return []

    def _split(self, lines: Sequence[bytes], error: Rejected) -> list[Letter]:
        if len(lines) == 1 or self._splits_left <= 0:
            return [(line, str(error)) for line in lines]
        self._splits_left -= 2
        middle = len(lines) // 2
        return self.write(lines[:middle]) + self.write(lines[middle:])
