"""`fleet demo` as a process of the tests."""

import asyncio
import json
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # it ships no types

from hil.scenarios.programs import program
from hil.scenarios.waiting import until

MARK = "SSZ_TEST_DEMO"
"""In the environment of a demo and all it starts, so that what it left behind is found."""
READY_S = 120.0
END_S = 200.0


class Demo:
    """One run of `fleet demo` in `folder`; what it says goes to files beside it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        mark = secrets.token_hex(8)
        self.folder = folder
        self.report_file = folder.parent / f"{mark}.json"
        self._ready_file = folder.parent / f"{mark}-ready.json"
        self._out, self._error = folder.parent / f"{mark}.out", folder.parent / f"{mark}.err"
        self._mark = mark
        argv: list[str | Path] = [program("fleet"), "demo", "--data", folder, "--ready-file", self._ready_file, *arguments]
        if "--exit-after" in arguments:
            argv += ["--json", self.report_file]
        with self._out.open("wb") as out, self._error.open("wb") as error:
            self._child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=error, env={**os.environ, MARK: mark})

    async def end(self) -> tuple[int, str, str]:
        """Wait until it ends; return status and what it said."""
        status = await asyncio.to_thread(self._child.wait, END_S)
        error = self._error.read_text()
        assert "Traceback" not in error, error
        return status, self._out.read_text(), error

    async def ready(self) -> dict[str, Any]:
        """Wait until it is ready; return its ready file."""
        await until(lambda: self._ready_file.exists() or self._child.poll() is not None, "the demo is ready", within_s=READY_S)
        assert self._ready_file.exists(), await self.end()
        found: dict[str, Any] = json.loads(self._ready_file.read_text())
        return found

    def send(self, number: signal.Signals) -> None:
        self._child.send_signal(number)

    def family(self) -> list[int]:
        """Return the process ids of all of this run that are alive."""
        self._child.poll()
        return [process.pid for process in psutil.process_iter() if self._is_of_it(process)]

    def clear_away(self) -> None:
        """Kill whatever is left of it."""
        for pid in self.family():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._child.wait()

    def _is_of_it(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error):
            return bool(process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == self._mark)
        return False


@contextmanager
def demo(folder: Path, *arguments: str) -> Iterator[Demo]:
    """Start a demo; whatever is left of it at the end is killed."""
    run = Demo(folder, *arguments)
    try:
        yield run
    finally:
        run.clear_away()
