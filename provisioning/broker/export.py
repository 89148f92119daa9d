"""All that a Mosquitto which somebody else runs needs, in one folder of its own, and nothing that it does not need.

    mosquitto.conf, devices.acl, core.acl    generated
    server/chain.pem, key.pem                the broker's own certificate and key
    pki/trust, pki/crl                       who is trusted, and who not any more

The keys of the CAs stay where they are. `run-mosquitto.sh` beside this file runs it, and lets it read everything again
when a file changes.
"""

from dataclasses import dataclass
from pathlib import Path

from provisioning.broker.mosquitto import MosquittoSetup
from provisioning.broker.promise import BrokerFiles, Endpoint
from provisioning.files import PUBLIC, SECRET, write_file
from provisioning.pki import read_file


@dataclass(frozen=True, slots=True, kw_only=True)
class MosquittoExport:
    """Where to, and where its two listeners are."""

    folder: Path
    devices: Endpoint
    core: Endpoint

    @property
    def files(self) -> BrokerFiles:
        """The files as the broker will see them."""
        server = self.folder / "server"
        return BrokerFiles(certificate=server / "chain.pem", key=server / "key.pem", pki=self.folder / "pki")

    def write(self, source: BrokerFiles) -> None:
        """Copy what is newest; the configuration comes last, so that it is never there without what it names.

        Raises:
            Missing: a certificate, key or list is not there.
            Rejected: the folder cannot be written.
        """
        source.check()
        target = self.files
        for here, there, mode in (
            (source.key, target.key, SECRET),
            (source.certificate, target.certificate, PUBLIC),
            (source.devices, target.devices, PUBLIC),
            (source.clients, target.clients, PUBLIC),
            (source.device_crl, target.device_crl, PUBLIC),
            (source.service_crl, target.service_crl, PUBLIC),
        ):
            write_file(there, read_file(here), mode)
        MosquittoSetup(files=target, folder=self.folder, devices=self.devices, core=self.core).write()
