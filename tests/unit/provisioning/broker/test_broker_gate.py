"""The gate's listening socket; what it lets in is the broker's conformance suite (`tests/ports/broker`)."""

import socket
import ssl
from types import SimpleNamespace
from typing import Any, cast

import pytest

from provisioning.broker.embedded import gate as module
from provisioning.broker.embedded.gate import Gate
from provisioning.broker.embedded.router import Router
from provisioning.broker.embedded.settings import EmbeddedSettings


async def test_small_packets_do_not_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """An acknowledgement would be held back for the 40 ms until the client confirms the packet before it."""
    monkeypatch.setattr(module, "load_trust", lambda _: SimpleNamespace(context=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)))
    settings: Any = SimpleNamespace(host="127.0.0.1", port=0, connect_timeout_s=10.0)
    gate = Gate(cast("EmbeddedSettings", settings), cast("Router", None))
    port = await gate.start()
    listening = gate._socket
    assert listening is not None
    try:
        with socket.create_connection(("127.0.0.1", port)):
            listening.setblocking(True)
            with listening.accept()[0] as accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    finally:
        gate.stop()
        listening.close()
