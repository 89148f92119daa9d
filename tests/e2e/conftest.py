"""Set-ups for worlds of real processes; `hil/scenarios` has the worlds."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import libfaketime  # type: ignore[import-untyped]  # it ships no types
import pytest

from hil.scenarios.programs import faketime_environment, free_port
from hil.scenarios.setup import Influx, Setup
from tests.e2e.demo import Demo, demo

FakeTime = Callable[[str], tuple[dict[str, str], Path]]


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """`fleet demo --exit-after 90 --json …`, begun when it is first asked for."""
    folder = tmp_path_factory.mktemp("demo") / "data"
    with demo(folder, "--http-port", str(free_port()), "--exit-after", "90") as run:
        yield run


@pytest.fixture(scope="session")
def while_the_demo_runs(request: pytest.FixtureRequest) -> None:
    """For light tests: where the demo is tested too, begin it now, so that its 90 s pass meanwhile."""
    if any("whole_run" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("whole_run")


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
