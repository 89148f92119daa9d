"""Runs the embedded broker as a process of its own."""

import sys
from pathlib import Path
from typing import Final

import msgspec

from provisioning.broker.child import Child
from provisioning.broker.embedded.settings import EmbeddedSettings
from provisioning.broker.promise import BrokerFiles, Endpoint
from provisioning.files import write_file

_ALL_ADDRESSES: Final = ("", "0.0.0.0", "::")  # noqa: S104  # compared, not bound


class EmbeddedBroker:
    """The embedded broker; nothing needs to be installed. One endpoint for nodes and for the server's own client."""

    def __init__(self, files: BrokerFiles, folder: Path, *, host: str = "127.0.0.1", port: int = 0) -> None:
        """Prepare it.

        Args:
            files: certificates, key and lists.
            folder: its own, for settings and log; made where needed.
            host: address to listen on.
            port: 0 takes a free one at the first start, and keeps it.
        """
        self._files = files
        self._folder = folder
        self._endpoint = Endpoint(host, port)
        self._settings_file: Final = folder / "embedded.json"
        self._ready_file: Final = folder / "ready.json"
        argv: list[str | Path] = [
            sys.executable,
            "-m",
            "provisioning.broker.embedded",
            "--config",
            self._settings_file,
            "--exit-with-parent",
        ]
        self._child = Child("the embedded broker", argv, log=folder / "broker.log")

    @property
    def endpoint(self) -> Endpoint:
        """See `Broker`."""
        return self._endpoint

    @property
    def core_endpoint(self) -> Endpoint:
        """See `Broker`. Its certificate always names 127.0.0.1, never "all addresses"."""
        return Endpoint("127.0.0.1", self._endpoint.port) if self._endpoint.host in _ALL_ADDRESSES else self._endpoint

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._child.pid

    async def start(self) -> None:
        """See `Broker`."""
        self._files.check()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._ready_file.unlink(missing_ok=True)
        write_file(self._settings_file, msgspec.json.format(msgspec.json.encode(self._settings())))
        await self._child.start(self._ready_file.exists)
        self._endpoint = Endpoint(self._endpoint.host, int(msgspec.json.decode(self._ready_file.read_bytes())["port"]))

    async def stop(self) -> None:
        """See `Broker`."""
        await self._child.stop()

    async def reload(self) -> None:
        """See `Broker`. Connections of revoked and expired certificates are ended; with bad files all stays as it was."""
        self._child.hang_up()

    async def wait(self) -> str:
        """See `Broker`."""
        return await self._child.wait()

    def _settings(self) -> EmbeddedSettings:
        files = self._files
        return EmbeddedSettings(
            host=self._endpoint.host,
            port=self._endpoint.port,
            certificate_file=str(files.certificate.absolute()),
            key_file=str(files.key.absolute()),
            trust_file=str(files.clients.absolute()),
            device_ca_files=[str(files.device_ca.absolute())],
            service_ca_files=[str(files.service_ca.absolute())],
            crl_file=str(files.all_crls.absolute()),
            ready_file=str(self._ready_file.absolute()),
        )
