"""How long nobody watched: the server's own blind time, which is nobody's downtime. Pure."""

from typing import Final

BLIND_AFTER_MS: Final = 10_000
"""Live state older than this is nobody's: the server was not watching."""


def blind_since_ms(beat_at_ms: int | None, now_ms: int) -> int | None:
    """Return since when nobody watches, given when somebody last did; None while somebody does, or nobody ever did."""
    return beat_at_ms if beat_at_ms is not None and now_ms - beat_at_ms > BLIND_AFTER_MS else None


class Watch:
    """Adds up blind time from the signs of life of who watches. One thread beats, any may ask."""

    __slots__ = ("_told",)

    def __init__(self) -> None:
        """Nobody ever watched."""
        self._told: tuple[int | None, int] = (None, 0)

    def beat(self, at_ms: int) -> None:
        """Take a sign of life; where the one before is too long ago, all time since then was blind."""
        self._told = (at_ms, self.blind_ms(at_ms))

    def blind_ms(self, now_ms: int) -> int:
        """Return all blind time since the first sign of life. It never falls."""
        beat_at_ms, blind_ms = self._told
        since_ms = blind_since_ms(beat_at_ms, now_ms)
        return blind_ms if since_ms is None else blind_ms + now_ms - since_ms
