"""The outbox as the event loop sees it, above all when the card does not take anything."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from firmware_agent.contract import messages
from firmware_agent.contract.ids import BootId, NodeId
from firmware_agent.contract.messages import VERSION, Ack, Heartbeat
from firmware_agent.outbox.model import Counts, Limits, OutboxBusy, StorageFailed, StoredEvent
from firmware_agent.outbox.outbox import Outbox, open_outbox
from firmware_agent.outbox.store import Store
from tests.unit.firmware_agent.drafts import heartbeat, press

NODE = NodeId("0b5e9a34-5c1d-4f0e-9c67-3c2f5d1a7e10")


class FailingStore(Store):
    """A card that refuses writes while `is_broken`."""

    is_broken = False
    is_uncountable = False

    def put_heartbeat(self, draft: Heartbeat) -> Any:
        self._fail()
        return super().put_heartbeat(draft)

    def put_event(self, draft: Any) -> Any:
        self._fail()
        return super().put_event(draft)

    def keep_event(self, event: Any) -> None:
        self._fail()
        super().keep_event(event)

    def remember(self, channel: str, key: str, value: str | None) -> None:
        self._fail()
        super().remember(channel, key, value)

    def events(self) -> list[StoredEvent]:
        if self.is_broken:
            raise sqlite3.DatabaseError("disk I/O error")
        return super().events()

    def counts(self) -> Counts:
        if self.is_uncountable:
            raise sqlite3.DatabaseError("disk I/O error")
        return super().counts()

    def _fail(self) -> None:
        if self.is_broken:
            raise StorageFailed("The outbox cannot be written: disk I/O error")


@pytest.fixture
async def outbox(tmp_path: Path) -> AsyncIterator[Outbox]:
    found = await open_outbox(make, tmp_path, NODE)
    yield found
    await found.aclose()


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the machine's memory."""
    folder = tmp_path / "memory"
    folder.mkdir()
    monkeypatch.setattr("firmware_agent.outbox.outbox._SHARED_MEMORY", folder)
    return folder


def names_in(folder: Path) -> list[str]:
    return [each.name for each in folder.iterdir()]


def make(path: Path) -> Store:
    return FailingStore(path, node=NODE, boot=BootId("b1"), limits=Limits(ballast_bytes=0))


def break_card(outbox: Outbox, *, is_broken: bool = True) -> None:
    store = outbox._store
    assert isinstance(store, FailingStore)
    store.is_broken = is_broken


async def test_node_with_a_dead_card_still_speaks_without_using_a_number_twice(outbox: Outbox) -> None:
    good = await outbox.put_heartbeat(heartbeat())
    break_card(outbox)
    one, two = await outbox.put_heartbeat(heartbeat()), await outbox.put_heartbeat(heartbeat())
    assert outbox.failure
    assert one.stream == two.stream != good.stream
    assert [messages.decode(Heartbeat, h.body).floor for h in (one, two)] == [1, 2]
    break_card(outbox, is_broken=False)
    again = await outbox.put_heartbeat(heartbeat())
    assert (again.stream, again.seq) == (good.stream, 2)
    assert outbox.failure == ""


async def test_press_on_a_dead_card_is_sent_and_stored_later(outbox: Outbox, tmp_path: Path) -> None:
    break_card(outbox)
    event = await outbox.put_event(press())
    assert await outbox.events() == [event]
    await outbox.save_rescued()
    break_card(outbox, is_broken=False)
    await outbox.save_rescued()
    assert outbox._store.events() == [event]
    assert await outbox.events() == [event]
    await outbox.apply(Ack(VERSION, events=[event.event_id]))
    assert await outbox.events() == []


async def test_press_acknowledged_before_it_was_stored_is_done(outbox: Outbox) -> None:
    break_card(outbox)
    event = await outbox.put_event(press())
    await outbox.apply(Ack(VERSION, events=[event.event_id]))
    break_card(outbox, is_broken=False)
    await outbox.save_rescued()
    assert await outbox.events() == []


async def test_press_that_is_stored_is_not_made_again_because_the_books_cannot_be_read(outbox: Outbox) -> None:
    store = outbox._store
    assert isinstance(store, FailingStore)
    store.is_uncountable = True
    event = await outbox.put_event(press())
    store.is_uncountable = False
    assert await outbox.events() == [event]


async def test_books_follow_each_act(outbox: Outbox) -> None:
    stored = await outbox.put_heartbeat(heartbeat())
    await outbox.put_event(press())
    assert (outbox.counts.heartbeats_held, outbox.counts.events_held) == (1, 1)
    await outbox.apply(Ack(VERSION, stored.stream, 1))
    assert outbox.counts.heartbeats_held == 0


async def test_memory_is_at_once_and_survives(tmp_path: Path) -> None:
    first = await open_outbox(make, tmp_path, NODE)
    first.remember("btn-1", "x", "1")
    assert first.recall("btn-1", "x") == "1"
    await first.put_result("c1", b"{}")
    await first.aclose()
    second = await open_outbox(make, tmp_path, NODE)
    assert (second.recall("btn-1", "x"), second.result_of("c1"), second.result_of("c2")) == ("1", b"{}", None)
    second.remember("btn-1", "x", None)
    assert second.recall("btn-1", "x") is None
    await second.aclose()


async def test_what_the_card_refused_to_remember_is_remembered_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    outbox = await open_outbox(make, tmp_path, NODE)
    break_card(outbox)
    for value in ("1", "2"):
        outbox.remember("btn-1", "proof", value)
    outbox.remember("btn-1", "other", None)
    await outbox.events()
    break_card(outbox, is_broken=False)
    await outbox.save_rescued()
    await outbox.aclose()
    again = await open_outbox(make, tmp_path, NODE)
    assert (again.recall("btn-1", "proof"), again.recall("btn-1", "other")) == ("2", None)
    assert not any(record.exc_info for record in caplog.records), "a line for each, not a page"
    await again.aclose()


@pytest.mark.parametrize("damage", ["folder", "no parent"])
async def test_card_that_cannot_be_used_is_replaced_by_memory(tmp_path: Path, memory: Path, damage: str) -> None:
    """A card that has gone read-only must not silence a panic button, nor each start of the agent take more memory."""
    if damage == "folder":
        (tmp_path / "outbox.db").mkdir()
        folder = tmp_path
    else:
        (tmp_path / "file").touch()
        folder = tmp_path / "file"
    events = []
    for _ in range(2):
        outbox = await open_outbox(make, folder, NODE)
        events.append(await outbox.put_event(press()))
        await outbox.put_heartbeat(heartbeat())
        assert await outbox.events() == events
        assert "kept in memory only" in outbox.failure
        assert outbox._store._pages("max_page_count") * outbox._store._pages("page_size") == 32 * 2**20
        await outbox.aclose()
    assert names_in(memory) == [f"zone-agent-{NODE}"]


@pytest.mark.parametrize("mode", [0o755, None])
async def test_folder_in_memory_that_others_may_enter_is_not_used(tmp_path: Path, memory: Path, mode: int | None) -> None:
    squatted = memory / f"zone-agent-{NODE}"
    if mode is None:
        squatted.symlink_to(tmp_path)
    else:
        squatted.mkdir(mode=mode)
    (tmp_path / "outbox.db").mkdir()
    outbox = await open_outbox(make, tmp_path, NODE)
    await outbox.put_event(press())
    await outbox.aclose()
    assert mode is None or names_in(squatted) == []
    assert len(names_in(memory)) == 2


async def test_second_agent_is_refused(tmp_path: Path) -> None:
    first = await open_outbox(make, tmp_path, NODE)
    with pytest.raises(OutboxBusy, match="only one may run"):
        await open_outbox(make, tmp_path, NODE)
    await first.aclose()


async def test_card_that_cannot_be_read_does_not_stop_the_node(outbox: Outbox) -> None:
    break_card(outbox)
    assert await outbox.events() == []
    assert outbox.failure == "The outbox cannot be read: disk I/O error"
    assert await outbox.held() == []
