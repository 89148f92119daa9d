"""The registry as others use it."""

from typing import Any

import pytest

from firmware_agent.contract.ids import Channel, NodeId, new_node_id
from firmware_agent.contract.vocabulary import Kind
from fleet_server.access.model import Scope
from fleet_server.errors import Conflict, NotFound, Rejected
from fleet_server.registry.service import Registry
from fleet_server.storage import Database

STATION = Scope("/bpp/n1/lumpini/")
DUSIT = Scope("/bpp/n1/dusit/")


def test_change_of_this_process_shows_at_once(filled: Any, registry: Registry) -> None:
    before = registry.directory()
    assert registry.directory() is before
    node = registry.add_node("SSZ-0003", STATION.unit_path, actor="tester")
    assert node in registry.directory().nodes
    assert registry.directory().version > before.version


def test_change_of_another_process_shows_within_a_second(filled: Any, registry: Registry, database: Database, clock: Any) -> None:
    other = Registry(database, clock)
    registry.directory()
    node = other.add_node("SSZ-0003", STATION.unit_path, actor="tester")
    assert node not in registry.directory().nodes
    clock.advance(1000)
    assert node in registry.directory().nodes


def test_snapshot_stays_while_nothing_changes(filled: Any, registry: Registry, clock: Any) -> None:
    before = registry.directory()
    clock.advance(10_000)
    assert registry.directory() is before
    assert registry.refresh() is before


def test_scope_hides_what_is_outside(filled: Any, registry: Registry) -> None:
    assert [p.code for p in registry.positions(STATION)] == ["LMP-AIR", "LMP-P12-BTN", "LMP-P12-CAM-A"]
    assert [*registry.positions(DUSIT), *registry.nodes(DUSIT), *registry.zones(DUSIT)] == []
    assert [unit.code for unit in registry.units(DUSIT)] == ["dusit"]
    with pytest.raises(NotFound):
        registry.position("LMP-AIR", DUSIT)
    with pytest.raises(NotFound):
        registry.node("SSZ-0001", DUSIT)


def test_lists_go_page_by_page(filled: Any, registry: Registry) -> None:
    assert [p.code for p in registry.positions(Scope.ALL, limit=2)] == ["LMP-AIR", "LMP-P12-BTN"]
    assert [p.code for p in registry.positions(Scope.ALL, after="LMP-P12-BTN", limit=2)] == ["LMP-P12-CAM-A"]
    assert [p.code for p in registry.positions(Scope.ALL, kind=Kind.SENSOR)] == ["LMP-AIR"]
    assert [n.serial for n in registry.nodes(Scope.ALL, after="SSZ-0001")] == ["SSZ-0002"]


def test_node_by_id_and_by_serial(filled: Any, registry: Registry) -> None:
    node = registry.node("SSZ-0001", STATION)
    assert registry.node(node.id, STATION) == node


@pytest.mark.parametrize(
    ("serial", "unit_path", "error"),
    [
        ("SSZ-0001", "/bpp/n1/lumpini/", Conflict),
        ("has space", "/bpp/n1/lumpini/", Rejected),
        ("a:b", "/bpp/n1/lumpini/", Rejected),
        ("SSZ-9", "/nowhere/", NotFound),
    ],
)
def test_node_that_cannot_be_added(filled: Any, registry: Registry, serial: str, unit_path: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        registry.add_node(serial, unit_path, actor="tester")


def test_simulated_is_sticky(filled: Any, registry: Registry) -> None:
    node = registry.node("SSZ-0001", Scope.ALL).id
    assert registry.mark_simulated(node)
    assert not registry.mark_simulated(node)
    assert registry.directory().nodes[node].is_simulated
    assert not registry.mark_simulated(new_node_id())


def test_install_swaps_and_keeps_history(filled: Any, registry: Registry, clock: Any) -> None:
    clock.advance(1000)
    registry.install("LMP-P12-CAM-A", "SSZ-0002", Channel("cam-9"), actor="tester", device_serial="D-2")
    camera = registry.position("LMP-P12-CAM-A", Scope.ALL)
    old, new = registry.directory().installations(camera.id)
    assert (old.to_ms, new.from_ms, new.device_serial) == (clock.now_ms(), clock.now_ms(), "D-2")


def test_install_commissions_a_new_position(filled: Any, registry: Registry, clock: Any) -> None:
    registry.install("LMP-AIR", "SSZ-0002", Channel("air-1"), actor="tester")
    assert registry.position("LMP-AIR", Scope.ALL).commissioned_at_ms == clock.now_ms()


def test_channel_serves_one_position(filled: Any, registry: Registry) -> None:
    with pytest.raises(Conflict, match="serves another position"):
        registry.install("LMP-AIR", "SSZ-0001", Channel("cam-1"), actor="tester")


def test_retired_position_keeps_its_history(filled: Any, registry: Registry, clock: Any) -> None:
    node = registry.node("SSZ-0001", Scope.ALL).id
    clock.advance(1000)
    registry.retire("LMP-P12-CAM-A", actor="tester")
    assert registry.directory().position_at(node, Channel("cam-1"), clock.now_ms()) is None
    assert registry.directory().position_at(node, Channel("cam-1"), clock.now_ms() - 1) is not None
    with pytest.raises(Conflict):
        registry.retire("LMP-P12-CAM-A", actor="tester")
    with pytest.raises(Conflict):
        registry.install("LMP-P12-CAM-A", "SSZ-0002", Channel("x"), actor="tester")


def test_supervision_comes_from_settings_unless_the_position_has_its_own(database: Database, clock: Any, filled: Any) -> None:
    quick = Registry(database, clock, supervision_ms=dict.fromkeys(Kind, 5000))
    assert {p.supervision_ms for p in quick.positions(Scope.ALL)} == {5000}


def test_empty_fleet(registry: Registry) -> None:
    directory = registry.directory()
    assert (directory.version, len(directory.nodes), len(directory.positions)) == (0, 0, 0)
    assert directory.channels(NodeId("x")) == ()
