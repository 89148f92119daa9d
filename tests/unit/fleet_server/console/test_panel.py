from collections.abc import Sequence

from fleet_server.console.facts import DemoAct
from fleet_server.console.panel import Panel, panels


def camera_acts(*broken: int, is_all: bool = False) -> list[DemoAct]:
    acts = [DemoAct("kill_all_cameras", is_active=is_all), DemoAct("restore_cameras")]
    for n in range(4):
        acts += [DemoAct("kill_camera", f"CAM-{n}", is_active=is_all or n in broken), DemoAct("restore_camera", f"CAM-{n}")]
    return acts


def names(acts: Sequence[DemoAct]) -> list[tuple[str, str]]:
    return [(act.name, act.target) for act in acts]


def only_panel(acts: Sequence[DemoAct]) -> Panel:
    (panel,) = panels(acts)
    return panel


def test_what_is_broken_offers_to_be_mended_and_is_never_hidden() -> None:
    panel = only_panel(camera_acts(3))
    assert names(panel.first) == [("kill_all_cameras", ""), ("kill_camera", "CAM-0"), ("restore_camera", "CAM-3")]
    assert names(panel.rest) == [("kill_camera", "CAM-1"), ("kill_camera", "CAM-2")]


def test_with_all_broken_the_panel_stays_as_small_as_it_was() -> None:
    panel = only_panel(camera_acts(is_all=True))
    assert names(panel.first) == [("restore_cameras", ""), ("restore_camera", "CAM-0")]
    assert len(panel.rest) == 3


def test_acts_of_an_unknown_sort_come_last() -> None:
    acts = [DemoAct("flood"), DemoAct("press", "SOS-1")]
    assert [names(panel.first) for panel in panels(acts)] == [[("press", "SOS-1")], [("flood", "")]]
