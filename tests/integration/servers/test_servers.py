"""The test servers themselves: they start, are apart from test to test, and what is missing is said."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import psycopg
import pytest
from sqlalchemy import create_engine, text

from tests.servers.chromium import Chromium
from tests.servers.influxdb import BUCKETS, Influx
from tests.servers.mosquitto import Mosquitto
from tests.servers.process import is_listening


def test_mosquitto_stops_and_comes_back_on_the_same_port(mosquitto: Mosquitto) -> None:
    mosquitto.kill()
    assert not is_listening(mosquitto.port)
    mosquitto.start()
    assert is_listening(mosquitto.port)


def test_mosquitto_says_why_it_does_not_start(start_mosquitto: Callable[..., Mosquitto]) -> None:
    with pytest.raises(RuntimeError, match="no_such_option"):
        start_mosquitto("listener {port} 127.0.0.1\nno_such_option 1\n")


@pytest.mark.parametrize("round_", [1, 2])
def test_each_test_has_an_empty_database(postgres_url: str, round_: int) -> None:
    engine = create_engine(postgres_url)
    with engine.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")).scalar_one() == 0
        connection.execute(text("CREATE TABLE thing (id int)"))
    engine.dispose()


def test_a_database_with_open_connections_is_dropped_all_the_same(postgres_url: str) -> None:
    plain = postgres_url.replace("+psycopg", "")
    connection = psycopg.connect(plain)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    # left open on purpose: the fixture's DROP … WITH (FORCE) ends it
    connection.close()


@pytest.mark.parametrize("round_", [1, 2])
def test_each_test_has_buckets_of_its_own(influxdb: Influx, round_: int) -> None:
    headers = {"Authorization": f"Token {influxdb.token}"}
    with httpx.Client(base_url=influxdb.url, headers=headers, timeout=30.0) as http:
        names = [b["name"] for b in http.get("/api/v2/buckets", params={"org": influxdb.org, "limit": 100}).json()["buckets"]]
        assert set(BUCKETS) <= set(names)
        query = {"db": "fleet", "rp": "hot", "q": "SELECT count(v) FROM heartbeat"}
        assert "series" not in http.get("/query", params=query).json()["results"][0]
        http.post("/api/v2/write", params={"org": influxdb.org, "bucket": "fleet/hot"}, content=b"heartbeat v=1").raise_for_status()
        assert http.get("/query", params=query).json()["results"][0]["series"][0]["values"][0][1] == 1


def test_the_browser_starts(chromium: Chromium) -> None:
    said = subprocess.run([chromium.path, *chromium.arguments, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    assert "hrom" in said


def test_what_cannot_be_had_is_said_apart_and_fails_in_ci(pytester_run: Callable[..., str]) -> None:
    assert "not run: Mosquitto — the program mosquitto is not installed" in pytester_run(ci="")
    assert "1 skipped" in pytester_run(ci="")
    assert "1 error" in pytester_run(ci="true")


WITHOUT_MOSQUITTO = """
import types
import tests.servers.mosquitto
tests.servers.mosquitto.shutil = types.SimpleNamespace(which=lambda *a, **k: None)
from tests.conftest import *
"""


@pytest.fixture
def pytester_run(tmp_path: Path) -> Callable[..., str]:
    """Run a test that needs Mosquitto in a world without one."""
    (tmp_path / "conftest.py").write_text(WITHOUT_MOSQUITTO)
    (tmp_path / "test_needs_it.py").write_text("def test_it(mosquitto): pass\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib -p no:cacheprovider\n")

    def run(*, ci: str) -> str:
        argv = [sys.executable, "-m", "pytest", str(tmp_path)]
        return subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, "CI": ci}, timeout=120).stdout

    return run
