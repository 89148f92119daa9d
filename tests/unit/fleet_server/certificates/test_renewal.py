"""Renewal in time, again after a refusal; new files are taken up, half of them are not."""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from fleet_server.certificates.acme import AcmeOrder, AcmeRefused
from fleet_server.certificates.pair import Pair, renew_at
from fleet_server.certificates.renewal import Served, keep_reloaded, keep_renewed, save
from fleet_server.listeners import certificate_context
from provisioning import ca


class Authority:
    """Issues, or refuses as often as it is told."""

    def __init__(self, folder: Path, refusals: int = 0) -> None:
        self._pki = ca.create_pki(folder / "authority", "Test", local_root=True)
        self.refusals = refusals
        self.orders = 0

    def place(self) -> Pair:
        self.orders += 1
        if self.orders <= self.refusals:
            raise AcmeRefused("not today")
        made = ca.issue_server_certificate(self._pki, ["127.0.0.1"])
        return Pair(made.chain_pem, made.key_pem)


async def run_until(work: Any, condition: Callable[[], bool]) -> None:
    task = asyncio.ensure_future(work)
    try:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.01)
                if task.done():
                    task.result()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def renewing(authority: Authority, file: Path, clock: Any) -> Any:
    return keep_renewed(cast("AcmeOrder", authority), file, clock)


async def test_missing_one_is_ordered_at_once_and_again_after_a_refusal(
    tmp_path: Path, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority(tmp_path, refusals=1)
    file = tmp_path / "acme.pem"
    await run_until(renewing(authority, file, clock), file.exists)
    assert "not today" in caplog.text
    assert authority.orders == 2
    certificate_context(file, file)
    assert file.stat().st_mode & 0o777 == 0o600


async def test_good_one_is_left_until_it_is_due(tmp_path: Path, clock: Any) -> None:
    authority = Authority(tmp_path)
    file = tmp_path / "acme.pem"
    save(authority.place(), file)
    leaf = Pair(file.read_bytes(), b"").leaf
    clock.wall_ms = int(leaf.not_valid_before_utc.timestamp() * 1000)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.3):
            await renewing(authority, file, clock)
    assert authority.orders == 1
    clock.wall_ms = int(renew_at(leaf).timestamp() * 1000) + 1000
    before = file.read_bytes()
    await run_until(renewing(authority, file, clock), lambda: file.read_bytes() != before)
    assert authority.orders >= 2


async def test_alarm_when_little_life_is_left(tmp_path: Path, clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    authority = Authority(tmp_path)
    file = tmp_path / "acme.pem"
    save(authority.place(), file)
    authority.refusals = 1000
    leaf = Pair(file.read_bytes(), b"").leaf
    for moment, level in ((renew_at(leaf), logging.WARNING), (leaf.not_valid_after_utc, logging.ERROR)):
        caplog.clear()
        clock.wall_ms = int(moment.timestamp() * 1000) - 1000 * (level == logging.ERROR) + 1000 * (level == logging.WARNING)
        await run_until(renewing(authority, file, clock), lambda: "not today" in caplog.text)
        assert caplog.records[-1].levelno == level


async def test_new_files_are_taken_up_and_half_of_them_is_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority = Authority(tmp_path)
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"

    def write(pair: Pair) -> None:
        key.write_bytes(pair.key_pem)
        chain.write_bytes(pair.chain_pem)

    write(authority.place())
    served = Served(chain, key, certificate_context(chain, key))
    before = _leaf_of(served.context)
    caplog.set_level(logging.INFO)
    half = authority.place()
    key.write_bytes(half.key_pem)

    async def finish() -> None:
        while "stays in use" not in caplog.text:  # noqa: ASYNC110  # a log has no event
            await asyncio.sleep(0.01)
        assert _leaf_of(served.context) == before
        chain.write_bytes(half.chain_pem)

    finishing = asyncio.ensure_future(finish())
    await run_until(keep_reloaded([served], every_s=0.02), lambda: "was taken up" in caplog.text)
    await finishing
    assert _leaf_of(served.context) == ssl.PEM_cert_to_DER_cert(
        half.chain_pem.decode().split("-----END", 1)[0] + "-----END CERTIFICATE-----\n"
    )


def _leaf_of(context: ssl.SSLContext) -> bytes:
    """Shake hands in memory and return what the server showed."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_context = ssl.create_default_context()
    client_context.check_hostname, client_context.verify_mode = False, ssl.CERT_NONE
    client = client_context.wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(10):
        for side in (client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return client.getpeercert(binary_form=True) or b""
