"""The report for people: one line for each figure, with what was promised. Pure."""

from collections.abc import Iterator
from typing import Any, NamedTuple


class Line(NamedTuple):
    """One figure."""

    name: str
    value: str
    target: str = ""


def lines(report: dict[str, Any]) -> list[Line]:
    """Return the figures of a report in their order."""
    return [*_whole_path(report["fleet"]), *_presses(report["fleet"]["load"]), *_server(report), *_node(report["station"])]


def as_text(report: dict[str, Any]) -> str:
    """Write the table."""
    found = lines(report)
    wide = [max(len(line[place]) for line in found) for place in range(2)]
    machine = report["machine"]
    head = (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, Python {machine['python']};"
        f" load before {machine['load_before']:.1f}, after {machine['load_after']:.1f}\n{report['fleet']['load']['parts']}\n"
    )
    return head + "\n".join(f"{line.name:<{wide[0]}}  {line.value:>{wide[1]}}  {line.target}".rstrip() for line in found)


def _whole_path(fleet: dict[str, Any]) -> Iterator[Line]:
    load = fleet["load"]
    yield Line(
        "device-heartbeats per second", f"{load['device_heartbeats_per_s']:.0f}", f"of {load['wanted_device_heartbeats_per_s']:.0f} sent"
    )
    yield Line("heartbeats lost", str(load["swarm"]["lost"]), "0")
    yield Line("CPU-s per 100,000: ingest", f"{load['ingest_cpu_s_per_100k']:.2f}", "≤ 1.0 (event loop and journal writer)")
    yield Line("the same while it is watched", f"{load['watched']['ingest_cpu_s_per_100k']:.2f}", "presses, a browser and a program beside")
    for name, value in load["cpu_s_per_100k"].items():
        yield Line(f"CPU-s per 100,000: {name}, all of it", f"{value:.2f}")
    for name, value in load["rss_mb"].items():
        yield Line(f"memory of {name}, MB", f"{value:.0f}")
    series = load["time_series"]
    yield Line("time series behind at the end, s", f"{series['lag_s_at_end']:.1f}")
    yield Line("bytes per device and day", ", ".join(f"{name} {value}" for name, value in load["bytes_per_device_and_day"].items()))


def _presses(load: dict[str, Any]) -> Iterator[Line]:
    for when, found in (("idle", load["idle"]["press"]), ("under load", load["press_under_load"])):
        for what in ("stored", "told", "shown"):
            times = found[what]
            if times is not None:
                yield Line(f"press → {what}, {when}: p50 / p99 ms", f"{times['p50_ms']:.0f} / {times['p99_ms']:.0f}")
        if found["missed"]:
            yield Line(f"presses not shown in 30 s, {when}", str(found["missed"]), "0")


def _server(report: dict[str, Any]) -> Iterator[Line]:
    cold = report["cold_start"]
    yield Line("cold start to ready, s", f"{cold['ready_s']:.2f}", f"< 2; {cold['ratio_to_bare_import']:.1f} × {cold['bare_import']}")
    for place in ("station", "fleet"):
        for name, page in report[place]["pages"].items():
            yield Line(f"page {name}, {place}: ms", f"{page['ms']:.0f}", f"{page['kb']:.0f} kB")
        made = report[place]["rebuild"]
        if made is not None:
            yield Line(f"ledger made again, {place}: heartbeats/s", str(made["heartbeats_per_s"]))


def _node(station: dict[str, Any]) -> Iterator[Line]:
    agent = station["agent"]
    yield Line("agent without video: MB", f"{agent['core']['rss_mb']:.1f}", "≤ 48")
    yield Line("agent without video: % of a core", f"{agent['core']['cpu_percent_of_a_core']:.2f}", "≤ 0.5")
    for name, used in agent["with_one_camera"].items():
        yield Line(f"with a camera, {name}: MB", f"{used['rss_mb']:.1f}", f"{used['cpu_percent_of_a_core']:.2f} % of a core")
