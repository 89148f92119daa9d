"""A broker's log cannot fill the disk, and what it said last is still known when it ends."""

import asyncio
import sys
from pathlib import Path

import pytest

from provisioning.broker import child
from provisioning.broker.child import Child

TALKS = "import sys, time\nwhile not sys.stdin.closed:\n    print('x' * 999, flush=True)\n    time.sleep(0.001)"
ENDS = "print('x' * 5000)\nprint('out of luck')"


async def test_log_is_set_aside_when_it_is_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "_LOOK_S", 0.02)
    monkeypatch.setattr(child, "_MAX_LOG_BYTES", 20_000)
    log = tmp_path / "broker.log"
    broker = Child("a broker", [sys.executable, "-c", TALKS], log=log)
    await broker.start(lambda: log.stat().st_size > 0)
    waiting = asyncio.create_task(broker.wait())
    aside = tmp_path / "broker.log.1"
    try:
        for _ in range(2_000):
            if aside.exists() and 0 < log.stat().st_size < 20_000:
                break
            await asyncio.sleep(0.01)
        else:
            pytest.fail("the log only grew")
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await broker.kill()
    assert aside.stat().st_size > 20_000
    assert log.read_bytes().startswith(b"x")  # no hole where it was emptied


async def test_last_words_of_a_long_log_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "_MAX_LOG_BYTES", 10)
    log = tmp_path / "broker.log"
    broker = Child("a broker", [sys.executable, "-c", ENDS], log=log)
    await broker.start(lambda: log.stat().st_size > 0)
    async with asyncio.timeout(20):
        assert await broker.wait() == "a broker ended with status 0: out of luck"
