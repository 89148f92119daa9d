"""Templates in each language, with the filters that show times, ages and names."""

import re
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, Protocol

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from fleet_server.console import when, words
from fleet_server.console.assets import Assets
from fleet_server.console.i18n import N_, NAMES, Language, translations
from fleet_server.console.model import Sentence

TEMPLATE_DIR: Final = Path(__file__).parent / "templates"
_AGE_TEXT: Final = re.compile(r"(<time[^>]* data-age-ms=[^>]*>)[^<]*")


class Named(Protocol):
    """Something with a label in both languages."""

    @property
    def label_th(self) -> str:
        """Thai label."""
        ...

    @property
    def label_en(self) -> str:
        """English label; may be empty."""
        ...


class Pages:
    """Renders templates; one environment for each language, compiled at the first use."""

    def __init__(self, assets: Assets) -> None:
        """`assets` gives the addresses of style and script."""
        self._environment_of: Final = cache(partial(_environment, assets=assets))

    def render(self, template: str, language: Language, context: Mapping[str, Any]) -> str:
        """Render a whole page or a piece of one. The context must hold `now_ms`."""
        return self._environment_of(language).get_template(template).render(context)

    def say(self, sentence: Sentence, language: Language) -> str:
        """Translate one sentence, for plain text."""
        return translations(language).gettext(sentence.msgid) % sentence.values


def without_ages(html: str) -> str:
    """Return a piece of a page with the words of its ages cut out: they pass by themselves and are no news."""
    return _AGE_TEXT.sub(r"\1", html)


def _environment(language: Language, *, assets: Assets) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE_DIR),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=True,
        lstrip_blocks=True,
    )
    texts = translations(language)
    environment.install_gettext_translations(texts, newstyle=True)  # type: ignore[attr-defined]  # added by the extension
    say = texts.gettext

    def in_words(sentence: Sentence) -> str:
        return say(sentence.msgid) % sentence.values

    def name(thing: Named) -> str:
        return thing.label_th if language is Language.THAI else thing.label_en or thing.label_th

    @pass_context
    def age(context: Context, at_ms: int) -> Markup:
        text = when.age(context["now_ms"] - at_ms, say)
        return Markup('<time class="age" data-age-ms="{}" datetime="{}">{}</time>').format(at_ms, when.iso(at_ms), text)

    @pass_context
    def moment(context: Context, at_ms: int, *, seconds: bool = False) -> Markup:
        text = when.moment(at_ms, context["now_ms"], language, seconds=seconds)
        return Markup('<time datetime="{}">{}</time>').format(when.iso(at_ms), text)

    def who(name: str) -> str:
        program = name.removeprefix("token:")
        return name if program == name else say(N_("the program %(name)s")) % {"name": program}

    def duration(ms: int) -> str:
        return when.duration(ms, say)

    environment.filters |= {
        "age": age,
        "moment": moment,
        "duration": duration,
        "clock": when.clock,
        "day": lambda at_ms: when.day(at_ms, language),
        "date": lambda at_ms: when.date(at_ms, language),
        "calendar_day": lambda day: when.calendar_day(day, language),
        "say": in_words,
        "name": name,
        "who": who,
        "figure": figure,
    }
    environment.globals |= {
        "lang": str(language),
        "languages": [(str(other), NAMES[other]) for other in Language],
        "asset": assets.url,
        "words": words,
        "age_formats": {shape: say(msgid) for shape, msgid in when.AGE_FORMATS.items()},
    }
    return environment


def figure(value: float) -> Markup:
    """Print a measured number with no more digits than it deserves."""
    return escape(f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}".rstrip("0").rstrip("."))
