"""View models: from facts to what the templates draw. Pure; words stay msgids, times stay milliseconds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from firmware_agent.contract.vocabulary import Kind
from fleet_server.console.causes import EXEMPTED, Explanation, explain
from fleet_server.console.facts import Hour, Node, Position, Press
from fleet_server.console.i18n import N_
from fleet_server.presence.model import SEVERITY, Segment, State
from fleet_server.scoring.innovation import Innovation
from fleet_server.scoring.model import INNOVATION_SCORES
from fleet_server.uptime.model import NOTHING, PART_NAMES, Measures, Parts, measures, percent, total

MAX_ROWS: Final = 200
"""One place lists no more positions than this, the worst first when there are more."""
MAX_WANTING: Final = 60
"""Several places together list no more positions that need somebody than this, the worst first."""
MAX_NODES: Final = 8
"""No more nodes are listed than this, those that are not heard first."""

STRIP_WIDTH: Final = 1000
"""Width of a timeline in its own units."""
STRIP_HEIGHT: Final = 44
_LEAST_BAR: Final = 3
"""An outage is drawn at least this wide, so that a short one can be seen."""
_GAPPED: Final = 60
"""Fewer columns than this stand apart."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A msgid with the values of its placeholders."""

    msgid: str
    values: Mapping[str, str | int]


WANTING: Final = frozenset({State.FAILED, State.UNKNOWN, State.DEGRADED})
"""States that need somebody."""


@dataclass(frozen=True, slots=True)
class Headline:
    """The whole in one line, and how many positions are in each state (worst first, empty ones left out)."""

    state: State
    sentence: Sentence
    tally: Sequence[tuple[State, int]]


_HEADLINES: Final = (
    (State.FAILED, N_("%(n)s of %(total)s positions failed")),
    (State.UNKNOWN, N_("No sign from %(n)s of %(total)s positions")),
    (State.DEGRADED, N_("%(n)s of %(total)s positions working, but not well")),
)


def headline(positions: Sequence[Position]) -> Headline:
    """Say how the whole stands, by its worst state."""
    counts = Counter(position.state for position in positions)
    tally = [(state, counts[state]) for state in sorted(counts, key=lambda state: -SEVERITY[state])]
    for state, msgid in _HEADLINES:
        if counts[state]:
            return Headline(state, Sentence(msgid, {"n": counts[state], "total": len(positions)}), tally)
    if not positions:
        return Headline(State.UNKNOWN, Sentence(N_("No positions yet"), {}), tally)
    if counts[State.WORKING] == len(positions) > 1:
        return Headline(State.WORKING, Sentence(N_("All %(total)s positions work"), {"total": len(positions)}), tally)
    return Headline(
        State.WORKING, Sentence(N_("%(n)s of %(total)s positions working"), {"n": counts[State.WORKING], "total": len(positions)}), tally
    )


@dataclass(frozen=True, slots=True)
class UsageView:
    """Shares of time as figures to print, cut and never rounded up; None where no time is left to judge."""

    parts: Parts
    measures: Measures
    strict: str | None
    contract: str | None
    low: str | None
    high: str | None
    coverage: str | None

    @property
    def shares(self) -> Sequence[tuple[State, int, str]]:
        """Each state's milliseconds and percentage of the commissioned time."""
        whole = self.parts.commissioned_ms
        return [(state, ms, _cut(Fraction(ms, whole)) if whole else "0") for state, ms in _by_state(self.parts)]


def usage_view(parts: Parts) -> UsageView:
    """Make figures of parts."""
    found = measures(parts)
    return UsageView(
        parts, found, *(_cut_or_none(share) for share in (found.strict, found.contract, found.low, found.high, found.coverage))
    )


def _by_state(parts: Parts) -> list[tuple[State, int]]:
    return [(state, getattr(parts, f"{state}_ms")) for state in State if f"{state}_ms" in PART_NAMES]


def _cut(share: Fraction) -> str:
    """Print a percentage with two places, so that figures in a column stand under each other; nothing and all need none."""
    return {Fraction(0): "0", Fraction(1): "100"}.get(share) or percent(share, 2) or "0"


def _cut_or_none(share: Fraction | None) -> str | None:
    return None if share is None else _cut(share)


@dataclass(frozen=True, slots=True)
class Row:
    """One position in a list."""

    position: Position
    explanation: Explanation
    usage: UsageView

    @property
    def says_why(self) -> bool:
        """Whether the row says what is the case and what to do."""
        return self.position.state is not State.WORKING

    @property
    def reason(self) -> str:
        """The words of whoever exempted the position; empty where nobody did."""
        return self.position.cause if self.position.state in EXEMPTED else ""


@dataclass(frozen=True, slots=True)
class Group:
    """The listed positions of one kind, and how many of the kind there are and work."""

    kind: Kind
    rows: Sequence[Row]
    total: int
    working: int


def row(position: Position, parts: Parts | None) -> Row:
    """Make a row; `parts` None means that nothing was measured."""
    return Row(position, explain(position.kind, position.state, position.cause), usage_view(parts or NOTHING))


def shown(positions: Sequence[Position], *, is_wide: bool = False) -> list[Position]:
    """Pick the positions that a list shows: all of one place, of several (`is_wide`) what needs somebody; the worst of too many."""
    wanted = [position for position in positions if position.state in WANTING or not is_wide]
    at_most = MAX_WANTING if is_wide else MAX_ROWS
    if len(wanted) <= at_most:
        return wanted
    return sorted(wanted, key=lambda position: (-SEVERITY[position.state], position.code))[:at_most]


def groups(rows: Sequence[Row], everything: Sequence[Position]) -> list[Group]:
    """Group rows by kind, in the order of the vocabulary; counts are those of all positions."""
    totals = Counter(position.kind for position in everything)
    working = Counter(position.kind for position in everything if position.state is State.WORKING)
    by_kind = [(kind, [row for row in rows if row.position.kind is kind]) for kind in Kind if totals[kind]]
    return [Group(kind, members, totals[kind], working[kind]) for kind, members in by_kind]


def pooled(usage: Mapping[str, Parts]) -> UsageView:
    """Pool the time of all positions."""
    return usage_view(total(usage.values()))


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle of a timeline, in units of `STRIP_WIDTH` and `STRIP_HEIGHT`, y downwards."""

    state: State
    x: int
    width: int
    y: int = 0
    height: int = STRIP_HEIGHT


def bars(timeline: Sequence[Segment], *, from_ms: int, to_ms: int) -> list[Bar]:
    """Lay a timeline out; bars that need somebody come last and never vanish for being short."""
    span = max(1, to_ms - from_ms)
    laid: list[Bar] = []
    for segment in timeline:
        x = STRIP_WIDTH * (max(segment.start_ms, from_ms) - from_ms) // span
        end = -(-STRIP_WIDTH * (min(segment.end_ms, to_ms) - from_ms) // span)
        is_quiet = segment.state is State.WORKING
        laid.append(Bar(segment.state, x, max(end - x, 1 if is_quiet else _LEAST_BAR)))
    return sorted(laid, key=lambda bar: SEVERITY[bar.state])


def columns(hours: Sequence[Hour], *, from_ms: int, to_ms: int) -> list[Bar]:
    """Lay hours out as columns, each filled with its shares, the worst on top and never invisible."""
    span = max(1, to_ms - from_ms)
    laid: list[Bar] = []
    for hour in hours:
        x = STRIP_WIDTH * (max(hour.from_ms, from_ms) - from_ms) // span
        width = max(1, STRIP_WIDTH * (min(hour.to_ms, to_ms) - from_ms) // span - x - (1 if len(hours) < _GAPPED else 0))
        top = 0
        for state, ms in sorted(_by_state(hour.parts), key=lambda part: -SEVERITY[part[0]]):
            if ms:
                height = STRIP_HEIGHT - top if state is State.WORKING else max(_LEAST_BAR, STRIP_HEIGHT * ms // hour.parts.commissioned_ms)
                laid.append(Bar(state, x, width, top, min(height, STRIP_HEIGHT - top)))
                top = min(STRIP_HEIGHT, top + height)
    return laid


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on the time axis."""

    x: int
    at_ms: int


_STEPS_MS: Final = (60_000, 120_000, 300_000, 600_000, 900_000, 1_800_000, 3_600_000, 10_800_000, 21_600_000, 43_200_000, 86_400_000)


def ticks(*, from_ms: int, to_ms: int, offset_ms: int, at_most: int = 8) -> list[Tick]:
    """Return round times inside the span, on a clock that is `offset_ms` ahead of UTC."""
    span = to_ms - from_ms
    step = next((step for step in _STEPS_MS if span // step <= at_most), _STEPS_MS[-1])
    first = from_ms + (-(from_ms + offset_ms)) % step
    return [Tick(STRIP_WIDTH * (at - from_ms) // max(1, span), at) for at in range(first, to_ms, step)]


@dataclass(frozen=True, slots=True)
class Rung:
    """One row of the official table of criterion 3."""

    types: int
    points: int
    is_current: bool
    is_last: bool


def ladder(innovation: Innovation) -> list[Rung]:
    """Return the table with the present row marked."""
    last = len(INNOVATION_SCORES) - 1
    current = min(innovation.count, last)
    return [Rung(types, points, types == current, types == last) for types, points in enumerate(INNOVATION_SCORES)]


def next_step(innovation: Innovation) -> Sentence | None:
    """Say what one more type would give; None at the top."""
    last = len(INNOVATION_SCORES) - 1
    if innovation.count >= last:
        return None
    gain = INNOVATION_SCORES[innovation.count + 1] - INNOVATION_SCORES[innovation.count]
    return Sentence(N_("One more type in use would raise the score by %(points)s."), {"points": gain})


def online(nodes: Sequence[Node]) -> int:
    """Count the nodes that are heard."""
    return sum(node.is_online for node in nodes)


def listed_nodes(nodes: Sequence[Node]) -> list[Node]:
    """Pick the nodes that a list shows, those that are not heard first."""
    return sorted(nodes, key=lambda node: node.is_online)[:MAX_NODES]


def by_urgency(presses: Sequence[Press]) -> list[Press]:
    """Order what waits: real presses before tests, each the longest waiting first."""
    return sorted(presses, key=lambda press: (press.is_drill, press.occurred_at_ms))


def last_press(presses: Sequence[Press]) -> Press | None:
    """Return the newest press by the time it happened."""
    return max(presses, key=lambda press: press.occurred_at_ms, default=None)
