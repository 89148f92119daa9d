"""Each broker with a PKI of its own; one for all tests of a module, and a fresh one for those that stop it."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from provisioning.broker.embedded.adapter import EmbeddedBroker
from provisioning.broker.mosquitto import MosquittoBroker
from provisioning.broker.promise import Broker, BrokerFiles
from tests.ports.broker.people import Authority, Person, revocation
from tests.servers.process import free_port

Make = Callable[[BrokerFiles, Path], Broker]


def make_embedded(files: BrokerFiles, folder: Path) -> Broker:
    return EmbeddedBroker(files, folder)


def make_mosquitto(files: BrokerFiles, folder: Path) -> Broker:
    return MosquittoBroker(files, folder, port=free_port())


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module", params=["mosquitto", "embedded"])
def make(request: pytest.FixtureRequest) -> Make:
    if request.param == "mosquitto":
        request.getfixturevalue("mosquitto_program")
        return make_mosquitto
    return make_embedded


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def broker(make: Make, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Broker]:
    broker = make(authority.files, tmp_path_factory.mktemp("broker"))
    await broker.start()
    yield broker
    await broker.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def own_broker(make: Make, authority: Authority, tmp_path: Path) -> AsyncIterator[Broker]:
    """A broker that a test may stop, kill and reload."""
    broker = make(authority.files, tmp_path / "broker")
    await broker.start()
    yield broker
    await broker.stop()


@pytest.fixture
def revoked(authority: Authority) -> Iterator[Person]:
    """A node whose certificate is in the published lists until the test is over."""
    node = authority.node()
    with revocation(authority, node):
        yield node
