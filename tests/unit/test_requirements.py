"""What is installed where: the tests run on the libraries that an installation has, and locked files name no index."""

import re
from importlib.metadata import version
from pathlib import Path

import pytest
import urllib3

LOCKED = sorted((Path(__file__).parents[2] / ".ci" / "requirements").glob("*.txt"))


def names(path: Path) -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+)==", path.read_text(), re.MULTILINE))


def test_urllib3_is_no_fork() -> None:
    """grafana-client brings urllib3-future, which takes urllib3's place wherever it is installed from its wheel (`.ci/setup`)."""
    assert vars(urllib3)["__version__"] == version("urllib3")


@pytest.mark.parametrize("name", ["agent", "run", "server"])
def test_what_is_for_tests_is_not_installed_elsewhere(name: str) -> None:
    (path,) = [path for path in LOCKED if path.stem == name]
    assert "cryptography" in names(path)
    assert not names(path) & {"grafana-client", "grafana-foundation-sdk", "urllib3-future", "pytest"}


@pytest.mark.parametrize("path", LOCKED, ids=lambda path: path.stem)
def test_no_index_is_named(path: Path) -> None:
    text = path.read_text()
    assert "://" not in text
    assert not re.search(r"^\s*--(?!hash=)", text, re.MULTILINE)
