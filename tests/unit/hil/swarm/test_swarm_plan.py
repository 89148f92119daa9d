import csv
import io

import pytest

from firmware_agent.contract.ids import BootId, SessionId, StreamId
from firmware_agent.contract.messages import Heartbeat, decode, encode
from firmware_agent.contract.vocabulary import METRICS, Kind, Verdict
from hil.swarm.evidence import FAILING_PER_MILLE, SPELL_MS, Speaker
from hil.swarm.outbox import Beat, Outbox
from hil.swarm.plan import NODES_PER_STATION, Plan, devices


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_interval_follows_from_the_rate() -> None:
    assert Plan(1500, 20, 10_000).interval_s == pytest.approx(3.0)


def test_twenty_devices_are_the_mix_and_a_few_are_a_mix_too() -> None:
    kinds = [device.kind for device in devices(20)]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"camera": 7, "panic_button": 5, "street_light": 6, "sensor": 2}
    assert len({device.kind for device in devices(4)}) >= 3
    assert len({device.channel for device in devices(60)}) == 60


def test_every_row_names_something_that_another_file_has() -> None:
    plan = Plan(NODES_PER_STATION * 2 + 1, 3, 100)
    units, zones, nodes = _rows(plan.units_csv()), _rows(plan.zones_csv()), _rows(plan.nodes_csv())
    positions = _rows(plan.positions_csv(first=0, last=plan.nodes))

    paths = {unit["parent"].rstrip("/") + f"/{unit['code']}/" for unit in units}
    assert {zone["stations"] for zone in zones} | {node["unit"] for node in nodes} <= paths
    assert {position["zone"] for position in positions} == {zone["code"] for zone in zones}
    assert {position["node_serial"] for position in positions} == {node["serial"] for node in nodes}
    assert len({position["code"] for position in positions}) == plan.positions == len(positions)


def test_portions_of_positions_add_up_to_all() -> None:
    plan = Plan(7, 2, 10)
    parts = _rows(plan.positions_csv(first=0, last=4)) + _rows(plan.positions_csv(first=4, last=7))
    assert parts == _rows(plan.positions_csv(first=0, last=7))


def test_a_heartbeat_follows_the_contract_and_is_the_same_when_made_again() -> None:
    outbox = Outbox(StreamId("0123456789abcdef"))
    speaker = Speaker(3, devices(20), interval_s=3.0)
    beat = outbox.make(wall_ms=1_795_485_600_000, mono_ms=1000)

    sent = speaker.heartbeat(beat, outbox, SessionId("a"))
    read = decode(Heartbeat, encode(sent))

    assert read == sent == speaker.heartbeat(beat, outbox, SessionId("a"))
    assert read.clock.boot == BootId("7d9f3c52-1b7e-4f7a-8a55-90e0c6b2f1d4")
    allowed = {name for kind in Kind for name in METRICS[kind]}
    assert all(set(item.metrics) <= allowed for item in read.evidence)
    assert len(read.evidence) == 20


def test_a_few_devices_fail_each_for_a_spell() -> None:
    outbox = Outbox(StreamId("0123456789abcdef"))
    failing, told = 0, 0
    for number in range(200):
        speaker = Speaker(number, devices(20), interval_s=3.0)
        one = speaker.heartbeat(Beat(1, SPELL_MS * 1000, 0), outbox, SessionId("a"))
        same_spell = speaker.heartbeat(Beat(2, SPELL_MS * 1000 + 3000, 0), outbox, SessionId("a"))
        assert [item.verdict for item in one.evidence] == [item.verdict for item in same_spell.evidence]
        failing += sum(item.verdict is Verdict.FAILED for item in one.evidence)
        told += len(one.evidence)
    assert 0 < failing < 5 * told * FAILING_PER_MILLE / 1000
