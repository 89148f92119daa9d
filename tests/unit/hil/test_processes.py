"""Processes end with those who wait for them."""

import asyncio
from pathlib import Path

import pytest

from hil.processes import ProcessFailed, run
from hil.scenarios.programs import is_running
from hil.scenarios.waiting import until


async def test_command_that_nobody_waits_for_any_more_is_killed(tmp_path: Path) -> None:
    said = tmp_path / "pid"
    waiting = asyncio.create_task(run("sleeping", ["sh", "-c", f"echo $$ > {said}; exec sleep 600"]))
    await until(lambda: said.exists() and said.read_text().endswith("\n"), "it runs")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not is_running(int(said.read_text()))


async def test_command_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    said = tmp_path / "pid"
    with pytest.raises(ProcessFailed, match="sleeping took longer than 1 s"):
        await run("sleeping", ["sh", "-c", f"echo $$ > {said}; exec sleep 600"], within_s=1.0)
    assert not is_running(int(said.read_text()))


async def test_command_that_fails_says_its_last_word() -> None:
    with pytest.raises(ProcessFailed, match="failing: no bread"):
        await run("failing", ["sh", "-c", "echo no wine >&2; echo no bread >&2; exit 3"])
