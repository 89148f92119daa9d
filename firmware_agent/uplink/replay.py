"""What the server asked to hear again, and what of it is still to be said. Pure; times are monotonic milliseconds."""

from collections.abc import Iterable
from typing import Final

from firmware_agent.contract.ids import StreamId
from firmware_agent.outbox.model import Span, subtract, wanted_spans

_SETTLE_MS: Final = 10_000
"""An acknowledgement made before a replay arrived asks for it once more; within this time that is not believed."""


class ReplayPlan:
    """Only what acknowledgements ask for is ever replayed; a newer one of the same stream replaces the older."""

    def __init__(self) -> None:
        """Start with nothing asked."""
        self._wanted: dict[StreamId, list[Span]] = {}
        self._sent: list[tuple[int, StreamId, Span]] = []

    def ask(self, stream: StreamId, through: int, gaps: Iterable[Span], *, top: int, now_ms: int) -> None:
        """Take over what an acknowledgement asks; `top` is the last `seq` that is not on its way by the live lane."""
        self._sent = [entry for entry in self._sent if now_ms - entry[0] < _SETTLE_MS]
        wanted = subtract(wanted_spans(through, gaps, top=top), (span for _, of, span in self._sent if of == stream))
        if wanted:
            self._wanted[stream] = wanted
        else:
            self._wanted.pop(stream, None)

    def next(self) -> tuple[StreamId, list[Span]] | None:
        """Return what to say next: the stream asked for first, ascending."""
        return next(iter(self._wanted.items()), None)

    def said(self, stream: StreamId, spans: Iterable[Span], *, now_ms: int) -> None:
        """Take note that these went out; what lies below them in the plan is not held any more, and is dropped from it."""
        said = list(spans)
        self._sent += [(now_ms, stream, span) for span in said]
        self._drop(stream, (1, said[-1][1]))

    def not_held(self, stream: StreamId) -> None:
        """Nothing of what is asked is held any more."""
        self._wanted.pop(stream, None)

    def _drop(self, stream: StreamId, span: Span) -> None:
        left = subtract(self._wanted.get(stream, []), [span])
        if left:
            self._wanted[stream] = left
        else:
            self._wanted.pop(stream, None)
