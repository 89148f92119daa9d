"""Refusals are said once, and then counted: an attacker must not fill the log."""

import logging
import time
from collections import Counter
from typing import Final

_SAY_AGAIN_AFTER_S: Final = 30.0
_MOST_KEPT: Final = 1000

_log = logging.getLogger(__name__)


class Complaints:
    """Says each complaint about a peer once, and then at most every half minute with its count."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._said_at_s: dict[tuple[str, str], float] = {}

    def add(self, reason: str, peer: str) -> None:
        """Count a refusal; log it where it is new or was not said for a while."""
        if len(self._counts) > _MOST_KEPT:
            self._counts.clear()
            self._said_at_s.clear()
        key, now_s = (reason, peer), time.monotonic()
        self._counts[key] += 1
        if now_s - self._said_at_s.get(key, -_SAY_AGAIN_AFTER_S) >= _SAY_AGAIN_AFTER_S:
            _log.warning("Refused: %s", reason, extra={"peer": peer, "times": self._counts.pop(key)})
            self._said_at_s[key] = now_s
