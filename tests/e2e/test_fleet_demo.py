"""`fleet demo` as a program and a person use it: its report, its sad starts, its ends, and its second run."""

import asyncio
import json
import signal
import time
from pathlib import Path
from typing import Any

from hil.demo import layout
from hil.demo.fleet import FleetApi
from hil.demo.report import PARTS
from hil.scenarios.programs import program
from hil.scenarios.waiting import until
from tests.e2e.demo import Demo, demo


async def test_report_of_a_whole_run(whole_run: Demo) -> None:
    ready = await whole_run.ready()
    assert_ready(ready, whole_run.folder)
    status, said, error = await whole_run.end()
    assert status == 0, (said, error)
    assert whole_run.family() == []
    assert_report(json.loads(whole_run.report_file.read_text()))


def assert_ready(ready: dict[str, Any], folder: Path) -> None:
    assert ready.keys() == {
        *("console_url", "est_url", "device_url", "mqtt", "ca_file", "admin", "api_token_file", "spare_claims", "data_dir")
    }
    assert ready["console_url"].startswith("http://127.0.0.1:")
    assert ready["est_url"].startswith("https://127.0.0.1:")
    assert "/.well-known" not in ready["est_url"]
    assert ready["device_url"] is None
    assert ready["mqtt"].keys() == {"host", "port"}
    assert Path(ready["data_dir"]) == folder
    assert len(ready["spare_claims"]) == 3
    assert all(claim.keys() == {"serial", "code"} for claim in ready["spare_claims"])
    for path in (ready["ca_file"], ready["api_token_file"], ready["admin"]["password_file"]):
        assert Path(path).read_text()


def assert_report(report: dict[str, Any]) -> None:
    assert list(report) == ["nodes", "heartbeats", "positions", "presses", "innovation", "timeline"]
    assert [node["serial"] for node in report["nodes"]] == list(layout.NODES)
    assert all(node.keys() == {"node", "serial", "certificate_serial", "online"} and node["online"] is True for node in report["nodes"])
    heartbeats = report["heartbeats"]
    assert heartbeats.keys() == {"sent", "stored", "lost"}
    assert heartbeats["lost"] == 0
    assert 0 < heartbeats["stored"] <= heartbeats["sent"]
    assert [position["position"] for position in report["positions"]] == [position.code for position in layout.POSITIONS]
    for position in report["positions"]:
        assert_position(position)
    presses = report["presses"]
    assert all(press.keys() == {"event_id", "latency_ms", "drill"} for press in presses)
    assert sorted(press["drill"] for press in presses) == [False, True, True, True]
    assert all(press["latency_ms"] >= 0 for press in presses)
    assert_innovation(report)


def assert_position(position: dict[str, Any]) -> None:
    assert position.keys() == {"position", "kind", "state", "uptime"}
    assert position["state"] == "working"
    uptime = position["uptime"]
    assert list(uptime) == ["commissioned_s", *(f"{part}_s" for part in PARTS)]
    assert sum(round(uptime[f"{part}_s"] * 1000) for part in PARTS) == round(uptime["commissioned_s"] * 1000)
    assert uptime["working_s"] > 0
    if position["kind"] == "camera":
        assert uptime["failed_s"] + uptime["unknown_s"] > 15, "it was dead for half a minute"


def assert_innovation(report: dict[str, Any]) -> None:
    innovation = report["innovation"]
    assert innovation.keys() == {"types", "count", "score"}
    types = {each["type"]: each for each in innovation["types"]}
    assert all(each.keys() == {"type", "working", "commissioned", "counts"} for each in innovation["types"])
    counting = {name for name, each in types.items() if each["counts"]}
    assert counting == {"cctv", "panic_button", "street_light"}
    assert {name: types[name]["commissioned"] for name in counting} == {"cctv": 4, "panic_button": 3, "street_light": 4}
    assert innovation["count"] == 3
    timeline = report["timeline"]
    assert all(moment.keys() == {"at_s", "what", "innovation_count"} for moment in timeline)
    counts = [moment["innovation_count"] for moment in timeline]
    assert [count for count, before in zip(counts, [None, *counts], strict=False) if count != before] == [3, 2, 3]
    dead = next(moment["at_s"] for moment in timeline if moment["innovation_count"] == 2)
    back = next(moment["at_s"] for moment in reversed(timeline) if moment["what"] == "innovation count changed")
    assert 30 < dead < 60 < back < 90


async def refusal(*arguments: str) -> str:
    """Start a demo that cannot start; return its one sentence."""
    child = await asyncio.create_subprocess_exec(
        *[str(program("fleet")), "demo", *arguments], stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        _, error = await child.communicate()
    assert child.returncode == 1
    lines = error.decode().strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


async def second_copy_is_refused(folder: Path) -> None:
    assert f"A demo runs in {folder} already: stop it first" in await refusal("--data", str(folder))


async def taken_port_is_refused(folder: Path, ready: dict[str, Any]) -> None:
    port = ready["console_url"].rpartition(":")[2]
    sentence = await refusal("--data", str(folder.parent / "other"), "--http-port", port)
    assert f"Port {port} (http) is taken by another program: name another one with --http-port." in sentence


async def folder_that_cannot_be_written_is_refused(folder: Path) -> None:
    in_the_way = folder.parent / "a-file"
    in_the_way.touch()
    assert f"The data folder {in_the_way} cannot be written" in await refusal("--data", str(in_the_way))
    assert "cannot be written" in await refusal("--data", "/proc/no-such-folder")


async def test_killed_demo_leaves_nothing_behind_and_ctrl_c_ends_it_in_order(whole_run: Demo) -> None:
    """Both with the folder of the whole run: identities and history go on."""
    await whole_run.end()
    folder = whole_run.folder
    before = remembered(folder)
    with demo(folder) as run:
        ready = await run.ready()
        kept = await history(ready)
        assert len(kept) >= 4
        assert len(run.family()) >= 4
        await second_copy_is_refused(folder)
        await taken_port_is_refused(folder, ready)
        await folder_that_cannot_be_written_is_refused(folder)
        run.send(signal.SIGKILL)
        await until(lambda: run.family() == [], "all that the killed demo had started is gone", within_s=5)
    with demo(folder) as run:
        ready = await run.ready()
        assert remembered(folder) == before
        assert kept <= await history(ready)
        began_s = time.monotonic()
        run.send(signal.SIGINT)
        status, _, _ = await run.end()
        assert status == 0
        assert time.monotonic() - began_s < 5
        assert run.family() == []


def remembered(folder: Path) -> dict[str, bytes]:
    """Return what must stay from run to run: CAs, certificates of the nodes."""
    paths = [folder / "server" / "pki" / "root.pem", *(folder / "nodes" / serial / "identity" / "cert.pem" for serial in layout.NODES)]
    return {str(path): path.read_bytes() for path in paths}


async def history(ready: dict[str, Any]) -> set[str]:
    """Return the presses that the server knows."""
    async with FleetApi(ready["console_url"], read_token(ready)) as api:
        return {press["event_id"] for press in await api.all("/presses")}


def read_token(ready: dict[str, Any]) -> str:
    return Path(ready["api_token_file"]).read_text().strip()
