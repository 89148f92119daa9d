"""Nobody outside can make the broker's log grow."""

import json
import logging

import pytest

from provisioning.broker.embedded.logs import Condense, JsonLines


def record(
    reason: str, *, peer: str = "10.0.0.1", name: str = "provisioning.x", line: int = 7, level: int = logging.WARNING
) -> logging.LogRecord:
    made = logging.LogRecord(name, level, "x.py", line, "Refused: %s", (reason,), None)
    made.peer = peer
    return made


def test_the_same_is_said_once_and_then_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1000.0
    monkeypatch.setattr("provisioning.broker.embedded.logs.time.monotonic", lambda: now_s)
    condense = Condense()
    assert condense.filter(record("a"))
    assert not any(condense.filter(record("a")) for _ in range(99))
    assert condense.filter(record("b"))
    assert condense.filter(record("a", peer="10.0.0.2"))
    now_s += 31
    again = record("a")
    assert condense.filter(again)
    assert json.loads(JsonLines().format(again))["times"] == 100


def test_what_the_library_says_differs_each_time_and_is_the_same() -> None:
    condense = Condense()
    assert condense.filter(record("packet 1", name="amqtt.broker"))
    assert not condense.filter(record("packet 2", name="amqtt.broker"))


def test_information_is_never_held_back() -> None:
    condense = Condense()
    assert all(condense.filter(record("a", level=logging.INFO)) for _ in range(3))


def test_memory_is_bounded() -> None:
    condense = Condense()
    for i in range(5000):
        condense.filter(record(str(i)))
    assert len(condense._said_at_s) <= 1001


def test_a_line_is_json_of_bounded_length() -> None:
    made = record("x" * 10_000 + "\n")
    made.created = 1_767_225_600.0
    line = JsonLines().format(made)
    assert "\n" not in line
    assert len(line) < 1000
    assert json.loads(line)["at"] == "2026-01-01T00:00:00.000+00:00"
