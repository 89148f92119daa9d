"""Languages of the pages: Thai first, English beside it.

Msgids are English sentences; the Thai catalogue `locale/th.po` is compiled in memory when it is first asked for, so no compiled file can be
out of date. A sentence is translated whole: values go in by named placeholders.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cache
from gettext import GNUTranslations, NullTranslations
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # loaded with the first page: a server is up sooner without
    from babel.messages.catalog import Catalog

LOCALE_DIR: Final = Path(__file__).parent / "locale"
COOKIE: Final = "ssz_lang"


class Language(StrEnum):
    """A language of the pages, by its BCP 47 tag."""

    THAI = "th"
    ENGLISH = "en"


def N_(message: str) -> str:  # noqa: N802  # gettext's own name for "translate later"
    """Mark a msgid in a table; it is translated where it is shown."""
    return message


def read_catalogue(language: Language) -> "Catalog":
    """Read the committed catalogue of a language."""
    from babel.messages.pofile import read_po

    with (LOCALE_DIR / f"{language}.po").open("rb") as file:
        return read_po(file, locale=str(language), abort_invalid=True)


@cache
def translations(language: Language) -> NullTranslations:
    """Return the translations of a language; English is what the msgids are in."""
    if language is Language.ENGLISH:
        return NullTranslations()
    from babel.messages.mofile import write_mo

    compiled = BytesIO()
    write_mo(compiled, read_catalogue(language))
    compiled.seek(0)
    return GNUTranslations(compiled)


def choose(*, query: str | None, cookie: str | None, accept: str | None) -> Language:
    """Return the language to answer in: asked for in the address, kept in the cookie, preferred by the browser, else Thai."""
    for wish in (query, cookie):
        if wish in {str(language) for language in Language}:
            return Language(wish)
    return _accepted(accept or "")


def _accepted(header: str) -> Language:
    """Pick by `Accept-Language`. Source: RFC 9110 §12.5.4."""
    wishes = sorted(_weighted(header.split(",")), key=lambda wish: -wish[1])
    for tag, weight in wishes:
        primary = tag.partition("-")[0]
        if weight > 0 and primary in {str(language) for language in Language}:
            return Language(primary)
    return Language.THAI


def _weighted(items: Iterable[str]) -> Iterable[tuple[str, float]]:
    for item in items:
        tag, _, parameter = item.strip().partition(";")
        try:
            weight = float(parameter.strip().removeprefix("q=")) if parameter else 1.0
        except ValueError:
            continue
        yield tag.strip().lower(), weight


NAMES: Final[Mapping[Language, str]] = {Language.THAI: "ไทย", Language.ENGLISH: "English"}
"""How each language calls itself."""
