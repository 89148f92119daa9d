from pathlib import Path

import pytest

from hil.bench.installation import Reading, parse_figures
from hil.bench.latency import percentiles
from hil.bench.processes import Used, machine, used
from hil.bench.server_alone import bytes_per_device_and_day
from hil.bench.whole_path import _compare


def test_figures_are_read_by_name_and_label() -> None:
    text = '# HELP x y\nssz_a_total 3.0\nssz_cpu_seconds_total{task="presence"} 1.5e-2\n\nnonsense\n'
    assert parse_figures(text) == {"ssz_a_total": 3.0, 'ssz_cpu_seconds_total{task="presence"}': 0.015}


def test_processor_time_is_shared_out_by_hundred_thousand_heartbeats() -> None:
    def reading(seconds: float, heartbeats: float) -> Reading:
        tasks = {"event-loop": seconds / 2, "ingest-writer": seconds / 4, "presence": seconds / 8}
        figures = {f'ssz_cpu_seconds_total{{task="{name}"}}': value for name, value in tasks.items()}
        return Reading({"server": Used(seconds, 100.0)}, {**figures, "ssz_ingest_device_heartbeats_total": heartbeats})

    found = _compare(reading(1.0, 0), reading(9.0, 400_000), 40.0)

    assert found["device_heartbeats_per_s"] == 10_000
    assert found["cpu_s_per_100k"] == {"server": 2.0}
    assert found["server_cpu_s_per_100k_by_task"] == {"event-loop": 1.0, "ingest-writer": 0.5, "presence": 0.25}
    assert found["ingest_cpu_s_per_100k"] == 1.5


def test_percentiles_of_few_are_the_middle_and_the_worst() -> None:
    assert percentiles([]) is None
    assert percentiles([5.0, 1.0, 3.0]) == {"p50_ms": 3.0, "p99_ms": 5.0}


def test_bytes_are_counted_for_a_device_heard_of_every_ten_seconds() -> None:
    before, after = {"database": 1000, "influxdb": 0}, {"database": 11_000, "influxdb": 0}
    assert bytes_per_device_and_day(before, after, 100) == {"database": 864_000}


def test_a_process_that_is_gone_uses_nothing() -> None:
    assert used(2**22 + 1) == Used(0.0, 0.0)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="as Linux counts")
def test_this_process_uses_memory() -> None:
    import os

    assert used(os.getpid()).rss_mb > 1
    assert int(machine()["cores"]) >= 1
