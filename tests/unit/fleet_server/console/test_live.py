import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace

import pytest

from fleet_server.console import live
from fleet_server.console.facts import Viewer
from fleet_server.console.frame import DEMO_VISITOR, parts_of
from fleet_server.console.i18n import Language
from fleet_server.errors import Transient
from fleet_server.presence.model import State
from tests.unit.fleet_server.console.fakes import SESSION, STATION, FakeWorld

BOUND_S = 20


def request(
    view: str = "overview", *, subject: str = "", after: int = 0, viewer: Viewer = DEMO_VISITOR, language: Language = Language.ENGLISH
) -> live.Request:
    return live.Request(view=view, subject=subject, viewer=viewer, session=SESSION, language=language, after=after)


def stream(world: FakeWorld, wanted: live.Request, *, is_demo: bool = True) -> AsyncGenerator[str, None]:
    return parts_of(world.services(is_demo=is_demo), 0.02).feed.stream(wanted)


async def until(events: AsyncIterator[str], is_it: Callable[[str], bool]) -> str:
    async with asyncio.timeout(BOUND_S):
        async for event in events:
            if is_it(event):
                return event
    raise AssertionError("the stream ended")


def is_update(event: str) -> bool:
    return "event: update\n" in event


def test_events_are_written_as_the_standard_says() -> None:
    assert live.event("update", "a\nb", number=7) == "id: 7\nevent: update\ndata: a\ndata: b\n\n"
    assert live.event("tick", "5") == "event: tick\ndata: 5\n\n"
    assert live.event("update", "a\r\revent: bye\r\nb") == "event: update\ndata: a\ndata: \ndata: event: bye\ndata: b\n\n"


async def test_a_change_brings_the_piece_that_changed_and_no_other(world: FakeWorld) -> None:
    async with aclosing(stream(world, request())) as events:
        await until(events, is_update)
        world.set_state("TWN-P01-CAM", State.FAILED, "unreachable")
        event = await until(events, is_update)
    assert event.startswith("id: 1\n")
    assert 'id="position-TWN-P01-CAM" hx-swap-oob="true"' in event
    assert "No picture: the camera does not answer" in event
    assert 'id="position-TWN-P02-CAM"' not in event
    assert 'id="headline"' in event


async def test_time_passing_is_no_news(world: FakeWorld) -> None:
    async with aclosing(stream(world, request())) as events:
        await until(events, is_update)
        world.clock.wall_ms += 5_000
        seen = [await until(events, lambda _event: True) for _ in range(4)]
    assert all(event.startswith("event: tick\n") for event in seen)


async def test_ticks_carry_the_servers_time(world: FakeWorld) -> None:
    async with aclosing(stream(world, request())) as events:
        event = await until(events, lambda event: event.startswith("event: tick"))
    assert f"data: {world.clock.wall_ms}\n" in event


async def test_a_screen_reader_hears_presses_at_once_and_states_in_silence(world: FakeWorld) -> None:
    async with aclosing(stream(world, request(language=Language.THAI))) as events:
        await until(events, is_update)
        world.press(code="TWN-P02-SOS")
        event = await until(events, is_update)
        assert 'id="announce-urgent"' in event
        assert "มีการกดปุ่มฉุกเฉิน: ปุ่มฉุกเฉิน เสา 2" in event
        world.set_state("TWN-P03-LMP", State.FAILED)
        event = await until(events, is_update)
        assert "โคมไฟ เสา 3: ขัดข้อง" in event
        assert "announce-urgent" not in event


async def test_what_happened_between_the_page_and_its_feed_is_said_too(world: FakeWorld) -> None:
    world.press(code="TWN-P01-SOS")
    async with aclosing(stream(world, request(after=0))) as events:
        assert "Panic button pressed: Panic button, pole 1" in await until(events, is_update)
    async with aclosing(stream(world, request(after=1))) as events:
        assert "announce-urgent" not in await until(events, is_update)


async def test_many_changes_at_once_are_one_sentence(world: FakeWorld) -> None:
    async with aclosing(stream(world, request())) as events:
        await until(events, is_update)
        for code in list(world.by_code)[:6]:
            world.by_code[code] = replace(world.by_code[code], state=State.UNKNOWN)
        world.tell("position", "all")
        event = await until(events, is_update)
    assert "6 positions changed their state" in event


async def test_a_page_that_is_too_far_behind_loads_anew(world: FakeWorld) -> None:
    world.numbers = live.TOO_FAR_BEHIND + 10
    async with aclosing(stream(world, request(after=1))) as events:
        assert "event: reload" in await until(events, lambda event: "retry" not in event)


async def test_a_page_from_before_a_restored_database_loads_anew(world: FakeWorld) -> None:
    async with aclosing(stream(world, request(after=99))) as events:
        assert await until(events, lambda event: "event: reload" in event) == live.event("reload", "", number=0)


async def test_a_page_that_missed_what_was_purged_loads_anew(world: FakeWorld) -> None:
    world.numbers, world.kept_after = 9, 3
    async with aclosing(stream(world, request(after=2))) as events:
        assert await until(events, lambda event: "event: reload" in event) == live.event("reload", "", number=9)


async def test_a_page_whose_feed_was_too_slow_loads_anew(world: FakeWorld) -> None:
    async with aclosing(stream(world, request())) as events:
        await until(events, is_update)
        world.numbers, world.kept_after = 9, 3
        assert await until(events, lambda event: "event: reload" in event)


async def test_a_position_that_comes_or_goes_brings_the_list_and_not_the_page(world: FakeWorld) -> None:
    async with aclosing(stream(world, request())) as events:
        await until(events, is_update)
        world.by_code["NEW"] = replace(world.by_code["TWN-P01-CAM"], code="NEW")
        world.parts["NEW"] = world.parts["TWN-P01-CAM"]
        world.tell("position", "NEW")
        event = await until(events, is_update)
        assert 'id="list" hx-swap-oob="true"' in event
        assert event.count('id="position-NEW"') == 1
        assert 'id="position-NEW" hx-swap-oob' not in event
        del world.by_code["NEW"]
        world.tell("position", "NEW")
        event = await until(events, is_update)
    assert 'id="list" hx-swap-oob="true"' in event
    assert "position-NEW" not in event


async def test_an_empty_fleet_that_gets_its_first_position_need_not_be_loaded_anew(world: FakeWorld) -> None:
    camera = world.by_code["TWN-P01-CAM"]
    world.by_code.clear()
    async with aclosing(stream(world, request())) as events:
        assert "Nothing is registered here yet" in await until(events, is_update)
        world.by_code[camera.code] = camera
        world.tell("position", camera.code)
        event = await until(events, is_update)
    assert 'id="position-TWN-P01-CAM"' in event
    assert "Nothing is registered" not in event


async def test_a_unit_that_is_gone_loads_the_page_anew(world: FakeWorld) -> None:
    async with aclosing(stream(world, request("overview", subject="/gone/"))) as events:
        assert await until(events, lambda event: "event: reload" in event)


@pytest.mark.parametrize("view", ["position", "presses", "score"])
async def test_every_page_is_alive(world: FakeWorld, view: str) -> None:
    async with aclosing(stream(world, request(view, subject="TWN-P01-CAM?hour"))) as events:
        assert await until(events, is_update)


async def test_a_position_that_is_gone_loads_the_page_anew(world: FakeWorld) -> None:
    async with aclosing(stream(world, request("position", subject="GONE?"))) as events:
        assert await until(events, lambda event: "event: reload" in event)


async def test_the_feed_ends_with_the_session(world: FakeWorld) -> None:
    wanted = request(viewer=world.sessions[SESSION])
    async with aclosing(stream(world, wanted, is_demo=False)) as events:
        await until(events, is_update)
        world.log_out(SESSION)
        assert await until(events, lambda event: "event: bye" in event)


async def test_a_viewer_whose_scope_changed_is_sent_to_load_anew(world: FakeWorld) -> None:
    wanted = request(viewer=world.sessions[SESSION])
    async with aclosing(stream(world, wanted, is_demo=False)) as events:
        await until(events, is_update)
        world.sessions[SESSION] = Viewer("somchai", "auditor", STATION)
        assert await until(events, lambda event: "event: bye" in event)


async def test_streams_end_when_the_server_stops(world: FakeWorld) -> None:
    feed = parts_of(world.services(), 60).feed
    async with aclosing(feed.stream(request())) as events:
        await until(events, lambda event: event.startswith("event: tick"))
        feed.close()
        async with asyncio.timeout(BOUND_S):
            assert [event async for event in events] == []


async def test_a_database_that_is_away_ends_the_stream_so_that_the_page_notices(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_unit_path: str) -> None:
        raise Transient("the database does not answer")

    async with aclosing(stream(world, request())) as events:
        await until(events, is_update)
        monkeypatch.setattr(world, "positions", away)
        world.tell("position", "any")
        async with asyncio.timeout(BOUND_S):
            rest = [event async for event in events]
    assert not any(is_update(event) for event in rest)
