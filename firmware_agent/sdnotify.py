"""What systemd wants to hear: READY, STATUS, WATCHDOG, STOPPING. Silent where there is no systemd.

Source: sd_notify(3).
"""

import os
import socket
from collections.abc import Mapping


def watchdog_interval_s(environment: Mapping[str, str] = os.environ) -> float | None:
    """Return how often to feed the watchdog (half of `WatchdogSec`), None when there is none."""
    text = environment.get("WATCHDOG_USEC", "")
    return int(text) / 2_000_000 if text.isdigit() and int(text) > 0 else None


def notify(state: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Send a state such as `READY=1`; return whether somebody listens."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(1.0)
            sock.sendto(state.encode(), address)
    except OSError:
        return False
    return True
