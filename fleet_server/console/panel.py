"""The demo's acts as the panel offers them. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from fleet_server.console.facts import DemoAct
from fleet_server.console.i18n import N_


@dataclass(frozen=True, slots=True)
class Panel:
    """The demo's acts of one sort. `first` stands in view, the rest one tap away."""

    title: str
    first: Sequence[DemoAct]
    rest: Sequence[DemoAct]


_PANELS: Final = (
    (N_("Panic buttons: press"), ("press",)),
    (N_("Cameras: break"), ("kill_all_cameras", "kill_camera")),
    (N_("Street lights: break"), ("cut_lamp",)),
    (N_("Networks: cut"), ("cut_network",)),
)
RESTORED_BY: Final = MappingProxyType(
    {
        "kill_camera": "restore_camera",
        "kill_all_cameras": "restore_cameras",
        "cut_lamp": "restore_lamp",
        "cut_network": "restore_network",
    }
)
_IN_VIEW: Final = 2


def panels(acts: Sequence[DemoAct]) -> list[Panel]:
    """Group the demo's acts. What is broken now offers to be mended instead; acts of an unknown sort come last."""
    by_key = {(act.name, act.target): act for act in acts}
    menders = set(RESTORED_BY.values())
    named = [(title, [act for name in names for act in acts if act.name == name]) for title, names in _PANELS]
    known = {name for _, names in _PANELS for name in names} | menders
    named.append((N_("More"), [act for act in acts if act.name not in known]))
    return [_panel(title, [_offered(act, by_key) for act in members]) for title, members in named if members]


def _panel(title: str, acts: list[DemoAct]) -> Panel:
    # What can be mended is never hidden behind a tap, unless what mends all is in view.
    mends_all = any(act.is_active and not act.target for act in acts)
    first = [act for index, act in enumerate(acts) if index < _IN_VIEW or (act.is_active and not mends_all)]
    return Panel(title, first, [act for act in acts if act not in first])


def _offered(act: DemoAct, by_key: Mapping[tuple[str, str], DemoAct]) -> DemoAct:
    mender = by_key.get((RESTORED_BY.get(act.name, ""), act.target)) if act.is_active else None
    return act if mender is None else replace(mender, is_active=True)
