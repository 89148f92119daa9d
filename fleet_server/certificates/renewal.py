"""Renews the console's certificate in time, and lets listeners take up new files without a restart."""

import asyncio
import logging
import ssl
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

from cryptography import x509

from fleet_server.certificates.acme import AcmeOrder
from fleet_server.certificates.pair import Pair, renew_at
from fleet_server.clock import Clock
from fleet_server.errors import FleetError, Rejected
from fleet_server.settings import Settings
from provisioning.errors import ProvisioningError
from provisioning.files import SECRET, write_file

_log = logging.getLogger(__name__)
_LOOK_AT_LEAST_EVERY_S: Final = 3600.0
_LONGEST_WAIT_S: Final = 6 * 3600.0
_LOOK_FOR_FILES_EVERY_S: Final = 20.0

R = TypeVar("R")


def order_of(settings: Settings, base: Path) -> AcmeOrder | None:
    """Return what the settings say is to be ordered; None: no certificate comes by ACME."""
    section = settings.acme
    if not section.directory_url:
        return None
    return AcmeOrder(
        directory_url=section.directory_url,
        hosts=tuple(section.hosts),
        email=section.email,
        account_file=base / section.account_file,
        challenge_host=section.challenge_host,
        challenge_port=section.challenge_port,
        ca_file=base / section.ca_file if section.ca_file else None,
    )


def save(pair: Pair, file: Path) -> None:
    """Put key and chain into *one* file, so that there is no moment with the key of one and the chain of another."""
    write_file(file, pair.key_pem + pair.chain_pem, SECRET)


async def keep_renewed(order: AcmeOrder, file: Path, clock: Clock) -> None:
    """Order a new certificate when two thirds of the old one's life are over; for ever, until cancelled.

    A refusal is logged and tried again; it is an error once the certificate has little life left.
    """
    while True:
        leaf = await asyncio.to_thread(_leaf, file)
        now = datetime.fromtimestamp(clock.now_ms() / 1000, UTC)
        if leaf is not None and (wait_s := (renew_at(leaf) - now).total_seconds()) > 0:
            await asyncio.sleep(min(wait_s, _LOOK_AT_LEAST_EVERY_S))  # the wall clock may be set meanwhile
            continue
        try:
            pair = await _in_daemon_thread(order.place)
            await asyncio.to_thread(save, pair, file)
            _log.info("The console has a new certificate, good until %s UTC", pair.leaf.not_valid_after_utc.strftime("%Y-%m-%d %H:%M"))
        except (FleetError, ProvisioningError) as error:
            life_s = 0.0 if leaf is None else (leaf.not_valid_after_utc - leaf.not_valid_before_utc).total_seconds()
            left_s = 0.0 if leaf is None else (leaf.not_valid_after_utc - now).total_seconds()
            level = logging.ERROR if left_s < life_s / 6 else logging.WARNING
            _log.log(level, "The console's certificate was not renewed (%.1f days are left): %s", left_s / 86_400, error)
            await asyncio.sleep(min(max(life_s / 360, 1.0), _LONGEST_WAIT_S))


@dataclass(slots=True)
class Served:
    """The files that a listener's TLS context was made of just now."""

    chain: Path
    key: Path
    context: ssl.SSLContext
    seen: tuple[int, ...] = field(init=False)
    """Stamp of the files that were taken up last."""

    def __post_init__(self) -> None:
        self.seen = self.stamp()

    def stamp(self) -> tuple[int, ...]:
        """Return something that changes when the files do."""
        try:
            states = [self.chain.stat(), self.key.stat()]
        except OSError:
            return ()
        return tuple(part for state in states for part in (state.st_ino, state.st_mtime_ns, state.st_size))

    def reload(self) -> None:
        """Serve new connections with what the files hold now.

        Raises:
            Rejected: they cannot be used; what was served before stays.
        """
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.chain, self.key)  # a failure here leaves the real one whole
            self.context.load_cert_chain(self.chain, self.key)
        except (OSError, ssl.SSLError) as error:
            raise Rejected(f"The new certificate {self.chain} with key {self.key} cannot be used: {error}.") from error


async def keep_reloaded(served: Sequence[Served], *, every_s: float = _LOOK_FOR_FILES_EVERY_S) -> None:
    """Take up certificates when their files change, whoever changed them; until cancelled."""
    while True:
        await asyncio.sleep(every_s)
        for one in served:
            stamp = one.stamp()
            if not stamp or stamp == one.seen:
                continue
            try:
                one.reload()
            except Rejected as error:
                _log.warning("%s The old one stays in use.", error)  # perhaps half of two files: they are looked at again
                continue
            one.seen = stamp
            _log.info("The certificate %s was taken up", one.chain)


def _leaf(file: Path) -> x509.Certificate | None:
    try:
        return Pair(file.read_bytes(), b"").leaf
    except (OSError, Rejected):
        return None


async def _in_daemon_thread(work: Callable[[], R]) -> R:
    """Run something that may block for minutes, without keeping the process from ending meanwhile."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[R] = loop.create_future()

    def settle(result: R | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # R may be None itself

    def run() -> None:
        try:
            result, failure = work(), None
        except BaseException as error:  # noqa: BLE001  # raised again where it is awaited
            result, failure = None, error
        with suppress(RuntimeError):  # the loop has ended meanwhile: nobody waits any more
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="acme-order", daemon=True).start()
    return await done
