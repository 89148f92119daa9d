"""The console in a real browser: what it looks like is looked at by people, what it does is held here."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # it ships no types
from playwright.sync_api import Browser, BrowserContext, Page, expect

from fleet_server.presence.model import State
from tests.e2e.console.conftest import ConsoleServer
from tests.unit.fleet_server.console.fakes import LINK, PASSWORD, FakeWorld

PHONE = {"width": 360, "height": 740}
DESK = {"width": 1440, "height": 900}
PAGES = (
    "/",
    "/presses",
    "/score",
    "/positions/TWN-P01-CAM",
    "/positions/TWN-P01-CAM?span=day",
    "/design",
    "/login",
    f"/setup/{LINK}",
    "/nope",
)
BOUND_MS = 20_000

expect.set_options(timeout=BOUND_MS)


@contextmanager
def page_of(
    browser: Browser, *, size: Any = DESK, scheme: Literal["light", "dark"] = "light", language: str = "th", **options: Any
) -> Iterator[Page]:
    """Open a page that may not complain: an error in its console, or a refusal of the security policy, fails the test."""
    context: BrowserContext = browser.new_context(viewport=size, color_scheme=scheme, locale=language, **options)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if _is_complaint(message.type, message.text) else None)
    yield page
    context.close()
    assert complaints == []


def _is_complaint(kind: str, text: str) -> bool:
    is_expected = "net::ERR_" in text or "status of 40" in text or "status of 42" in text
    return kind in ("error", "warning") and not is_expected


def make_bad(world: FakeWorld) -> None:
    """Let everything that can be on the overview be on it."""
    world.set_state("TWN-P01-CAM", State.FAILED, "unreachable")
    world.set_state("TWN-P02-CAM", State.DEGRADED, "low_fps")
    world.set_state("TWN-P04-SOS", State.UNKNOWN, "node_offline")
    world.set_state("TWN-P01-LMP", State.MAINTENANCE)
    world.set_state("TWN-P02-LMP", State.EXCUSED)
    world.press(n=1)
    world.press(n=2, is_drill=True)


@pytest.mark.parametrize(
    ("size", "language", "scheme"),
    [(PHONE, "th", "light"), (PHONE, "en", "dark"), (DESK, "th", "dark"), (DESK, "en", "light")],
    ids=["phone-th-light", "phone-en-dark", "desk-th-dark", "desk-en-light"],
)
def test_every_page_is_accessible_and_fits(
    demo: ConsoleServer, browser: Browser, size: dict[str, int], language: str, scheme: Literal["light", "dark"]
) -> None:
    make_bad(demo.world)
    with page_of(browser, size=size, scheme=scheme, language=language) as page:
        for path in PAGES:
            page.goto(demo.url + path)
            expect(page.locator("h1").first).to_be_visible()
            found = Axe().run(page)
            assert found.violations_count == 0, f"{path}: {found.generate_report()}"
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= size["width"], f"{path} is {width} px wide"


def test_a_change_reaches_the_page_by_itself(demo: ConsoleServer, browser: Browser) -> None:
    with page_of(browser) as page:
        page.goto(demo.url)
        row = page.locator("#position-TWN-P01-CAM")
        expect(row).to_have_class(re.compile("row--working"))
        demo.world.set_state("TWN-P01-CAM", State.FAILED, "unreachable")
        expect(row).to_have_class(re.compile("row--failed"))
        expect(row).to_contain_text("ไม่มีภาพ กล้องไม่ตอบ")
        expect(page.locator("h1")).to_contain_text("ขัดข้อง 1 จาก 12 จุด")
        expect(page.locator("#announce-calm")).to_contain_text("ขัดข้อง")
        demo.world.set_state("TWN-P01-CAM", State.WORKING)
        expect(row).to_have_class(re.compile("row--working"))


def test_what_has_the_focus_keeps_it_when_it_is_replaced(demo: ConsoleServer, browser: Browser) -> None:
    with page_of(browser) as page:
        page.goto(demo.url)
        page.locator("#open-TWN-P01-CAM").focus()
        demo.world.set_state("TWN-P01-CAM", State.FAILED, "unreachable")
        expect(page.locator("#position-TWN-P01-CAM")).to_have_class(re.compile("row--failed"))
        expect(page.locator("#open-TWN-P01-CAM")).to_be_focused()


def test_a_press_stands_on_top_is_counted_in_the_title_and_is_taken_with_one_tap(demo: ConsoleServer, browser: Browser) -> None:
    with page_of(browser, size=PHONE) as page:
        page.goto(demo.url)
        press = demo.world.press(code="TWN-P02-SOS")
        open_press = page.locator(".press")
        expect(open_press).to_contain_text("ปุ่มฉุกเฉิน เสา 2")
        expect(open_press).to_be_in_viewport()
        expect(page).to_have_title(re.compile(r"^\(1\) "))
        expect(page.locator("#announce-urgent")).to_contain_text("มีการกดปุ่มฉุกเฉิน")
        box = open_press.get_by_role("button").bounding_box()
        assert box is not None
        assert box["height"] >= 48
        open_press.get_by_role("button").click()
        expect(open_press).to_have_count(0)
        expect(page).to_have_title(re.compile("^ภาพรวม"))
        assert demo.world.acknowledged == [(press.event_id, "demo")]
        expect(page.locator("#recent")).to_contain_text("demo รับเรื่องใน")


def test_the_panel_breaks_a_camera_and_the_page_follows(demo: ConsoleServer, browser: Browser) -> None:
    with page_of(browser, language="en") as page:
        page.goto(demo.url)
        page.get_by_role("button", name="Break: Camera, pole 1").click()
        expect(page.locator("#position-TWN-P01-CAM")).to_have_class(re.compile("row--failed"))
        assert demo.world.acted == [("kill_camera", "TWN-P01-CAM")]
        page.get_by_role("button", name="Restore: Camera, pole 1").click()
        expect(page.locator("#position-TWN-P01-CAM")).to_have_class(re.compile("row--working"))


def test_what_was_unfolded_stays_unfolded(demo: ConsoleServer, browser: Browser) -> None:
    with page_of(browser, language="en") as page:
        page.goto(demo.url)
        hidden = page.get_by_role("button", name="Break: Camera, pole 4")
        expect(hidden).to_be_hidden()
        page.locator("#more-2 summary").click()
        expect(hidden).to_be_visible()
        demo.world.set_state("TWN-P01-CAM", State.FAILED, "unreachable")
        expect(page.get_by_role("button", name="Restore: Camera, pole 1")).to_be_visible()
        expect(hidden).to_be_visible()


def test_a_page_that_lost_its_feed_says_so_loudly_and_recovers(demo: ConsoleServer, world: FakeWorld, browser: Browser) -> None:
    with page_of(browser) as page:
        page.goto(demo.url)
        page.evaluate("document.body.dataset.silenceMs = '2000'")
        expect(page.locator("#lost")).to_be_hidden()
        demo.stop()
        expect(page.locator("#lost")).to_be_visible(timeout=40_000)
        expect(page.locator("#lost")).to_contain_text("หน้านี้ขาดการติดต่อกับเซิร์ฟเวอร์")
        expect(page.locator("#lost-since")).to_contain_text("วินาที")
        again = ConsoleServer(world, is_demo=True, port=demo.port)
        try:
            world.set_state("TWN-P03-LMP", State.FAILED, "lamp_failure")
            expect(page.locator("#lost")).to_be_hidden(timeout=40_000)
            expect(page.locator("#position-TWN-P03-LMP")).to_have_class(re.compile("row--failed"))
        finally:
            again.stop()


def test_ages_tick_without_the_server(demo: ConsoleServer, browser: Browser) -> None:
    with page_of(browser, language="en") as page:
        page.goto(demo.url)
        age = page.locator("#headline time[data-age-ms]").first
        demo.stop()
        before = age.inner_text()
        expect(age).not_to_have_text(before)


@pytest.mark.parametrize("path", ["/", "/login", "/positions/TWN-P01-CAM"])
def test_the_focus_is_always_visible(demo: ConsoleServer, browser: Browser, path: str) -> None:
    demo.world.press()
    with page_of(browser) as page:
        page.goto(demo.url + path)
        seen: set[str] = set()
        for _ in range(40):
            page.keyboard.press("Tab")
            focus = page.evaluate(
                """() => { const e = document.activeElement; const s = getComputedStyle(e);
                   return {tag: e.tagName, id: e.outerHTML.slice(0, 80), outline: s.outlineStyle, width: parseFloat(s.outlineWidth)} }"""
            )
            if focus["tag"] == "BODY":
                break
            seen.add(focus["id"])
            assert focus["outline"] == "solid", focus
            assert focus["width"] >= 2, focus
        assert len(seen) >= 3


def test_pages_work_without_scripts(real: ConsoleServer, browser: Browser) -> None:
    make_bad(real.world)
    with page_of(browser, language="en", java_script_enabled=False) as page:
        page.goto(real.url + "/presses")
        page.get_by_label("User name").fill("somchai")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        expect(page).to_have_url(real.url + "/presses")
        page.get_by_role("button", name="Acknowledge: Panic button, pole 2").first.click()
        expect(page).to_have_url(real.url + "/presses")
        expect(page.locator("#answered")).to_contain_text("Acknowledged by somchai")
        page.goto(real.url + "/")
        expect(page.locator("#position-TWN-P01-CAM")).to_contain_text("Check the camera's power and its cable")


def test_logging_out_ends_what_is_on_other_tabs(real: ConsoleServer, browser: Browser) -> None:
    with page_of(browser, language="en") as page:
        page.goto(real.url + "/login")
        page.get_by_label("User name").fill("somchai")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        expect(page.locator("#headline")).to_be_visible()
        other = page.context.new_page()
        other.goto(real.url + "/account")
        other.get_by_role("button", name="Log out").click()
        expect(page).to_have_url(re.compile("/login"))


def test_the_other_language_is_one_tap_away(demo: ConsoleServer, browser: Browser) -> None:
    with page_of(browser, size=PHONE, language="th") as page:
        page.goto(demo.url + "/score")
        page.get_by_role("link", name="English").click()
        expect(page.locator("html")).to_have_attribute("lang", "en")
        page.goto(demo.url)
        expect(page.locator("h1")).to_have_text("All 12 positions work")


def test_sound_is_unlocked_by_a_tap_and_says_whether_it_is_on(demo: ConsoleServer, browser: Browser) -> None:
    with page_of(browser, language="en") as page:
        page.goto(demo.url)
        button = page.get_by_role("button", name="Alarm sound")
        expect(button).to_have_attribute("aria-pressed", "false")
        button.click()
        expect(button).to_have_attribute("aria-pressed", "true")
        button.click()
        expect(button).to_have_attribute("aria-pressed", "false")


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_only_a_real_press_moves_and_only_for_who_likes_it(
    demo: ConsoleServer, browser: Browser, motion: Literal["reduce", "no-preference"]
) -> None:
    make_bad(demo.world)
    with page_of(browser, reduced_motion=motion) as page:
        page.goto(demo.url)
        moving: Callable[[], Any] = lambda: page.evaluate(  # noqa: E731  # a name for what is asked twice
            "document.getAnimations().map(a => a.effect.target.closest('[data-press]')?.hasAttribute('data-drill'))"
        )
        assert moving() == ([] if motion == "reduce" else [False])
