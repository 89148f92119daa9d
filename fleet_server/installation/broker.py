"""What the installation's broker needs, wherever it runs."""

import ipaddress
from pathlib import Path

from fleet_server.settings import BrokerMode, Settings
from provisioning.broker.export import MosquittoExport
from provisioning.broker.promise import BrokerFiles, Endpoint


def broker_files(settings: Settings, base: Path) -> BrokerFiles:
    """Return where the broker's files are; its certificate is the server's."""
    return BrokerFiles(certificate=base / settings.est.certificate_file, key=base / settings.est.key_file, pki=base / settings.pki.dir)


def export_broker(settings: Settings, base: Path) -> None:
    """Write what an external Mosquitto needs, where the settings ask for it.

    Raises:
        provisioning.errors.ProvisioningError: a file is missing, or the folder cannot be written.
    """
    section = settings.broker
    if section.mode is not BrokerMode.EXTERNAL or not section.export_dir:
        return
    everywhere = "0.0.0.0"  # noqa: S104  # mutual TLS guards it
    core = Endpoint(section.host if _is_address(section.host) else everywhere, section.port)
    export = MosquittoExport(folder=base / section.export_dir, devices=Endpoint(everywhere, section.devices_port), core=core)
    export.write(broker_files(settings, base))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
