import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hil.__main__ import app
from hil.bench.bench import QUICK, bench
from hil.bench.installation import Parts
from hil.bench.table import as_text


@pytest.mark.timeout(280)
def test_the_small_bench_measures_everything_and_loses_nothing(tmp_path: Path) -> None:
    report = asyncio.run(bench(QUICK, Parts(False, False, False), tmp_path / "bench", say=lambda _: None))

    for place in ("station", "fleet"):
        load = report[place]["load"]
        assert load["swarm"]["lost"] == load["swarm"]["heartbeats_held"] == 0
        assert load["idle"]["press"]["missed"] == load["press_under_load"]["missed"] == 0
        assert load["time_series"]["dead_letters"] == 0
        assert load["bad_messages"] == 0
        assert report[place]["rebuild"] is None or report[place]["rebuild"]["is_same"]
    assert report["station"]["agent"]["core"]["rss_mb"] > 1
    assert "heartbeats lost" in as_text(json.loads(json.dumps(report)))


@pytest.mark.timeout(200)
def test_a_swarm_brings_its_own_server_and_accounts_for_every_heartbeat(tmp_path: Path) -> None:
    out = tmp_path / "swarm.json"
    arguments = ["swarm", "--embedded", "--nodes", "5", "--devices", "4", "--rate", "20", "--duration", "3", "--out", str(out)]

    result = CliRunner().invoke(app, [*arguments, "--data", str(tmp_path / "world")])

    assert result.exit_code == 0, result.output
    account = json.loads(out.read_text())
    assert account["heartbeats_made"] == account["heartbeats_stored"] == 15
    assert account["lost"] == account["heartbeats_held"] == 0
