import re
from dataclasses import replace

import httpx
import pytest

from firmware_agent.contract.vocabulary import Kind
from fleet_server.console.facts import Unit, Viewer, Zone
from fleet_server.errors import Transient
from fleet_server.presence.model import State
from tests.unit.fleet_server.console.fakes import LINK, PASSWORD, SESSION, FakeWorld

PAGES = ("/", "/presses", "/score", "/positions/TWN-P01-CAM", "/design", "/api", "/login", f"/setup/{LINK}")
READ_PAGES = ("/", "/presses", "/score", "/positions/TWN-P01-CAM", "/account")


def logged_in(client: httpx.AsyncClient) -> httpx.AsyncClient:
    client.cookies.set("ssz_session", SESSION)
    return client


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("language", ["th", "en"])
async def test_pages_render_in_both_languages(demo: httpx.AsyncClient, path: str, language: str) -> None:
    answer = await demo.get(path, params={"lang": language})
    assert answer.status_code == 200
    assert f'<html lang="{language}">' in answer.text
    assert answer.headers["cache-control"] == "no-store"
    words = re.sub(r"<[^>]+>", "", answer.text)
    if language == "en":
        assert not re.search(r"[\u0e00-\u0e7f]", words.replace("ไทย", "").replace("เทศบาลตัวอย่าง", "").replace("บริษัทตัวอย่าง", ""))


async def test_pages_are_packed_for_those_who_can_unpack(demo: httpx.AsyncClient) -> None:
    async with demo.stream("GET", "/", headers={"accept-encoding": "gzip"}) as packed:
        size = sum([len(part) async for part in packed.aiter_raw()])
    plain = await demo.get("/", headers={"accept-encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert size < len(plain.content) / 4


async def test_the_language_is_kept(demo: httpx.AsyncClient) -> None:
    assert 'lang="th"' in (await demo.get("/")).text
    await demo.get("/", params={"lang": "en"})
    assert '<html lang="en">' in (await demo.get("/")).text


async def test_the_overview_says_in_words_what_is_wrong_since_when_and_what_to_do(demo: httpx.AsyncClient, world: FakeWorld) -> None:
    world.set_state("TWN-P01-CAM", State.FAILED, "unreachable")
    text = re.sub(r"<[^>]+>", "", (await demo.get("/", params={"lang": "th"})).text)
    assert "ขัดข้อง 1 จาก 12 จุด" in text
    assert "ไม่มีภาพ กล้องไม่ตอบ" in text
    assert "09:25 น." in text
    assert "ตรวจไฟเลี้ยงและสายของกล้อง" in text


@pytest.mark.parametrize("path", ["/", "/positions/TWN-P01-LMP"])
async def test_maintenance_is_shown_with_its_reason_and_since_when(demo: httpx.AsyncClient, world: FakeWorld, path: str) -> None:
    world.set_state("TWN-P01-LMP", State.MAINTENANCE, "new <b>lamp</b>")
    page = (await demo.get(f"{path}?lang=en")).text
    for text in ("Under approved maintenance", "Reason: new &lt;b&gt;lamp&lt;/b&gt;", "since "):
        assert text in page
    assert "Reported cause" not in page
    assert "เหตุผล: new" in (await demo.get(f"{path}?lang=th")).text


async def test_the_overview_shows_criterion_3_with_and_without_cameras(demo: httpx.AsyncClient, world: FakeWorld) -> None:
    assert "of 10 points, types that count: 3" in (await demo.get("/", params={"lang": "en"})).text
    for position in list(world.by_code.values()):
        if position.kind is Kind.CAMERA:
            world.set_state(position.code, State.FAILED, "unreachable")
    text = (await demo.get("/", params={"lang": "en"})).text
    assert "of 10 points, types that count: 2" in text
    assert "<b>does not count</b> 0 of 4 working" in text


@pytest.mark.parametrize(("role", "words"), [("administrator", "fleet import units units.csv"), ("auditor", "Ask the administrator.")])
async def test_an_empty_fleet_teaches_those_who_can_fill_it(real: httpx.AsyncClient, world: FakeWorld, role: str, words: str) -> None:
    world.by_code.clear()
    world.node_list.clear()
    world.sessions[SESSION] = Viewer("somchai", role, "/")
    text = (await logged_in(real).get("/", params={"lang": "en"})).text
    assert "Nothing is registered here yet" in text
    assert "No node is enrolled yet." in text
    assert words in text


def add_station(world: FakeWorld) -> None:
    """Give the fleet a second station with a zone and two cameras, one of them broken."""
    path = "/tsb/t1/jantra/"
    world.unit_list.append(Unit(path, "สถานีตำรวจจันทรา", "Jantra Station"))
    world.zone_list.append(Zone("JAN", "ตลาดจันทรา", "Jantra Market", path))
    for code, state in (("JAN-P01-CAM", State.FAILED), ("JAN-P02-CAM", State.WORKING)):
        world.by_code[code] = replace(world.by_code["TWN-P01-CAM"], code=code, unit_path=path, zone_code="JAN", state=state)
        world.parts[code] = world.parts["TWN-P01-CAM"]


async def test_several_stations_are_shown_as_such_with_only_what_needs_somebody(demo: httpx.AsyncClient, world: FakeWorld) -> None:
    add_station(world)
    text = (await demo.get("/", params={"lang": "en"})).text
    assert 'href="/?unit=/tsb/t1/jantra/">Jantra Station</a>' in text
    assert "all working" in text
    assert "Only positions that need somebody are listed." in text
    assert "JAN-P01-CAM · Jantra Market" in text
    assert 'id="position-JAN-P02-CAM"' not in text
    assert "5 of 6 working" in text


async def test_a_unit_has_an_address_of_its_own(demo: httpx.AsyncClient, world: FakeWorld) -> None:
    add_station(world)
    text = (await demo.get("/", params={"lang": "en", "unit": "/tsb/t1/jantra/"})).text
    assert "<title>Jantra Station · Smart Safety Zone</title>" in text
    assert "1 of 2 positions failed" in text
    assert 'id="position-JAN-P02-CAM"' in text
    assert 'id="position-TWN-P01-CAM"' not in text
    assert 'data-subject="/tsb/t1/jantra/"' in text


@pytest.mark.parametrize("unit", ["/tsb/t1/jantra/", "/tsb/", "nonsense", "/nope/"])
async def test_a_unit_outside_the_scope_is_not_there(real: httpx.AsyncClient, world: FakeWorld, unit: str) -> None:
    add_station(world)
    assert (await logged_in(real).get("/", params={"unit": unit})).status_code == 404


async def test_presses_of_the_whole_scope_stand_on_every_units_page(demo: httpx.AsyncClient, world: FakeWorld) -> None:
    add_station(world)
    world.press(code="TWN-P02-SOS")
    text = (await demo.get("/", params={"lang": "en", "unit": "/tsb/t1/jantra/"})).text
    assert "press__kicker" in text


async def test_a_press_says_where_and_leads_there(demo: httpx.AsyncClient, world: FakeWorld) -> None:
    world.press(code="TWN-P02-SOS")
    text = (await demo.get("/presses", params={"lang": "en"})).text
    assert 'href="/positions/TWN-P02-SOS">Panic button, pole 2</a>' in text
    assert '<span class="press__zone">Tawan Road (example zone)</span>' in text


async def test_a_program_that_took_a_press_is_called_one(demo: httpx.AsyncClient, world: FakeWorld) -> None:
    press = world.press()
    world.press_list[0] = replace(press, acknowledged_at_ms=press.stored_at_ms + 300, acknowledged_by="token:dispatch")
    text = (await demo.get("/presses", params={"lang": "en"})).text
    assert "Acknowledged by the program dispatch after less than 1 s" in text


async def test_time_of_too_many_positions_is_not_added_up_and_the_page_says_so(
    demo: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet_server.console.overview.MAX_POOLED", 11)
    assert "too many positions to add up at one look" in (await demo.get("/", params={"lang": "en"})).text


async def test_labels_from_outside_cannot_become_markup(demo: httpx.AsyncClient, world: FakeWorld) -> None:
    code = "TWN-P01-CAM"
    object.__setattr__(world.by_code[code], "label_th", '<script>alert("x")</script>')
    text = (await demo.get("/", params={"lang": "th"})).text
    assert "<script>alert" not in text
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize("path", READ_PAGES)
async def test_without_a_login_a_real_fleet_shows_only_the_way_to_it(real: httpx.AsyncClient, path: str) -> None:
    answer = await real.get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/login?next={path}")
    assert "TWN" not in answer.text


async def test_the_login_leads_back_to_the_very_view(real: httpx.AsyncClient) -> None:
    answer = await real.get("/positions/TWN-P01-CAM", params={"span": "week"})
    assert answer.headers["location"] == "/login?next=/positions/TWN-P01-CAM%3Fspan%3Dweek"
    page = await real.get(answer.headers["location"])
    assert 'name="back" value="/positions/TWN-P01-CAM?span=week"' in page.text


async def test_the_other_language_shows_the_very_view(demo: httpx.AsyncClient) -> None:
    text = (await demo.get("/positions/TWN-P01-CAM", params={"lang": "th", "span": "week"})).text
    assert 'href="/positions/TWN-P01-CAM?span=week&amp;lang=en"' in text


async def test_the_other_language_keeps_the_way_back_after_a_wrong_password(real: httpx.AsyncClient) -> None:
    answer = await real.post("/login", data={"user": "somchai", "password": "guess", "back": "/score"})
    assert 'href="/login?next=%2Fscore&amp;lang=en"' in answer.text


@pytest.mark.parametrize("path", READ_PAGES)
async def test_with_a_login_a_real_fleet_shows_its_pages(real: httpx.AsyncClient, path: str) -> None:
    answer = await logged_in(real).get(path)
    assert answer.status_code == 200
    assert "somchai" in answer.text
    assert "/demo/act" not in answer.text


async def test_the_feed_of_a_real_fleet_needs_a_login_too(real: httpx.AsyncClient) -> None:
    answer = await real.get("/live", params={"view": "overview"}, headers={"accept": "text/event-stream"})
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_feed_of_no_page(demo: httpx.AsyncClient) -> None:
    assert (await demo.get("/live", params={"view": "secrets"})).status_code == 404


@pytest.mark.parametrize("path", ["//evil.example/", "//evil.example", "///evil.example"])
async def test_pages_of_odd_addresses_lead_nowhere_else(demo: httpx.AsyncClient, path: str) -> None:
    page = await demo.get(httpx.URL("http://fleet").copy_with(raw_path=path.encode()))
    assert page.status_code == 404
    assert "evil.example" not in page.text


async def test_feed_from_a_number_that_cannot_be_begins_anew(demo: httpx.AsyncClient) -> None:
    answer = await demo.get("/live", params={"view": "overview", "after": 10**9}, headers={"Last-Event-ID": "9" * 5000})
    assert (answer.status_code, "event: reload" in answer.text) == (200, True)


async def test_logging_in_leads_back_and_out_again(real: httpx.AsyncClient) -> None:
    answer = await real.post("/login", data={"user": "somchai", "password": PASSWORD, "back": "/score"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/score")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert (await real.get("/account")).status_code == 200
    await real.post("/logout")
    assert (await real.get("/account")).status_code == 303


async def test_a_wrong_password_keeps_the_user_name_and_says_so(real: httpx.AsyncClient) -> None:
    answer = await real.post("/login", data={"user": "somchai", "password": "guess", "back": "/"}, params={"lang": "en"})
    assert answer.status_code == 401
    assert "User name or password is wrong." in answer.text
    assert 'value="somchai"' in answer.text
    assert "guess" not in answer.text


@pytest.mark.parametrize("back", ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "evil", ""])
async def test_a_login_never_leads_to_another_site(real: httpx.AsyncClient, back: str) -> None:
    answer = await real.post("/login", data={"user": "somchai", "password": PASSWORD, "back": back})
    assert answer.headers["location"] == "/"


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
    ],
)
@pytest.mark.parametrize("path", ["/login", "/logout", "/demo/act", "/presses/x/acknowledge", f"/setup/{LINK}"])
async def test_other_sites_cannot_act(demo: httpx.AsyncClient, world: FakeWorld, path: str, headers: dict[str, str]) -> None:
    data = {"user": "somchai", "password": PASSWORD, "again": PASSWORD, "name": "press"}
    answer = await logged_in(demo).post(path, data=data, headers=headers)
    assert answer.status_code == 403
    assert world.acted == []
    assert LINK in world.links
    assert SESSION in world.sessions


async def test_a_one_time_link_sets_the_password_once(real: httpx.AsyncClient) -> None:
    page = await real.get(f"/setup/{LINK}", params={"lang": "en"})
    assert "Account: somchai" in page.text
    assert page.headers["referrer-policy"] == "no-referrer"
    answer = await real.post(f"/setup/{LINK}", data={"password": PASSWORD, "again": PASSWORD})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?done=true")
    again = await real.get(f"/setup/{LINK}", params={"lang": "en"})
    assert again.status_code == 410
    assert "This link was used already" in again.text
    assert "<input" not in again.text


@pytest.mark.parametrize(
    ("password", "again", "words"),
    [("short", "short", "at least 12 characters"), (PASSWORD, PASSWORD + "!", "not the same")],
)
async def test_a_bad_password_does_not_spend_the_link(
    real: httpx.AsyncClient, world: FakeWorld, password: str, again: str, words: str
) -> None:
    answer = await real.post(f"/setup/{LINK}", data={"password": password, "again": again}, params={"lang": "en"})
    assert answer.status_code == 422
    assert words in answer.text
    assert LINK in world.links


async def test_a_spent_link_leads_to_the_login(real: httpx.AsyncClient) -> None:
    assert '<a href="/login">' in (await real.get("/setup/spent")).text


async def test_an_account_sees_its_unit_by_name(real: httpx.AsyncClient) -> None:
    text = (await logged_in(real).get("/account", params={"lang": "en"})).text
    assert "Tawan Station (example)" in text
    assert "Command centre operator" in text


async def test_acknowledging_a_press(real: httpx.AsyncClient, world: FakeWorld) -> None:
    press = world.press()
    assert "/acknowledge" in (await logged_in(real).get("/")).text
    answer = await real.post(f"/presses/{press.event_id}/acknowledge", data={"back": "/presses"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/presses")
    assert world.acknowledged == [(press.event_id, "somchai")]
    assert "/acknowledge" not in (await real.get("/")).text


async def test_acknowledging_with_the_feed_alive_needs_no_answer(real: httpx.AsyncClient, world: FakeWorld) -> None:
    press = world.press()
    answer = await logged_in(real).post(f"/presses/{press.event_id}/acknowledge", headers={"hx-request": "true"})
    assert (answer.status_code, answer.text) == (204, "")


async def test_nobody_acknowledges_without_a_login(real: httpx.AsyncClient, world: FakeWorld) -> None:
    press = world.press()
    answer = await real.post(f"/presses/{press.event_id}/acknowledge", params={"lang": "en"})
    assert answer.status_code == 401
    assert "You are not logged in, or no longer" in answer.text
    assert 'href="/login"' in answer.text
    assert world.acknowledged == []


async def test_a_script_is_told_what_happened_in_plain_words(real: httpx.AsyncClient) -> None:
    headers = {"hx-request": "true", "accept": "*/*"}
    answer = await real.post("/presses/none/acknowledge", headers=headers, params={"lang": "en"})
    assert (answer.status_code, answer.headers["content-type"]) == (401, "text/plain; charset=utf-8")
    assert answer.text.strip() == "You are not logged in, or no longer. Log in, then do it again."
    answer = await logged_in(real).post("/presses/none/acknowledge", headers=headers, params={"lang": "th"})
    assert answer.status_code == 404
    assert answer.text.startswith("ไม่พบหน้านี้")


async def test_in_the_demo_a_visitor_acknowledges(demo: httpx.AsyncClient, world: FakeWorld) -> None:
    press = world.press()
    await demo.post(f"/presses/{press.event_id}/acknowledge")
    assert world.acknowledged == [(press.event_id, "demo")]


async def test_a_drill_is_marked_wherever_it_appears(demo: httpx.AsyncClient, world: FakeWorld) -> None:
    world.press(is_drill=True)
    text = (await demo.get("/", params={"lang": "th"})).text
    assert "press--drill" in text
    assert "data-drill" in text
    assert text.count("ทดสอบ") >= 3


async def test_acts_of_the_panel_reach_the_demo(demo: httpx.AsyncClient, world: FakeWorld) -> None:
    answer = await demo.post("/demo/act", data={"name": "kill_camera", "target": "TWN-P01-CAM"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/#demo")
    assert world.acted == [("kill_camera", "TWN-P01-CAM")]
    assert (await demo.post("/demo/act", data={"name": "burn", "target": ""})).status_code == 400


async def test_a_real_fleet_has_nothing_to_break(real: httpx.AsyncClient, world: FakeWorld) -> None:
    assert (await logged_in(real).post("/demo/act", data={"name": "kill_camera", "target": "TWN-P01-CAM"})).status_code == 404
    assert world.acted == []


async def test_every_answer_carries_the_security_headers(demo: httpx.AsyncClient) -> None:
    for path in ("/", "/nope", "/login", "/assets/x/console.css"):
        headers = (await demo.get(path)).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["x-frame-options"] == "DENY"


async def test_people_get_problems_as_pages_and_programs_as_json(demo: httpx.AsyncClient) -> None:
    page = await demo.get("/positions/NOPE", params={"lang": "en"})
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "There is no such page" in page.text
    assert "there is no position NOPE" in page.text
    program = await demo.get("/positions/NOPE", headers={"accept": "application/json"})
    assert program.headers["content-type"] == "application/problem+json"
    assert (await demo.get("/api/v1/nope")).headers["content-type"] == "application/problem+json"


async def test_an_error_page_knows_who_looks(real: httpx.AsyncClient) -> None:
    text = (await logged_in(real).get("/nope", params={"lang": "en"})).text
    assert 'href="/account"' in text
    assert "Log in" not in text


async def test_an_address_that_takes_no_such_request_is_not_called_a_defect(demo: httpx.AsyncClient) -> None:
    answer = await demo.get("/logout", params={"lang": "en"})
    assert answer.status_code == 405
    assert "That request could not be understood" in answer.text
    assert "POST" in answer.headers["allow"]


async def test_while_the_database_is_away_a_page_says_so_and_tries_again_by_itself(
    real: httpx.AsyncClient, world: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise Transient("the database does not answer")

    monkeypatch.setattr(world, "viewer", away)
    answer = await logged_in(real).get("/", params={"lang": "en"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "Not possible right now" in answer.text
    assert '<meta http-equiv="refresh" content="10">' in answer.text


async def test_a_shared_address_has_a_preview_that_gives_nothing_away(real: httpx.AsyncClient) -> None:
    text = (await real.get("/login", params={"lang": "en"})).text
    assert '<meta property="og:title" content="Log in">' in text
    assert 'property="og:description" content="Cameras, panic buttons and street lights' in text


async def test_programs_find_what_they_can_ask_for(demo: httpx.AsyncClient) -> None:
    assert "/api/v1/openapi.json" in (await demo.get("/api")).text


async def test_a_missing_field_is_said_in_plain_words(demo: httpx.AsyncClient) -> None:
    answer = await demo.post("/login", data={"user": "somchai"}, params={"lang": "en"})
    assert answer.status_code == 422
    assert "Something is missing or out of bounds" in answer.text


@pytest.mark.parametrize("span", ["minutes", "hour", "day", "week", "", "century"])
async def test_a_position_over_any_span(demo: httpx.AsyncClient, span: str) -> None:
    answer = await demo.get("/positions/TWN-P01-CAM", params={"span": span, "lang": "en"})
    assert answer.status_code == 200
    assert "10 pictures a second" in answer.text
    assert "1 min 30 s" in answer.text
