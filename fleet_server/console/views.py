"""What each page shows: facts gathered for a viewer, and the pieces of the page that the live feed may replace."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Final

from fleet_server.console import model, when, words
from fleet_server.console.facts import DemoAct, Position, Press, Viewer
from fleet_server.console.i18n import N_, Language
from fleet_server.console.model import Sentence
from fleet_server.console.overview import PAGE_OF_PRESSES, base, innovation_of, overview, places_of
from fleet_server.console.services import ConsoleServices
from fleet_server.console.shown import Piece, Shown
from fleet_server.console.tree import trail
from fleet_server.uptime.model import Parts

SPANS_MS: Final = {"minutes": 600_000, "hour": when.HOUR_MS, "day": when.DAY_MS, "week": 7 * when.DAY_MS}


class Views:
    """Gathers what pages show. Blocking: it reads the services."""

    def __init__(self, services: ConsoleServices) -> None:
        """`services` are asked anew for each page."""
        self._services = services
        self._by_name: Final[Mapping[str, Callable[[Viewer, str, Sequence[DemoAct] | None], Shown]]] = {
            "overview": partial(overview, services),
            "position": self._position,
            "presses": self._presses,
            "score": self._score,
        }

    def show(self, name: str, viewer: Viewer, *, subject: str = "", acts: Sequence[DemoAct] | None = None) -> Shown:
        """Gather a page. `subject` is a unit's path or a position's code (with `?` and a span); `acts` None: no demo panel.

        Raises:
            KeyError: there is no page of this name.
            NotFound: there is no such subject that the viewer may see.
        """
        return self._by_name[name](viewer, subject, acts)

    def has(self, name: str) -> bool:
        """Whether there is a page of this name."""
        return name in self._by_name

    def _position(self, viewer: Viewer, subject: str, _acts: Sequence[DemoAct] | None) -> Shown:
        services, now_ms = self._services, self._services.clock.now_ms()
        code, _, span = subject.partition("?")
        detail = services.fleet.position(code, viewer.unit_path)
        span = span if span in SPANS_MS else _natural_span(detail.position, now_ms)
        from_ms = now_ms - SPANS_MS[span]
        usage = services.fleet.usage([code], from_ms=from_ms, to_ms=now_ms)
        units = {unit.path: unit for unit in services.fleet.units(viewer.unit_path)}
        context = base(services, viewer) | places_of(services, viewer.unit_path)
        context |= {
            "detail": detail,
            "trail": trail(detail.position.unit_path, units),
            "row": model.row(detail.position, usage.get(code, Parts())),
            "span": span,
            "bars": self._bars(code, from_ms, now_ms),
            "ticks": model.ticks(from_ms=from_ms, to_ms=now_ms, offset_ms=when.OFFSET_MS, at_most=6),
        }
        return Shown("position.html", context, [Piece("position", "live/position.html")], [detail.position])

    def _bars(self, code: str, from_ms: int, to_ms: int) -> list[model.Bar]:
        """Draw a short span exactly, a longer one hour by hour."""
        if to_ms - from_ms <= when.HOUR_MS:
            return model.bars(self._services.fleet.segments(code, from_ms=from_ms, to_ms=to_ms), from_ms=from_ms, to_ms=to_ms)
        return model.columns(self._services.fleet.hours(code, from_ms=from_ms, to_ms=to_ms), from_ms=from_ms, to_ms=to_ms)

    def _presses(self, viewer: Viewer, _subject: str, _acts: Sequence[DemoAct] | None) -> Shown:
        waiting = model.by_urgency(self._services.presses.presses(viewer.unit_path, limit=PAGE_OF_PRESSES, is_open=True))
        answered = self._services.presses.presses(viewer.unit_path, limit=PAGE_OF_PRESSES, is_open=False)
        context = base(self._services, viewer) | places_of(self._services, viewer.unit_path)
        context |= {"open_presses": waiting, "recent_presses": answered}
        pieces = [Piece("presses", "live/presses.html"), Piece("answered", "live/answered.html")]
        return Shown("presses.html", context, pieces, open_presses=waiting)

    def _score(self, viewer: Viewer, _subject: str, _acts: Sequence[DemoAct] | None) -> Shown:
        context = base(self._services, viewer) | innovation_of(self._services.fleet.innovation(viewer.unit_path))
        return Shown("score.html", context, [Piece("score", "live/score.html")])


def _natural_span(position: Position, now_ms: int) -> str:
    """Pick the span that shows something: the last minutes or hour of a young position, else the last day."""
    began_ms = position.commissioned_at_ms
    if began_ms is None or now_ms - began_ms > 3 * when.HOUR_MS:
        return "day"
    return "hour" if now_ms - began_ms > when.HOUR_MS // 3 else "minutes"


@dataclass(frozen=True, slots=True)
class News:
    """What a screen reader says: `urgent` at once, `calm` when it is silent."""

    urgent: Sequence[Sentence]
    calm: Sequence[Sentence]


MAX_CALM: Final = 4


def news(before: Shown, after: Shown, fresh: Set[str], language: Language, translate: Callable[[str], str]) -> News:
    """Compare two looks at a page. What the change log names (`fresh`: codes, event ids) is news even if both looks show it."""
    known = {press.event_id for press in before.open_presses} - fresh
    urgent = [
        Sentence(
            N_("Test press: %(place)s") if press.is_drill else N_("Panic button pressed: %(place)s"), {"place": label(press, language)}
        )
        for press in after.open_presses
        if press.event_id not in known
    ]
    states = {position.code: position.state for position in before.positions}
    changed = [p for p in after.positions if p.code in fresh or states.get(p.code, p.state) is not p.state]
    if len(changed) > MAX_CALM:
        calm = [Sentence(N_("%(n)s positions changed their state"), {"n": len(changed)})]
    else:
        calm = [_state_news(position, language, translate) for position in changed]
    return News(urgent, calm)


def _state_news(position: Position, language: Language, translate: Callable[[str], str]) -> Sentence:
    return Sentence(N_("%(place)s: %(state)s"), {"place": label(position, language), "state": translate(words.STATES[position.state])})


def label(thing: Position | Press, language: Language) -> str:
    """Return the label in the language, Thai when there is no other."""
    return thing.label_th if language is Language.THAI else thing.label_en or thing.label_th
