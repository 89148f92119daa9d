"""Nodes for the tests: in this process, and as a process of their own."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self

from firmware_agent.config import load_config
from firmware_agent.contract.ids import NodeId
from firmware_agent.identity.model import load_identity
from firmware_agent.process import run_agent
from tests.integration.agent.probe_driver import Probes

NODE = NodeId("0b5e9a34-5c1d-4f0e-9c67-3c2f5d1a7e10")

CONFIG = """
[node]
is_simulated = true

[server]
mqtt_port = {port}
retry_max_s = 0.3
replay_interval_s = 0.0
keepalive_s = {keepalive_s}
insecure_no_tls = {no_tls}

[heartbeat]
interval_s = 0.5

[clock]
assume = "ntp"

[[channel]]
channel = "btn-1"
kind = "panic_button"
driver = "probe"
settings = {{ presses = "{presses}" }}
"""


def make_node(folder: Path, port: int, *, no_tls: bool = True, keepalive_s: int = 20) -> Path:
    """Write a node's configuration and, without TLS, an identity; return the configuration file."""
    folder.mkdir(parents=True, exist_ok=True)
    text = CONFIG.format(port=port, no_tls=str(no_tls).lower(), presses=folder / "presses", keepalive_s=keepalive_s)
    (folder / "node.toml").write_text(text)
    if no_tls:
        (folder / "identity").mkdir(exist_ok=True)
        (folder / "identity" / "node.json").write_text(json.dumps({"node_id": NODE, "serial": "SSZ-1"}))
        (folder / "identity" / "key.pem").touch()
        (folder / "identity" / "cert.pem").touch()
    return folder / "node.toml"


@asynccontextmanager
async def running(config: Path) -> AsyncIterator[Probes]:
    """Run a node in this process; it is stopped in order at the end."""
    probes = Probes()
    settings = load_config(config)
    task = asyncio.create_task(run_agent(settings, load_identity(settings.data_dir / "identity"), find=probes.find))
    try:
        first = asyncio.create_task(probes.first.wait())
        await asyncio.wait({first, task}, return_when=asyncio.FIRST_COMPLETED)
        first.cancel()
        yield probes
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def status(folder: Path) -> dict[str, Any]:
    """Return the node's status.json, empty while there is none."""
    try:
        found: dict[str, Any] = json.loads((folder / "status.json").read_text())
    except FileNotFoundError:
        return {}
    return found


class NodeProcess:
    """`zone-agent run` as a process of its own, with the probe driver installed beside it."""

    def __init__(self, config: Path, env: Mapping[str, str] | None = None) -> None:
        self.folder = config.parent
        self._config = config
        self._env = dict(env or {})
        self._child: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *details: Any) -> None:
        await self.kill()

    async def start(self) -> None:
        with (self.folder / "agent.log").open("ab") as log:
            self._child = await asyncio.create_subprocess_exec(
                *[sys.executable, "-m", "firmware_agent", "run", "--config", str(self._config)],
                env={**os.environ, **self._env, "PYTHONPATH": str(_plugin(self.folder))},
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    @property
    def log(self) -> str:
        return (self.folder / "agent.log").read_text()

    async def kill(self) -> None:
        assert self._child is not None
        if self._child.returncode is None:
            self._child.kill()
        await self._child.wait()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self._child is not None
        self._child.send_signal(number)
        async with asyncio.timeout(10):
            return await self._child.wait()

    def press(self) -> None:
        with (self.folder / "presses").open("ab") as file:
            file.write(b"x")


def _plugin(folder: Path) -> Path:
    """Install the probe driver as a distribution of its own: that is all a driver from elsewhere needs."""
    site = folder / "site"
    info = site / "probe_driver-1.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: probe-driver\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[zone_agent.drivers]\nprobe = probe_driver:make\n")
    (site / "probe_driver.py").write_text((Path(__file__).parent / "probe_driver.py").read_text())
    return site
