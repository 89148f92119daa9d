"""Whatever the contract lets in, no consumer stumbles over it: one odd message must not stop the fleet."""

from collections.abc import Iterator
from itertools import count, product
from pathlib import Path
from typing import Any

import msgspec
import pytest

import fleet_server.alarms.store
import fleet_server.commands.store
import fleet_server.telemetry.store  # noqa: F401  # tables register themselves
from firmware_agent.contract.messages import MAX_EVIDENCE
from firmware_agent.contract.topics import Up
from firmware_agent.contract.vocabulary import ClockQuality, Function, Kind
from fleet_server.storage import Database
from tests.integration.consumers.heart import Heart
from tests.integration.uptime.conftest import database  # noqa: F401  # a fixture
from tests.integration.uptime.world import HOUR, NODES, T0, World

MAX_MS = 253_402_300_799_999
MAX_COUNT = 2**53 - 1
ODD_TEXTS = ["'; --", '"', "\\", "\n\t\r", "\x01", "\u202e", "\U0001f4f7", "ก" * 32]
ODD_TIMES = [0, 1, T0, MAX_MS]


@pytest.fixture
def heart(database: Database, tmp_path: Path) -> Iterator[Heart]:  # noqa: F811  # the fixture
    world = World(database)
    world.add_node()
    world.add_position("CAM", functions=(Function.LIVE, Function.RECORDING))
    world.add_position("BTN", Kind.PANIC_BUTTON, functions=(Function.PRESS,))
    world.clock.at_ms = T0 + 60_000
    heart = Heart(world, tmp_path)
    yield heart
    heart.close()


def clock(**changes: Any) -> dict[str, Any]:
    return {"wall_ms": T0 + 59_900, "mono_ms": 1_000_000, "boot": "boot-1", "quality": "ntp"} | changes


def heartbeat(*, said: dict[str, Any] | None = None, times: int = 1, **changes: Any) -> dict[str, Any]:
    evidence = {"channel": "cam", "function": "live", "verdict": "failed", "observed_at_ms": T0 + 59_000, "ttl_ms": 30_000}
    whole = {"v": 1, "session": "s", "seq": 1, "floor": 1, "clock": clock(), "evidence": [evidence | (said or {})] * times}
    return whole | changes


def event(**changes: Any) -> dict[str, Any]:
    return {"v": 1, "session": "s", "channel": "btn", "type": "press", "occurred_at_ms": T0 + 59_000, "clock": clock()} | changes


def of_odd_texts() -> Iterator[tuple[Up, dict[str, Any]]]:
    for text in ODD_TEXTS:
        for channel in ("cam", text):
            yield Up.HEARTBEAT, heartbeat(session=text, said={"cause": text, "channel": channel, "metrics": {text: 1e308, "fps": 1e308}})
        yield Up.HEARTBEAT, heartbeat(clock=clock(boot=text, quality="none"))
        yield Up.STATUS, {"v": 1, "status": "online", "session": text, "agent": text, "clock": clock(boot=text)}
        yield Up.STATUS, {"v": 1, "status": "offline", "session": text}
        for type_ in ("press", "fault", "tamper"):
            yield Up.EVENT, event(type=type_, session=text, channel=text, cause=text, clock=clock(boot=text))
        yield Up.REPORTED, {"v": 1, "session": text, "channels": [], "error": text}
        result = {"v": 1, "command_id": text, "session": text, "channel": text, "status": "failed", "message": text}
        yield Up.RESULT, result | {"clock": clock()}


def of_odd_numbers() -> Iterator[tuple[Up, dict[str, Any]]]:
    for at, quality, mono in product(ODD_TIMES, ClockQuality, (0, MAX_MS)):
        odd = clock(wall_ms=at, mono_ms=mono, quality=quality, boot=f"{at} {quality} {mono}")
        for observed in ODD_TIMES:
            yield Up.HEARTBEAT, heartbeat(seq=MAX_COUNT, clock=odd, said={"observed_at_ms": observed, "ttl_ms": 86_400_000})
            yield Up.EVENT, event(occurred_at_ms=observed, clock=odd)
    yield Up.HEARTBEAT, heartbeat(times=MAX_EVIDENCE)


def test_no_consumer_stumbles_over_what_the_contract_lets_in(heart: Heart) -> None:
    numbers = count(1)
    for kind, message in (*of_odd_texts(), *of_odd_numbers()):
        stream = f"{next(numbers):016x}"
        named = {Up.HEARTBEAT: {"stream": stream}, Up.EVENT: {"event_id": f"{NODES[0]}:{stream}:9999999999999999"}}
        heart.world.clock.at_ms += 10
        assert heart.hear(kind, msgspec.json.encode(message | named.get(kind, {}))) is not None, message
        heart.follow()
    heart.world.clock.at_ms += 3 * HOUR
    heart.follow()
    heart.look()
