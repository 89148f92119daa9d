"""The broker's log: JSON lines to standard error, where nobody outside can make it grow: what is said again is counted."""

import json
import logging
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Final

_SAY_AGAIN_AFTER_S: Final = 30.0
_MOST_KEPT: Final = 1000
_LONGEST: Final = 500


def set_up() -> None:
    """Let all loggers of this process write here."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    handler.addFilter(Condense())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("provisioning").setLevel(logging.INFO)
    # What amqtt warns of is our gate's doing, or a client that left.
    logging.getLogger("amqtt").setLevel(logging.ERROR)


class JsonLines(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage()[:_LONGEST],
        }
        line.update({name: value for name in ("peer", "times") if (value := getattr(record, name, None)) is not None})
        if record.exc_info and record.name.startswith("provisioning"):
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class Condense(logging.Filter):
    """Lets the same warning through at most every half minute, with the number of `times` it came.

    The same is: from the same line, and of ours about the same peer and reason; what amqtt says differs each time.
    """

    def __init__(self) -> None:
        super().__init__()
        self._counts: Counter[object] = Counter()
        self._said_at_s: dict[object, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether to let it through."""
        if record.levelno < logging.WARNING:
            return True
        about = (record.args, getattr(record, "peer", "")) if record.name.startswith("provisioning") else ()
        key, now_s = (record.pathname, record.lineno, str(about)), time.monotonic()
        if len(self._said_at_s) > _MOST_KEPT:
            self._said_at_s.clear()
            self._counts.clear()
        self._counts[key] += 1
        if now_s - self._said_at_s.get(key, -_SAY_AGAIN_AFTER_S) < _SAY_AGAIN_AFTER_S:
            return False
        self._said_at_s[key] = now_s
        record.times = self._counts.pop(key)
        return True
