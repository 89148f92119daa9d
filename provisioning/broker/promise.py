"""What every broker must do, and what it needs.

The wall that each adapter builds, and that `tests/ports/broker/` attacks: who connects is who its certificate says, a node
(device CA, CN is its UUID) writes only `ssz/1/{node}/up/#` and receives only `ssz/1/{node}/down/#`, `svc-core` (service CA) reads
and writes `ssz/1/#`, nobody else anything; one session per identity; of a node at most one message is kept on each topic of the
wire. Nothing beyond MQTT 3.1.1 is promised, nor that messages outlive the broker: what must not be lost is acknowledged end to end
by the server.
"""

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from provisioning.errors import Missing, Transient
from provisioning.pki import certificate_path, crl_path
from provisioning.profile import ProfileName

MAX_PACKET_BYTES: Final = 131_072
"""The largest MQTT packet that a broker takes; twice what the wire needs."""

CORE: Final = "svc-core"
"""The common name of the server's own client."""

_log = logging.getLogger(__name__)


class BrokerFailed(Transient):
    """The broker did not start, or ended by itself; the message quotes its last words."""


class Endpoint(NamedTuple):
    """Where a broker listens."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class BrokerFiles:
    """The files a broker reads; all of them PEM."""

    certificate: Path
    """The broker's own chain: leaf, then server CA."""
    key: Path
    pki: Path
    """The fleet's `pki` folder: CAs, trust, lists of revoked certificates."""

    @property
    def clients(self) -> Path:
        """Root, device CA and service CA."""
        return self.pki / "trust" / "clients.pem"

    @property
    def devices(self) -> Path:
        """Root and device CA."""
        return self.pki / "trust" / "devices.pem"

    @property
    def device_ca(self) -> Path:
        """The CA that signs nodes."""
        return certificate_path(self.pki, ProfileName.DEVICE_CA)

    @property
    def service_ca(self) -> Path:
        """The CA that signs `svc-…`."""
        return certificate_path(self.pki, ProfileName.SERVICE_CA)

    @property
    def device_crl(self) -> Path:
        """The device CA's list of revoked certificates."""
        return crl_path(self.pki, ProfileName.DEVICE_CA)

    @property
    def service_crl(self) -> Path:
        """The service CA's list of revoked certificates."""
        return crl_path(self.pki, ProfileName.SERVICE_CA)

    @property
    def all_crls(self) -> Path:
        """The lists of all CAs."""
        return self.pki / "trust" / "all.crl.pem"

    def check(self) -> None:
        """See that all files are here.

        Raises:
            Missing: one is not; the message names it.
        """
        needed = (
            self.certificate,
            self.key,
            self.clients,
            self.devices,
            self.device_ca,
            self.service_ca,
            self.device_crl,
            self.service_crl,
        )
        for path in (*needed, self.all_crls):
            if not path.is_file():
                raise Missing(f"The broker needs {path}, which is not there: make the fleet's certificates with fleet init or fleet-ca.")


class Broker(Protocol):
    """A broker that this process starts and stops. It dies with this process, whatever kills it."""

    @property
    def endpoint(self) -> Endpoint:
        """Where nodes connect; the port is known after the first start and stays."""
        ...

    @property
    def core_endpoint(self) -> Endpoint:
        """Where the server's own client (`svc-core`) connects; may be the same."""
        ...

    async def start(self) -> None:
        """Start it; returns when it listens.

        Raises:
            BrokerFailed: it did not come up, for example because its port is taken.
            Missing: a certificate, key or list is not there.
        """
        ...

    async def stop(self) -> None:
        """Stop it within about 2 s. Nothing happens when it does not run."""
        ...

    async def reload(self) -> None:
        """Let it read certificates and lists of revoked certificates again; connections stay but those that are revoked may not.

        Raises:
            BrokerFailed: it does not run.
        """
        ...

    async def wait(self) -> str:
        """Wait until it ends without having been stopped; return why."""
        ...


async def keep_running(broker: Broker, *, first_delay_s: float = 0.5, longest_delay_s: float = 5.0) -> None:
    """Start a broker that ended by itself again, for ever; to be run as a task beside its user, until cancelled."""
    delay_s = first_delay_s
    while True:
        reason = await broker.wait()
        _log.error("The broker ended by itself: %s; it is started again in %.1f s", reason, delay_s)
        await asyncio.sleep(delay_s)
        delay_s = min(2 * delay_s, longest_delay_s)
        try:
            await broker.start()
        except (Transient, Missing) as error:
            _log.error("The broker does not start: %s", error)  # the sentence says it all
        else:
            delay_s = first_delay_s
