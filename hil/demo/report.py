"""What the demo says at its end, and whether the fleet kept its promises. Pure: values in, a report out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

PARTS: Final = ("working", "degraded", "failed", "unknown", "maintenance", "excused")

Span = tuple[int, int]
"""Inclusive span of sequence numbers."""


@dataclass(frozen=True, slots=True)
class StreamCount:
    """One stream of one node: what the node made and still holds, and what the server says it has stored.

    `made` is the highest number the node used, read before the server's account `through` and `gaps`.
    """

    stream: str
    made: int
    held: int
    through: int
    gaps: Sequence[Span]

    @property
    def stored(self) -> int:
        """How many of the made ones the server has stored."""
        through = min(self.through, self.made)
        return through - sum(max(0, min(b, through) - a + 1) for a, b in self.gaps)

    @property
    def lost(self) -> int:
        """How many, at least, are neither stored nor held by the node; exact once the node holds nothing that is stored."""
        return max(0, self.made - self.stored - self.held)


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened, in seconds from readiness, with the innovation count just after it."""

    at_s: float
    what: str
    innovation_count: int

    def as_json(self) -> dict[str, Any]:
        """Return it as the report shows it."""
        return {"at_s": round(self.at_s, 3), "what": self.what, "innovation_count": self.innovation_count}


def uptime_s(parts_ms: Mapping[str, int]) -> dict[str, float]:
    """Return the parts of a position's time in seconds, exact to the millisecond, from `{part}_ms` and `commissioned_ms`."""
    return {"commissioned_s": parts_ms["commissioned_ms"] / 1000, **{f"{part}_s": parts_ms[f"{part}_ms"] / 1000 for part in PARTS}}


def broken_promises(report: Mapping[str, Any], *, pressed: int, expects_outage: bool) -> list[str]:
    """Return a sentence for each promise that the report shows broken; `pressed` is how many presses were made, drills too."""
    found = []
    if report["heartbeats"]["lost"]:
        found.append(f"{report['heartbeats']['lost']} heartbeats are neither stored nor held by a node")
    found += _press_faults(report["presses"], pressed)
    found += [f"the parts of {p['position']} do not add up" for p in report["positions"] if not _adds_up(p["uptime"])]
    found += [f"{node['node']} is not connected" for node in report["nodes"] if not node["online"]]
    if expects_outage:
        found += _outage_faults(report["timeline"])
    return found


def _press_faults(presses: Sequence[Mapping[str, Any]], pressed: int) -> Iterable[str]:
    ids = [press["event_id"] for press in presses]
    if len(set(ids)) != len(ids):
        yield "a press is stored twice"
    if len(set(ids)) != pressed:
        yield f"{pressed} presses were made, {len(set(ids))} are stored"


def _outage_faults(timeline: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """The cameras die and return: the count must go down by one and come back."""
    counts = [moment["innovation_count"] for moment in timeline]
    if not counts or counts[0] != 3:
        yield f"the innovation count began at {counts[0] if counts else 'nothing'}, not 3"
    if 2 not in counts:
        yield "the innovation count did not fall when all cameras were dead"
    elif counts[-1] != 3:
        yield "the innovation count did not return with the cameras"


def _adds_up(uptime: Mapping[str, float]) -> bool:
    return sum(round(uptime[f"{part}_s"] * 1000) for part in PARTS) == round(uptime["commissioned_s"] * 1000)
