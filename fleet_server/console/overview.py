"""What the overview shows: the whole in one look, then where, then each position that needs somebody."""

from collections.abc import Mapping, Sequence
from typing import Final

from fleet_server.console import model, when
from fleet_server.console.facts import DemoAct, Node, Position, Unit, Viewer
from fleet_server.console.panel import panels
from fleet_server.console.services import ConsoleServices
from fleet_server.console.shown import Context, Piece, Shown
from fleet_server.console.tree import Branch, branches, trail
from fleet_server.errors import NotFound
from fleet_server.scoring.innovation import Innovation
from fleet_server.uptime.model import Parts

USAGE_SPAN_MS: Final = when.DAY_MS
RECENT_PRESSES: Final = 5
PAGE_OF_PRESSES: Final = 50
MAX_POOLED: Final = 2_000
"""The time of no more positions than this is added up for one look; with more, a unit is opened first."""

_STANDING: Final = ("headline", "stats", "presses", "branches", "listed", "recent", "innovation", "nodes")


def overview(services: ConsoleServices, viewer: Viewer, subject: str, acts: Sequence[DemoAct] | None) -> Shown:
    """Show the unit of path `subject`, or all that the viewer may see. Open presses are those of all, wherever the page stands.

    Raises:
        NotFound: there is no such unit that the viewer may see.
    """
    units = {unit.path: unit for unit in services.fleet.units(viewer.unit_path)}
    here = _here(subject, viewer.unit_path, units)
    everything = services.fleet.positions(here)
    parted = branches(everything, here, units)
    context = (
        base(services, viewer)
        | places_of(services, here)
        | {"headline": model.headline(everything), "units": units, "here": units.get(here), "trail": trail(here, units), "branches": parted}
        | {"panels": None if acts is None else panels(acts)}
        | _positions(services, everything, parted)
        | _presses(services, viewer)
        | _nodes(services.fleet.nodes(here))
        | innovation_of(services.fleet.innovation(here))
    )
    standing = [Piece(name, f"live/{name}.html") for name in (*_STANDING, *(() if acts is None else ("demo",)))]
    return Shown("overview.html", context, standing + _list(context["groups"]), everything, context["open_presses"])


def base(services: ConsoleServices, viewer: Viewer) -> Context:
    """Return what every live page knows."""
    return {"now_ms": services.clock.now_ms(), "viewer": viewer, "is_demo": services.is_demo}


def places_of(services: ConsoleServices, unit_path: str) -> Context:
    """Return the zones by code, so that a position or a press can say where it is."""
    return {"places": {zone.code: zone for zone in services.fleet.zones(unit_path)}}


def innovation_of(innovation: Innovation) -> Context:
    """Return what the pages say of criterion 3."""
    return {"innovation": innovation, "ladder": model.ladder(innovation), "next_step": model.next_step(innovation)}


def _here(subject: str, top: str, units: Mapping[str, Unit]) -> str:
    here = subject or top
    if here != top and here not in units:
        raise NotFound(f"There is no unit {here!r}.")
    return here


def _positions(services: ConsoleServices, everything: Sequence[Position], parted: Sequence[Branch]) -> Context:
    now_ms = services.clock.now_ms()
    listed = model.shown(everything, is_wide=bool(parted))
    is_pooled = len(everything) <= MAX_POOLED
    codes = [position.code for position in (everything if is_pooled else listed)]
    usage = services.fleet.usage(codes, from_ms=now_ms - USAGE_SPAN_MS, to_ms=now_ms)
    return {
        "groups": model.groups([model.row(position, usage.get(position.code)) for position in listed], everything),
        "listed": len(listed),
        "wanting": sum(position.state in model.WANTING for position in everything),
        "total": len(everything),
        "usage": model.pooled(usage) if is_pooled else model.usage_view(Parts()),
        "is_pooled": is_pooled,
        "longest_ms": max((parts.commissioned_ms for parts in usage.values()), default=0),
    }


def _presses(services: ConsoleServices, viewer: Viewer) -> Context:
    recent = services.presses.presses(viewer.unit_path, limit=RECENT_PRESSES)
    waiting = services.presses.presses(viewer.unit_path, limit=PAGE_OF_PRESSES, is_open=True)
    return {"open_presses": model.by_urgency(waiting), "recent_presses": recent, "last_press": model.last_press(recent)}


def _nodes(nodes: Sequence[Node]) -> Context:
    heard = [node.last_heartbeat_at_ms for node in nodes if node.last_heartbeat_at_ms is not None]
    return {
        "nodes": model.listed_nodes(nodes),
        "nodes_total": len(nodes),
        "online": model.online(nodes),
        "heard_at_ms": max(heard, default=None),
    }


def _list(groups: Sequence[model.Group]) -> list[Piece]:
    heads = [Piece(f"kind-{group.kind}", "live/kind.html", {"group": group}, within="list") for group in groups]
    rows = [Piece(f"position-{row.position.code}", "live/row.html", {"row": row}, within="list") for group in groups for row in group.rows]
    return [Piece("list", "live/list.html"), *heads, *rows]
