"""`/healthz`, `/readyz`, `/metrics`; the lists of revoked certificates; refusals by cause."""

import asyncio
import contextlib
import logging
import threading
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from fleet_server import health
from fleet_server.certificates.lists import Lists
from fleet_server.enrolment.metrics import EnrolmentMetrics
from fleet_server.enrolment.model import Cause
from provisioning import ca
from provisioning.errors import ProvisioningError, Rejected

DAY_MS = 86_400_000


def client(checks: dict[str, health.Check], registry: CollectorRegistry | None = None) -> httpx.AsyncClient:
    app = FastAPI()
    app.include_router(health.router(checks, registry or CollectorRegistry()))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://fleet")


async def test_ready_when_every_part_is() -> None:
    async with client({"database": lambda: "", "crl": lambda: ""}) as fleet:
        answer = await fleet.get("/readyz")
        assert (answer.status_code, answer.json()) == (200, {"ready": True, "checks": {"database": "ok", "crl": "ok"}})
        assert (await fleet.get("/healthz")).text == "ok\n"


async def test_not_ready_says_which_part_and_why_but_lives() -> None:
    async with client({"database": lambda: "", "ingest": lambda: "not connected"}) as fleet:
        answer = await fleet.get("/readyz")
        assert (answer.status_code, answer.json()["checks"]["ingest"]) == (503, "not connected")
        assert (await fleet.get("/healthz")).status_code == 200


async def test_it_lives_though_all_threads_wait_for_something() -> None:
    limiter, ends = anyio.to_thread.current_default_thread_limiter(), threading.Event()

    def hang() -> str:
        ends.wait()
        return ""

    async with client({"database": hang}) as fleet:
        waiting = [asyncio.create_task(fleet.get("/readyz")) for _ in range(int(limiter.total_tokens))]
        try:
            async with asyncio.timeout(30):
                while limiter.available_tokens:  # noqa: ASYNC110  # no event tells of it
                    await asyncio.sleep(0.01)
                assert (await fleet.get("/healthz")).text == "ok\n"
        finally:
            ends.set()
            await asyncio.gather(*waiting)


async def test_refusals_are_counted_by_cause() -> None:
    registry = CollectorRegistry()
    EnrolmentMetrics(lambda: {Cause.WRONG_CODE: 3}, registry)
    async with client({}, registry) as fleet:
        said = (await fleet.get("/metrics")).text
    assert 'ssz_enrolment_refusals_total{cause="wrong_code"} 3.0' in said
    assert 'ssz_enrolment_refusals_total{cause="locked"} 0.0' in said


class Refresh:
    """Signs nothing, and fails when told to."""

    def __init__(self) -> None:
        self.error: ProvisioningError | None = None
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def pki(tmp_path: Path, clock: Any) -> Path:
    """Lists signed at the clock's time, good for 7 days."""
    from datetime import UTC, datetime

    ca.create_pki(tmp_path / "pki", "Test", local_root=True, now=datetime.fromtimestamp(clock.now_ms() / 1000, UTC))
    return tmp_path / "pki"


def test_alarm_before_the_lists_end(pki: Path, clock: Any) -> None:
    lists = Lists(pki, Refresh(), clock)
    registry = CollectorRegistry()
    lists.measure(registry)
    assert lists.why_not_ready() == ""
    clock.advance(3 * DAY_MS)
    assert "4.0 more days" in lists.why_not_ready()
    assert registry.get_sample_value("ssz_crl_left_seconds") == pytest.approx(4 * 86_400, abs=1)
    clock.advance(5 * DAY_MS)
    assert "0.0 more days" in lists.why_not_ready()


def test_missing_or_damaged_list_is_no_time_left(pki: Path, clock: Any) -> None:
    lists = Lists(pki, Refresh(), clock)
    (pki / "crl" / "device-ca.crl.pem").write_text("rubbish")
    assert lists.left_s() == 0
    (pki / "crl" / "device-ca.crl.pem").unlink()
    assert lists.left_s() == 0


def test_server_starts_with_good_old_lists_only(pki: Path, clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    refresh = Refresh()
    refresh.error = Rejected("the disk is full")
    lists = Lists(pki, refresh, clock)
    lists.begin()
    assert "the disk is full" in caplog.text
    clock.advance(8 * DAY_MS)
    with pytest.raises(Rejected, match="disk is full"):
        lists.begin()


async def test_failure_is_an_error_in_the_log_and_tried_again(pki: Path, clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    refresh, reloads = Refresh(), []

    async def reload() -> None:
        reloads.append(1)

    refresh.error = Rejected("the disk is full")
    running = asyncio.ensure_future(Lists(pki, refresh, clock).keep_fresh(reload, every_s=0.01))
    async with asyncio.timeout(30):
        while "the disk is full" not in caplog.text:  # noqa: ASYNC110  # a log has no event
            await asyncio.sleep(0.01)
        assert not reloads
        assert caplog.records[-1].levelno == logging.ERROR
        refresh.error = None
        while not reloads:  # noqa: ASYNC110  # it waits for a call
            await asyncio.sleep(0.01)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
