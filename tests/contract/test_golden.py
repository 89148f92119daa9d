"""The literal examples of the wire: what they say, and that documents and code say the same."""

import json
from pathlib import Path
from typing import Any

import pytest

from firmware_agent.contract import messages as m

GOLDEN = Path(__file__).parent / "golden"
WIRE = Path(__file__).parents[2] / "docs" / "wire.md"

TYPES: dict[str, type[Any]] = {
    "ack": m.Ack,
    "command": m.Command,
    "desired": m.Desired,
    "event": m.Event,
    "heartbeat": m.Heartbeat,
    "replay": m.Replay,
    "reported": m.Reported,
    "result": m.Result,
    "status": m.Status,
}
EXAMPLES = sorted(GOLDEN.glob("*.json"))
OLDEST = sorted((GOLDEN / "oldest").glob("*.json"))


def kind_of(path: Path) -> type[Any]:
    return TYPES[path.stem.partition("-")[0]]


def test_every_message_has_an_example() -> None:
    assert {path.stem.partition("-")[0] for path in EXAMPLES} == set(TYPES)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_what_we_send(path: Path) -> None:
    literal = json.loads(path.read_text())
    assert json.loads(m.encode(m.decode(kind_of(path), path.read_bytes()))) == literal


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_shown_in_the_document(path: Path) -> None:
    assert f"```json\n{path.read_text()}```" in WIRE.read_text()


@pytest.mark.parametrize("path", OLDEST, ids=lambda path: path.stem)
def test_oldest_agent_is_understood(path: Path) -> None:
    """An agent one version older sends only these fields; a field added later must have a default."""
    assert m.decode(kind_of(path), path.read_bytes()).v == 1


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_newer_agent_is_understood(path: Path) -> None:
    literal = json.loads(path.read_text()) | {"said_by_a_later_version": {"x": [1]}}
    assert m.decode(kind_of(path), json.dumps(literal).encode()) == m.decode(kind_of(path), path.read_bytes())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_missing_required_field_is_named(path: Path) -> None:
    literal = json.loads(path.read_text())
    del literal["v"]
    with pytest.raises(m.BadMessage, match="`v`"):
        m.decode(kind_of(path), json.dumps(literal).encode())
