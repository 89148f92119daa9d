import hashlib
import json
import re
from pathlib import Path

import httpx
import pytest

from fleet_server.console.assets import ASSET_DIR, Assets
from fleet_server.console.pages import TEMPLATE_DIR

TEMPLATES = sorted(TEMPLATE_DIR.rglob("*.html"))


def test_foreign_files_are_what_the_sources_say() -> None:
    for source in json.loads((ASSET_DIR / "sources.json").read_text()):
        assert hashlib.sha256((ASSET_DIR / source["file"]).read_bytes()).hexdigest() == source["sha256"], source["file"]


def test_every_file_is_ours_or_has_a_source() -> None:
    ours = {"tokens.css", "console.css", "console.js", "marks.svg", "favicon.svg", "LICENSES.md", "sources.json"}
    foreign = {source["file"] for source in json.loads((ASSET_DIR / "sources.json").read_text())}
    files = {path.relative_to(ASSET_DIR).as_posix() for path in ASSET_DIR.rglob("*") if path.is_file()}
    assert {name for name in files if not name.startswith("licences/")} == ours | foreign


@pytest.mark.parametrize("path", [*TEMPLATES, ASSET_DIR / "tokens.css", ASSET_DIR / "console.css", ASSET_DIR / "console.js"], ids=str)
def test_nothing_is_fetched_from_elsewhere_and_nothing_is_inline(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"(?:https?:)?//[a-z0-9]", re.sub(r"(?m)^\s*//.*$", "", text))
    if path.suffix == ".html":
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*src=)|javascript:", text)


def test_every_icon_and_mark_that_is_used_exists() -> None:
    names = set(re.findall(r'id="([\w-]+)"', (ASSET_DIR / "icons.svg").read_text() + (ASSET_DIR / "marks.svg").read_text()))
    text = "".join(path.read_text() for path in TEMPLATES)
    assert {f"icon-{name}" for name in re.findall(r"icon\('([\w-]+)'\)", text)} <= names
    assert {f"mark-{name}" for name in re.findall(r"mark\('([\w-]+)'", text)} <= names


async def test_files_are_served_for_ever_under_an_address_of_their_content(demo: httpx.AsyncClient) -> None:
    url = Assets().url("console.css")
    answer = await demo.get(url)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-encoding"] == "gzip"
    old = await demo.get("/assets/000000000000/console.css", headers={"accept-encoding": "identity"})
    assert (old.status_code, old.headers["cache-control"]) == (200, "no-cache")
    assert old.content == answer.content


@pytest.mark.parametrize("name", ["nothing.css", "..%2fpages.py", "sources.json", "%2e%2e/pages.py"])
async def test_only_known_files_are_served(demo: httpx.AsyncClient, name: str) -> None:
    assert (await demo.get(f"/assets/x/{name}")).status_code == 404
