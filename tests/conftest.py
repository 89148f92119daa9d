"""Fixtures for all tests: real servers on free loopback ports. `tests/servers/README.md` says how to use them."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers.chromium import Chromium, find_chromium
from tests.servers.influxdb import Influx, InfluxServer
from tests.servers.mosquitto import Mosquitto, find_mosquitto
from tests.servers.not_run import Unavailable, not_run, summary
from tests.servers.postgres import Cluster, find_postgres


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = summary(config)
    if lines:
        terminalreporter.section("not run")
        for line in lines:
            terminalreporter.write_line(line, yellow=True)


@pytest.fixture(scope="session")
def mosquitto_program(pytestconfig: pytest.Config) -> Path:
    """The path of the program `mosquitto`."""
    try:
        return find_mosquitto()
    except Unavailable as error:
        not_run(pytestconfig, "Mosquitto", str(error))


@pytest.fixture
def start_mosquitto(mosquitto_program: Path, tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """Start brokers: `start_mosquitto(config=None)`; `{port}` and `{folder}` in the configuration text are filled in."""
    brokers: list[Mosquitto] = []
    numbers = itertools.count(1)

    def start(config: str | None = None) -> Mosquitto:
        folder = tmp_path / f"mosquitto-{next(numbers)}"
        folder.mkdir()
        broker = Mosquitto(mosquitto_program, folder, config)
        brokers.append(broker)
        broker.start()
        return broker

    yield start
    for broker in brokers:
        broker.kill()


@pytest.fixture
def mosquitto(start_mosquitto: Callable[..., Mosquitto]) -> Mosquitto:
    """One plain anonymous broker."""
    return start_mosquitto()


@pytest.fixture(scope="session")
def postgres_cluster(pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """A PostgreSQL of our own."""
    try:
        cluster = Cluster(find_postgres())
        cluster.start()
    except Unavailable as error:
        not_run(pytestconfig, "PostgreSQL", str(error))
    yield cluster
    cluster.close()


@pytest.fixture
def postgres_url(postgres_cluster: Cluster) -> Iterator[str]:
    """SQLAlchemy's URL of a new empty database; it is dropped afterwards, with whoever is still connected."""
    name = postgres_cluster.create()
    yield postgres_cluster.url(name)
    postgres_cluster.drop(name)


@pytest.fixture(scope="session")
def influxdb_server(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxServer]:
    """An InfluxDB 2; tests take `influxdb`."""
    try:
        server = InfluxServer.get(tmp_path_factory.mktemp("influxdb"))
    except Unavailable as error:
        not_run(pytestconfig, "InfluxDB", str(error))
    yield server
    server.close()


@pytest.fixture
def influxdb(influxdb_server: InfluxServer) -> Iterator[Influx]:
    """Address, organisation and token of empty buckets of this test's own."""
    influx = influxdb_server.create()
    yield influx
    influxdb_server.remove(influx)


@pytest.fixture(scope="session")
def chromium(pytestconfig: pytest.Config) -> Chromium:
    """The browser: `playwright.chromium.launch(**chromium.launch_options)`."""
    try:
        return find_chromium()
    except Unavailable as error:
        not_run(pytestconfig, "browser", str(error))
