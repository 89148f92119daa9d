"""Our own commands, as they are installed, and what they need of this machine."""

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path


def program(name: str) -> Path:
    """Return one of our commands, from the environment that runs us."""
    return Path(sys.executable).parent / name


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def children_of(pid: int) -> list[int]:
    """Return the process ids of the direct children of a process (Linux)."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError, ValueError, IndexError):
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                if int(parent) == pid:
                    found.append(int(folder.name))
    return found


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return False


def command_line(pid: int) -> str:
    """Return the command line of a process, empty when it is gone."""
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def faketime_environment(library: Path, stamp: Path) -> dict[str, str]:
    """Return what makes a process read its wall clock from `stamp` (libfaketime); the monotonic clock stays true."""
    return {
        "LD_PRELOAD": os.pathsep.join(part for part in (str(library), os.environ.get("LD_PRELOAD", "")) if part),
        "FAKETIME_TIMESTAMP_FILE": str(stamp),
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "1",
    }
