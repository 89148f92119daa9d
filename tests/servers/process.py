"""Server processes under test: started on free loopback ports, awaited, and stopped for sure."""

import ctypes
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on now. Another process may take it meanwhile, so bind soon."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_listening(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody accepts TCP connections there."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((host, port)) == 0


class ServerProcess:
    """One child process with its own log. It dies with us, whatever kills us."""

    def __init__(
        self, name: str, argv: Sequence[str | Path], *, log: Path, user: str | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        """`user`: run as that user (only root may ask for it); `env` is added to our own environment."""
        self.name: Final = name
        self.log: Final = log
        self._argv = [str(part) for part in argv]
        self._user = user
        self._env = {**os.environ, **(env or {})}
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id; only after `start`."""
        assert self._child is not None, f"{self.name} was not started"
        return self._child.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._child is not None and self._child.poll() is None

    def start(self, *, is_ready: Callable[[], bool], within_s: float = 60.0) -> None:
        """Start it and wait until `is_ready`.

        Raises:
            RuntimeError: it ended or took too long; the message quotes its log.
        """
        group = pwd.getpwnam(self._user).pw_gid if self._user else None
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._env,
                start_new_session=True,
                user=self._user,
                group=group,
                extra_groups=[] if self._user else None,
                cwd="/",
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        give_up_at = time.monotonic() + within_s
        while not is_ready():
            if not self.is_running:
                raise RuntimeError(f"{self.name} ended with status {self._child.returncode}: {self.last_lines()}")
            if time.monotonic() > give_up_at:
                self.kill()
                raise RuntimeError(f"{self.name} was not ready within {within_s:.0f} s: {self.last_lines()}")
            time.sleep(0.02)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, such as SIGHUP."""
        assert self._child is not None, f"{self.name} was not started"
        self._child.send_signal(number)

    def stop(self, *, within_s: float = 10.0, by: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to end, then make it. Nothing happens when it has ended."""
        if self._child is None or self._child.poll() is not None:
            return
        self._child.send_signal(by)
        try:
            self._child.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it at once, with what it started, as a power cut would."""
        if self._child is None or self._child.poll() is not None:
            return
        os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()

    def last_lines(self, count: int = 5) -> str:
        """Return the end of its log."""
        lines = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        return " | ".join(lines[-count:]) or "it said nothing"


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
