"""A real Mosquitto for a test, with the configuration that the test gives."""

import os
import shutil
import signal
from pathlib import Path
from typing import Final

from tests.servers.not_run import Unavailable
from tests.servers.process import ServerProcess, free_port, is_listening


def find_mosquitto() -> Path:
    """Return the program.

    Raises:
        Unavailable: it is not installed.
    """
    found = shutil.which("mosquitto", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))
    if not found:
        raise Unavailable("the program mosquitto is not installed (Debian: mosquitto)")
    return Path(found)


PLAIN: Final = """\
listener {port} 127.0.0.1
allow_anonymous true
max_queued_messages 100000
set_tcp_nodelay true
"""
"""The default of 1000 queued messages drops what a slow subscriber has not read yet, without a word."""


class Mosquitto:
    """One broker process; `port` is where its first listener listens."""

    def __init__(self, program: Path, folder: Path, config: str | None = None) -> None:
        """Prepare it; `{port}` and `{folder}` in `config` are filled in. Without `config`: one anonymous plain listener."""
        self.port: Final = free_port()
        self.folder: Final = folder
        self.config_file: Final = folder / "mosquitto.conf"
        text = config if config is not None else PLAIN
        text = text.replace("{port}", str(self.port)).replace("{folder}", str(folder))
        if os.geteuid() == 0 and "\nuser " not in f"\n{text}":
            text = f"user root\n{text}"  # else it becomes another user, who cannot read the test's files
        self.config_file.write_text(text)
        self._process = ServerProcess("mosquitto", [program, "-c", self.config_file], log=folder / "mosquitto.log")

    @property
    def host(self) -> str:
        """Where it listens."""
        return "127.0.0.1"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has said so far."""
        return self._process.log.read_text(errors="replace")

    def start(self) -> None:
        """Start it (again) and wait until it listens."""
        self._process.start(is_ready=lambda: is_listening(self.port))

    def stop(self) -> None:
        """Stop it in order (SIGTERM: it saves its sessions)."""
        self._process.stop()

    def kill(self) -> None:
        """Stop it as a power cut would."""
        self._process.kill()

    def restart(self) -> None:
        """Stop it in order and start it again on the same port."""
        self.stop()
        self.start()

    def reload(self) -> None:
        """Let it read its configuration, CRL and ACL again (SIGHUP). It does so at some later moment."""
        self._process.send(signal.SIGHUP)
