"""Space set aside: on a full disk SQLite cannot even delete, so some must be given back first."""

import logging
import os
import shutil
from contextlib import suppress
from pathlib import Path

_log = logging.getLogger(__name__)


class Ballast:
    """A file that only takes up space."""

    def __init__(self, path: Path, size: int) -> None:
        """`size` in bytes; 0 for none."""
        self._path = path
        self._size = size

    def release(self) -> bool:
        """Give the space back; False when it was given back before."""
        try:
            self._path.unlink()
        except OSError:
            return False
        _log.error("the disk is full; released the %s bytes kept for this", self._size)
        return True

    def restore(self) -> None:
        """Set the space aside again when there is plenty."""
        if self._size == 0 or self._path.exists():
            return
        with suppress(OSError):
            if shutil.disk_usage(self._path.parent).free < 8 * self._size:
                return
        try:
            with self._path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, self._size)
        except OSError:
            self._path.unlink(missing_ok=True)
