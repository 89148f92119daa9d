"""The outbox on a card that is really full."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware_agent.contract.ids import BootId, NodeId
from firmware_agent.outbox.model import Limits, StorageFailed
from firmware_agent.outbox.store import Store
from tests.small_disk import fill, small_disk
from tests.unit.firmware_agent.drafts import heartbeat, press
from tests.unit.firmware_agent.outbox.damage import spoil

NODE = NodeId("0b5e9a34-5c1d-4f0e-9c67-3c2f5d1a7e10")


@pytest.fixture
def card(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "card") as folder:
        yield folder


def test_press_gets_in_on_a_full_disk(card: Path) -> None:
    store = Store(card / "outbox.db", node=NODE, boot=BootId("b1"), limits=Limits(max_bytes=200 * 1024 * 1024, ballast_bytes=400_000))
    made = 0
    filler = (card / "filler").open("wb", buffering=0)
    for _ in range(50):
        store.put_heartbeat(heartbeat(padding=3000))
        made += 1
    with pytest.raises(OSError, match="No space"):
        fill(filler)
    presses = []
    for _ in range(50):
        presses.append(store.put_event(press()).event_id)
        try:
            store.put_heartbeat(heartbeat(padding=3000))
            made += 1
        except StorageFailed:
            continue
    filler.close()
    assert [e.event_id for e in store.events()] == presses
    count = store.counts().streams[-1]
    assert count.made == made == count.acked + count.held + count.evicted
    store._db.close()
    again = Store(card / "outbox.db", node=NODE, boot=BootId("b1"), limits=Limits(ballast_bytes=0))
    assert [e.event_id for e in again.events()] == presses
    again.close()


def test_agent_starts_on_a_full_disk(card: Path) -> None:
    limits = Limits(ballast_bytes=400_000)
    store = Store(card / "outbox.db", node=NODE, boot=BootId("b1"), limits=limits)
    pressed = store.put_event(press()).event_id
    store.close()
    with (card / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space"):
        fill(filler)
    again = Store(card / "outbox.db", node=NODE, boot=BootId("b2"), limits=limits)
    more = again.put_event(press()).event_id
    assert [e.event_id for e in again.events()] == [pressed, more]
    again.close()


def test_damaged_outbox_keeps_its_events_until_there_is_room_for_a_new_one(card: Path) -> None:
    limits = Limits(ballast_bytes=0)
    store = Store(card / "outbox.db", node=NODE, boot=BootId("b1"), limits=limits)
    pressed = store.put_event(press()).event_id
    store.close()
    spoil(card / "outbox.db")
    with (card / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space"):
        fill(filler)
    with pytest.raises(StorageFailed, match="cannot be opened"):
        Store(card / "outbox.db", node=NODE, boot=BootId("b2"), limits=limits)
    (card / "filler").unlink()
    again = Store(card / "outbox.db", node=NODE, boot=BootId("b2"), limits=limits)
    assert [e.event_id for e in again.events()] == [pressed]
    again.close()
