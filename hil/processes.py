"""Real processes under test or on show: started with their own log, watched, and stopped for sure."""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


class ProcessFailed(Exception):
    """A process ended by itself; the message names its log and quotes the last line."""


class Process:
    """One child process. Its output goes to a file; it dies with us, whatever kills us."""

    def __init__(self, name: str, argv: Sequence[str | Path], *, log: Path, env: Mapping[str, str] | None = None) -> None:
        """`name` is for people; `env` is added to our own environment."""
        self.name: Final = name
        self.log: Final = log
        self._argv = [str(part) for part in argv]
        self._env = {**os.environ, **(env or {})}
        self._child: asyncio.subprocess.Process | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._child is not None and self._child.returncode is None

    @property
    def pid(self) -> int:
        """Its process id; only while it runs."""
        assert self._child is not None, f"{self.name} was not started"
        return self._child.pid

    async def start(self) -> None:
        """Start it, appending to its log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._child = await asyncio.create_subprocess_exec(
                *self._argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._env,
                start_new_session=True,  # Ctrl-C reaches us alone, and we stop the others in order
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )

    def check(self) -> None:
        """Raise when it ended by itself.

        Raises:
            ProcessFailed: it is not running any more.
        """
        if self._child is not None and self._child.returncode is not None:
            raise ProcessFailed(f"{self.name} ended with status {self._child.returncode}: {self.last_line()} (log: {self.log})")

    async def wait(self) -> int:
        """Wait until it ends; return its exit status."""
        assert self._child is not None, f"{self.name} was not started"
        return await self._child.wait()

    async def stop(self, *, within_s: float = 3.0) -> None:
        """Ask it to end, then make it."""
        if self._child is None or self._child.returncode is not None:
            return
        with suppress(ProcessLookupError):
            self._child.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(within_s):
                await self._child.wait()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """End it at once, as a power cut would (SIGKILL to it and to what it started)."""
        if self._child is None or self._child.returncode is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        await self._child.wait()

    def last_line(self) -> str:
        """Return the last line of its log that says something."""
        try:
            lines = self.log.read_text(errors="replace").strip().splitlines()
        except OSError:
            return "no log"
        return lines[-1][:300] if lines else "it said nothing"


async def run(name: str, argv: Sequence[str | Path], *, within_s: float = 60.0, env: Mapping[str, str] | None = None) -> str:
    """Run a command to its end and return what it printed; cancelled, it is killed.

    Raises:
        ProcessFailed: it took too long or ended with another status than 0; the message holds its last words.
    """
    child = await asyncio.create_subprocess_exec(
        *[str(part) for part in argv],
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(env or {})},
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    )
    try:
        async with asyncio.timeout(within_s):
            output, errors = await child.communicate()
    except TimeoutError as error:
        raise ProcessFailed(f"{name} took longer than {within_s:.0f} s") from error
    finally:
        if child.returncode is None:  # nobody waits for it any more
            child.kill()
            await child.wait()
    if child.returncode:
        last = (errors or output).decode(errors="replace").strip().splitlines()
        raise ProcessFailed(f"{name}: {last[-1] if last else 'no reason given'}")
    return output.decode()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
