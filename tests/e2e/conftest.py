"""Set-ups for worlds of real processes; `hil/scenarios` has the worlds."""

import sys
from collections.abc import Callable
from pathlib import Path

import libfaketime  # type: ignore[import-untyped]  # it ships no types
import pytest

from hil.scenarios.programs import faketime_environment
from hil.scenarios.setup import Influx, Setup

FakeTime = Callable[[str], tuple[dict[str, str], Path]]


@pytest.fixture
def real(mosquitto_program: Path, request: pytest.FixtureRequest) -> Setup:
    """Mosquitto, PostgreSQL and InfluxDB."""
    influxdb = request.getfixturevalue("influxdb")
    influx = Influx(influxdb.url, influxdb.org, influxdb.token)
    return Setup(is_mosquitto=True, database_url=str(request.getfixturevalue("postgres_url")), influx=influx)


@pytest.fixture(params=["embedded", "real"])
def setup(request: pytest.FixtureRequest) -> Setup:
    """Both set-ups."""
    found = Setup() if request.param == "embedded" else request.getfixturevalue("real")
    assert isinstance(found, Setup)
    return found


@pytest.fixture
def faketime(tmp_path: Path) -> FakeTime:
    """Make a wall clock: `environment, stamp = faketime("+7200")`; write another time into `stamp` to set it."""
    if sys.platform != "linux":
        pytest.skip("libfaketime is preloaded")
    library = Path(libfaketime.__file__).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"

    def make(time: str) -> tuple[dict[str, str], Path]:
        stamp = tmp_path / f"clock-{len(list(tmp_path.glob('clock-*')))}"
        stamp.write_text(time)
        return faketime_environment(library, stamp), stamp

    return make
