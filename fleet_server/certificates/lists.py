"""The lists of revoked certificates: signed anew in time, and watched, because a broker with an expired list locks every node out."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from prometheus_client import CollectorRegistry, Gauge

from fleet_server.clock import Clock
from provisioning.broker.promise import BrokerFailed
from provisioning.crl import LEAST_LEFT, ends_at, load_crl
from provisioning.errors import ProvisioningError
from provisioning.pki import ISSUING, crl_path, load_pki

_log = logging.getLogger(__name__)
_EVERY_S: Final = 15 * 60.0


class Lists:
    """Those of the issuing CAs, in the `pki` folder."""

    def __init__(self, folder: Path, refresh: Callable[[], object], clock: Clock) -> None:
        """`refresh` signs and publishes them; it blocks, and raises `ProvisioningError` when it cannot."""
        self._folder = folder
        self._refresh = refresh
        self._clock = clock

    def begin(self) -> None:
        """Refresh them at the start of the server. With good old ones it starts even when that fails.

        Raises:
            ProvisioningError: there is no good list, and none can be made.
        """
        try:
            self._refresh()
        except ProvisioningError as error:
            if self.left_s() <= 0:
                raise
            load_pki(self._folder)  # what is wrong with the CAs themselves must not wait
            _log.error("The lists of revoked certificates were not renewed: %s %s", error, self._how_long())

    async def keep_fresh(self, reload_broker: Callable[[], Awaitable[object]] | None, *, every_s: float = _EVERY_S) -> None:
        """Sign them anew and let the broker read them; for ever, until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await asyncio.to_thread(self._refresh)
                if reload_broker is not None:
                    await reload_broker()
            except (ProvisioningError, BrokerFailed) as error:
                _log.error("The lists of revoked certificates were not renewed: %s %s", error, await asyncio.to_thread(self._how_long))

    def left_s(self) -> float:
        """Return for how many seconds the one that ends first is still good; 0 where one is missing or cannot be read."""
        now = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC)
        try:
            found: list[x509.CertificateRevocationList | None] = [load_crl(crl_path(self._folder, name)) for name in ISSUING]
            return max(0.0, min((ends_at(crl) - now).total_seconds() if crl is not None else 0.0 for crl in found))
        except ProvisioningError:
            return 0.0

    def why_not_ready(self) -> str:
        """Say what is wrong with them; empty when all is well."""
        return "" if self.left_s() >= LEAST_LEFT.total_seconds() else self._how_long()

    def measure(self, registry: CollectorRegistry) -> None:
        """Tell Prometheus."""
        gauge = Gauge("ssz_crl_left_seconds", "For how long the list of revoked certificates that ends first is good.", registry=registry)
        gauge.set_function(self.left_s)

    def _how_long(self) -> str:
        days = self.left_s() / 86_400
        return f"They are good for {days:.1f} more days; after that the broker lets no node in. See to the disk and to fleet-ca sign-crl."
