from dataclasses import replace

from fleet_server.console.facts import Position, Unit
from fleet_server.console.tree import branches, trail
from fleet_server.presence.model import State
from tests.unit.fleet_server.console.fakes import FakeWorld

UNITS = {path: Unit(path, f"หน่วย {path}", f"Unit {path}") for path in ("/c/", "/c/d/", "/c/d/s1/", "/c/d/s2/")}


def positions(*paths: str, state: State = State.WORKING) -> list[Position]:
    ground = next(iter(FakeWorld().by_code.values()))
    return [replace(ground, code=f"P{n}", unit_path=path, state=state) for n, path in enumerate(paths)]


def test_units_that_part_nothing_are_passed_over() -> None:
    found = branches(positions("/c/d/s1/", "/c/d/s2/", "/c/d/s2/"), "/", UNITS)
    assert [(branch.unit.path, branch.total) for branch in found] == [("/c/d/s1/", 1), ("/c/d/s2/", 2)]


def test_one_station_has_no_branches() -> None:
    assert branches(positions("/c/d/s1/", "/c/d/s1/"), "/", UNITS) == []
    assert branches(positions("/c/d/s1/"), "/c/d/s1/", UNITS) == []
    assert branches([], "/", UNITS) == []


def test_a_branch_is_as_bad_as_its_worst_position() -> None:
    found = branches(positions("/c/d/s1/", "/c/d/s2/") + positions("/c/d/s2/", state=State.FAILED), "/c/", UNITS)
    assert [branch.headline.state for branch in found] == [State.WORKING, State.FAILED]


def test_a_unit_without_a_name_is_shown_by_its_path() -> None:
    found = branches(positions("/c/d/s1/", "/c/x/s9/"), "/c/", UNITS)
    assert [branch.unit.label_en for branch in found] == ["Unit /c/d/", "/c/x/"]


def test_a_unit_is_not_mixed_up_with_one_whose_code_begins_alike() -> None:
    found = branches(positions("/c/d/s1/", "/c/d1/s1/"), "/c/", UNITS)
    assert [(branch.unit.path, branch.total) for branch in found] == [("/c/d/", 1), ("/c/d1/", 1)]


def test_the_trail_leads_from_the_top_to_here() -> None:
    assert [unit.path for unit in trail("/c/d/s2/", UNITS)] == ["/c/", "/c/d/", "/c/d/s2/"]
    assert trail("/", UNITS) == []
