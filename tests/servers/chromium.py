"""A real browser for tests, driven by Playwright."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.servers.not_run import Unavailable

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass(frozen=True, slots=True)
class Chromium:
    """The browser's program and the arguments that keep it quiet and off the network."""

    path: Path
    arguments: tuple[str, ...] = _ARGUMENTS

    @property
    def launch_options(self) -> dict[str, Any]:
        """What to give to Playwright: `playwright.chromium.launch(**chromium.launch_options)`."""
        return {"executable_path": str(self.path), "args": list(self.arguments), "headless": True}


def find_chromium() -> Chromium:
    """Return the browser: `SSZ_TEST_CHROMIUM`, else what is installed.

    Raises:
        Unavailable: there is none.
    """
    for name in (os.environ.get("SSZ_TEST_CHROMIUM", ""), *_NAMES):
        found = shutil.which(name) if name else None
        if found:
            return Chromium(Path(found))
    raise Unavailable("no Chromium is installed (Debian: chromium)")
