"""Drafts and stores for the tests of the agent."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firmware_agent.contract.ids import BootId, NodeId
from firmware_agent.outbox.model import Limits
from firmware_agent.outbox.store import Store

NODE = NodeId("0b5e9a34-5c1d-4f0e-9c67-3c2f5d1a7e10")
OpenStore = Callable[..., Store]


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[OpenStore]:
    """Open the outbox of this test: `open_store(boot="boot-1", limits=None, hardware="pi-1")`; all are closed at the end."""
    opened: list[Store] = []

    def open_one(boot: str = "boot-1", *, limits: Limits | None = None, hardware: str = "pi-1") -> Store:
        store = Store(tmp_path / "outbox.db", node=NODE, boot=BootId(boot), limits=limits or Limits(ballast_bytes=0), hardware=hardware)
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        store._db.close()
