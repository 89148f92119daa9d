"""Pebble, a real ACME server for tests; `python -m tests.servers.pebble_server` builds it once (Go, under a minute).

Looked for: the program `pebble` on PATH, then the one built earlier into the cache.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.servers.not_run import Unavailable
from tests.servers.process import ServerProcess, free_port, is_listening

_HERE: Final = Path(__file__).parent / "pebble"
_TOOL: Final = "github.com/letsencrypt/pebble/v2/cmd/pebble"
_HOW: Final = "build it once (needs Go) with: python -m tests.servers.pebble_server"


def cached_program() -> Path:
    """Return where the built program is kept: outside the clone, named by what it was built from."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256((_HERE / "go.sum").read_bytes()).hexdigest()[:16]
    return cache / "smart-safety-zone" / f"pebble-{digest}" / "pebble"


def find_program() -> Path:
    """Return the program.

    Raises:
        Unavailable: there is none.
    """
    on_path = shutil.which("pebble")
    if on_path:
        return Path(on_path)
    if os.access(cached_program(), os.X_OK):
        return cached_program()
    raise Unavailable(f"no pebble on PATH or in the cache; {_HOW}")


def build() -> Path:
    """Build the program into the cache, once, even when several processes ask.

    Raises:
        Unavailable: Go is missing or the build failed.
    """
    program = cached_program()
    if not shutil.which("go"):
        raise Unavailable("no pebble, and it cannot be built without go")
    program.parent.mkdir(parents=True, exist_ok=True)
    with (program.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            part = program.with_suffix(".part")
            command: list[str | Path] = ["go", "build", "-trimpath", "-o", part, _TOOL]
            result = subprocess.run(command, cwd=_HERE, capture_output=True, text=True, check=False, timeout=1200)
            if result.returncode:
                raise Unavailable(f"building pebble failed: {result.stderr.strip()[-300:]}")
            part.replace(program)
    return program


class Pebble:
    """One ACME server that asks for challenges at `challenge_port` of 127.0.0.1."""

    def __init__(
        self, folder: Path, certificate: Path, key: Path, *, challenge_port: int, life_s: int = 7_776_000, refused_percent: int = 0
    ) -> None:
        """`certificate` and `key` are of its own https; `life_s` is how long the certificates it issues are good.

        `refused_percent` of all requests are refused for their nonce, at random.
        """
        self.port: Final = free_port()
        self.url: Final = f"https://127.0.0.1:{self.port}/dir"
        config = {
            "pebble": {
                "listenAddress": f"127.0.0.1:{self.port}",
                "managementListenAddress": "",
                "certificate": str(certificate),
                "privateKey": str(key),
                "httpPort": challenge_port,
                "tlsPort": free_port(),
                "ocspResponderURL": "",
                "externalAccountBindingRequired": False,
                "profiles": {"default": {"description": "for tests", "validityPeriod": life_s}},
            }
        }
        file = folder / "pebble.json"
        file.write_text(json.dumps(config))
        # No random waits, and nonces refused at random only where a test asks for it: both are what Pebble does to keep clients honest.
        env = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_AUTHZREUSE": "0", "PEBBLE_WFE_NONCEREJECT": str(refused_percent)}
        self._process = ServerProcess("pebble", [find_program(), "-config", file], log=folder / "pebble.log", env=env)

    @property
    def log(self) -> str:
        """What it has said so far."""
        return self._process.log.read_text(errors="replace")

    def start(self) -> None:
        """Start it and wait until it listens."""
        self._process.start(is_ready=lambda: is_listening(self.port))

    def stop(self) -> None:
        """End it."""
        self._process.stop()


def main() -> int:
    """Make sure that tests will find one; say which."""
    try:
        found = str(shutil.which("pebble") or build())
    except Unavailable as error:
        sys.stderr.write(f"[servers] Pebble: {error}\n")
        return 1
    sys.stderr.write(f"[servers] Pebble: {found}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
