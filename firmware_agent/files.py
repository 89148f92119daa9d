"""Files that are whole or not there, whatever cuts the power."""

import os
from pathlib import Path


def save(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Replace the file durably: write temporary, fsync, replace, fsync the directory.

    `mode` holds from the first byte on, so that a secret is never readable by others.

    Raises:
        OSError: the disk is full or not writable; the old file is untouched.
    """
    temporary = _write(path, content, mode=mode, is_durable=True)
    temporary.replace(path)
    sync_directory(path.parent)


def publish(path: Path, content: bytes) -> None:
    """Replace the file at once for readers, without fsync: for what is written often and can be made again (spares the card)."""
    _write(path, content, mode=0o644, is_durable=False).replace(path)


def _write(path: Path, content: bytes, *, mode: int, is_durable: bool) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            if is_durable:
                os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def sync_directory(path: Path) -> None:
    """Make a rename or a removal in this folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
