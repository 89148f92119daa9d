"""A broker's process: started with its own log, awaited, stopped, and never left behind."""

import asyncio
import ctypes
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from provisioning.broker.promise import BrokerFailed

_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None)
_LOOK_S: Final = 60.0
_MAX_LOG_BYTES: Final = 5_000_000


class Child:
    """One child process. Linux kills it when we die; besides, its standard input ends then."""

    def __init__(self, name: str, argv: Sequence[str | Path], *, log: Path) -> None:
        """`log`: where its output goes; it starts empty at each start. Beyond 5 MB its content moves to `….1`."""
        self._name = name
        self._argv = [str(part) for part in argv]
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._is_wanted = False

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self, is_ready: Callable[[], bool], *, within_s: float = 20.0) -> None:
        """Start it and wait until it is ready.

        Raises:
            BrokerFailed: the program is missing, ended or was not ready in time.
        """
        self._is_wanted = True
        try:
            self._log.write_bytes(b"")
            with self._log.open("ab") as log:  # what is appended stays right when the file is emptied below it
                self._process = await asyncio.create_subprocess_exec(
                    *self._argv,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C reaches us alone, and we stop it in order
                    preexec_fn=_die_with_parent if sys.platform == "linux" else None,
                )
        except OSError as error:
            raise BrokerFailed(f"{self._name} cannot be started: {error.strerror}.") from error
        try:
            async with asyncio.timeout(within_s):
                while not is_ready():
                    if self._process.returncode is not None:
                        raise BrokerFailed(f"{self._name} ended with status {self._process.returncode}: {self.last_words()}")
                    await asyncio.sleep(0.02)
        except TimeoutError as error:
            await self.kill()
            raise BrokerFailed(f"{self._name} was not ready within {within_s:.0f} s: {self.last_words()}") from error

    async def stop(self, *, within_s: float = 2.0) -> None:
        """Ask it to end, then make it."""
        self._is_wanted = False
        if self._process is None or self._process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(within_s):
                await self._process.wait()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """End it at once."""
        if self._process is None or self._process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    def hang_up(self) -> None:
        """Let it read its files again (SIGHUP).

        Raises:
            BrokerFailed: it does not run.
        """
        if self._process is None or self._process.returncode is not None:
            raise BrokerFailed(f"{self._name} does not run.")
        self._process.send_signal(signal.SIGHUP)

    async def wait(self) -> str:
        """Wait until it ends without having been asked to; return why."""
        while True:
            assert self._process is not None, f"{self._name} was not started"
            process = self._process
            status = await self._end_of(process)
            if self._is_wanted and process is self._process:
                return f"{self._name} ended with status {status}: {self.last_words()}"
            await asyncio.sleep(0.1)  # stopped on purpose: it may be started again

    async def _end_of(self, process: asyncio.subprocess.Process) -> int:
        """Wait for its end, and keep its log short meanwhile; return its status."""
        ended = asyncio.ensure_future(process.wait())
        try:
            while not (await asyncio.wait({ended}, timeout=_LOOK_S))[0]:
                self._shorten_log()
            return ended.result()
        finally:
            ended.cancel()

    def _shorten_log(self) -> None:
        with suppress(OSError):  # somebody took it away: nothing grows
            if self._log.stat().st_size > _MAX_LOG_BYTES:
                with suppress(OSError):  # the disk is full: all the more it must go
                    shutil.copyfile(self._log, self._log.with_name(f"{self._log.name}.1"))
                os.truncate(self._log, 0)

    def last_words(self) -> str:
        """Return the last line of its log."""
        try:
            lines = self._log.read_text(errors="replace").strip().splitlines()
        except OSError:
            return "no log"
        last = lines[-1] if lines else "it said nothing"
        with suppress(msgspec.DecodeError):  # our own programs log JSON lines
            last = msgspec.json.decode(last, type=_Line).message
        return last[:300]


class _Line(msgspec.Struct):
    message: str


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
