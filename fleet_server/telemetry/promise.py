"""What a store of time series promises, whichever it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Protocol

from fleet_server.errors import Rejected, Transient

MAX_LINES: Final = 5000
"""Of one write."""

_DAY_MS: Final = 86_400_000

Value = float | int | bool | str


class Bucket(StrEnum):
    """Where a series goes, by how long it is kept. InfluxDB maps a bucket `db/rp` to database and retention policy by itself."""

    HOT = "fleet/hot"
    COLD = "fleet/cold"
    EVENTS = "fleet/events"


RETENTION_MS: Final[Mapping[Bucket, int]] = MappingProxyType(
    {Bucket.HOT: 30 * _DAY_MS, Bucket.COLD: 400 * _DAY_MS, Bucket.EVENTS: 3 * 366 * _DAY_MS}
)


class TelemetryUnavailable(Transient):
    """The store did not answer, was too busy, or does not let us in: nothing is known of the lines; write them all again later."""


class PartlyRejected(Rejected):
    """At least one line will never be accepted; others of the same write may be stored. Split, and write the parts."""


class TooLarge(Rejected):
    """The write as a whole is too large; split it."""


@dataclass(frozen=True, slots=True)
class Point:
    """One point as it is read back."""

    tags: Mapping[str, str]
    at_ms: int
    fields: Mapping[str, Value]


class TelemetryStore(Protocol):
    """Blocking: call it from a worker thread. May be called from several.

    A series is a measurement with its tags; a point is a series and a timestamp. Writing a point again sets its fields again,
    so any write may be repeated. A field keeps the type of its first value.
    """

    def write(self, bucket: Bucket, lines: Sequence[bytes]) -> None:
        """Store at most `MAX_LINES` lines of line protocol, timestamps in milliseconds; in any order.

        Raises:
            TelemetryUnavailable: write the same lines again later.
            PartlyRejected: some line is at fault.
            TooLarge: write fewer lines at once.
        """
        ...

    def query(
        self, bucket: Bucket, measurement: str, *, from_ms: int, to_ms: int, tags: Mapping[str, str] = MappingProxyType({})
    ) -> list[Point]:
        """Return the points of `[from_ms, to_ms)` with these tags, by time.

        Raises:
            TelemetryUnavailable: the store does not answer.
        """
        ...

    def ping(self) -> None:
        """Return if writes can be expected to work.

        Raises:
            TelemetryUnavailable: they cannot; the message says why.
        """
        ...

    def purge(self, now_ms: int) -> int:
        """Forget some of what is older than its retention, where the store does not do so by itself.

        Returns:
            How many points; 0 when there is no more.

        Raises:
            TelemetryUnavailable: the store does not answer.
        """
        ...

    def close(self) -> None:
        """Give everything back."""
        ...
