"""Exemptions over live state: the overlay that uptime lays over a whole span, taken at now. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from fleet_server.exemptions.model import Exemption
from fleet_server.presence.layers import PositionStatus
from fleet_server.presence.model import EXCUSABLE, Overlay, Segment, State, overlay, worst

_BEGINNING_MS: Final = -1
"""Before any exemption."""


def overlays_of(exemptions: Iterable[Exemption]) -> list[Overlay]:
    """Return what exemptions lay over states."""
    return [Overlay(exemption.from_ms, exemption.to_ms, State(exemption.kind)) for exemption in exemptions]


def excepted(
    evidence: PositionStatus, exemptions: Sequence[Exemption], now_ms: int, *, told: PositionStatus | None = None
) -> PositionStatus:
    """Show a position as exemptions let it be seen: its state, the reason as its cause, and since when. Its functions stay as measured.

    Args:
        evidence: What the evidence alone says.
        exemptions: Those of the position, the ones that ended not long ago too: a state begins where the one over it ends.
        now_ms: Now.
        told: What was shown last; one excuse goes on while what it covers changes, such as from failed to unknown.
    """
    if not exemptions:
        return evidence
    since_ms = _since_ms(evidence, told)
    last = overlay(_tiles(evidence.state, since_ms, now_ms), overlays_of(exemptions))[-1]
    begun_ms = None if last.start_ms == _BEGINNING_MS else last.start_ms
    if last.state is evidence.state:
        return replace(evidence, since_ms=begun_ms)
    reason = next(e.reason for e in exemptions if e.covers(now_ms) and e.kind.value == last.state.value)
    return replace(evidence, state=last.state, cause=reason, since_ms=begun_ms)


def _since_ms(evidence: PositionStatus, told: PositionStatus | None) -> int | None:
    """Return since when the evidence lets the exemption show that shows now."""
    if told is None or told.state is not State.EXCUSED or evidence.state not in EXCUSABLE:
        return evidence.since_ms
    return min((at_ms for at_ms in (evidence.since_ms, told.since_ms) if at_ms is not None), default=None)


def _tiles(state: State, since_ms: int | None, now_ms: int) -> list[Segment]:
    """Tile all time up to now with what is known: the state, and that it was another one before."""
    if since_ms is None:
        return [Segment(_BEGINNING_MS, now_ms + 1, state)]
    begun_ms = min(since_ms, now_ms)
    before = State.FAILED if state is State.WORKING else State.WORKING
    return [Segment(_BEGINNING_MS, begun_ms, before), Segment(begun_ms, now_ms + 1, state)]


def evidence_of(told: PositionStatus) -> PositionStatus:
    """Take the exemption off a position as it was told: what its functions said below."""
    if told.state not in (State.MAINTENANCE, State.EXCUSED):
        return told
    state = worst(function.state for function in told.functions)
    guilty = [function for function in told.functions if function.state is state]
    since_ms = min((function.since_ms for function in guilty if function.since_ms is not None), default=None)
    return replace(told, state=state, cause=guilty[0].cause if guilty else "", since_ms=since_ms)
