import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir

import fleet_server.console
from fleet_server.console.i18n import Language, choose, read_catalogue, translations

CONSOLE = Path(fleet_server.console.__file__).parent
PLACEHOLDER = re.compile(r"%\((\w+)\)s")


def used_msgids() -> Iterator[str]:
    found = extract_from_dir(
        CONSOLE,
        method_map=[("**.py", "python"), ("templates/**.html", "jinja2")],
        options_map={"templates/**.html": {"newstyle_gettext": "true"}},
        keywords={"N_": None, "_": None, "gettext": None},
    )
    for _file, _line, message, _comments, _context in found:
        assert isinstance(message, str)
        yield message


def test_every_sentence_that_is_shown_has_thai_words() -> None:
    catalogue = read_catalogue(Language.THAI)
    missing = [msgid for msgid in used_msgids() if msgid not in catalogue or not catalogue[msgid].string]
    assert missing == []


def test_the_catalogue_holds_nothing_that_is_not_shown() -> None:
    assert {str(message.id) for message in read_catalogue(Language.THAI) if message.id} == set(used_msgids())


def test_placeholders_are_the_same_in_both_languages() -> None:
    for message in read_catalogue(Language.THAI):
        if message.id:
            assert sorted(PLACEHOLDER.findall(str(message.id))) == sorted(PLACEHOLDER.findall(str(message.string))), message.id
            assert not message.fuzzy, message.id


def test_no_thai_word_stands_in_templates_or_code() -> None:
    # `when` holds the names of months, `i18n` the languages' names for themselves, `examples` example labels.
    allowed = {"when.py", "i18n.py", "examples.py"}
    files = [*CONSOLE.glob("*.py"), *CONSOLE.rglob("templates/**/*.html")]
    assert files
    assert [f.name for f in files if f.name not in allowed and re.search(r"[\u0e00-\u0e7f]", f.read_text())] == []


@pytest.mark.parametrize(
    ("query", "cookie", "accept", "language"),
    [
        (None, None, None, Language.THAI),
        (None, None, "", Language.THAI),
        (None, None, "en-GB,en;q=0.9", Language.ENGLISH),
        (None, None, "de,fr;q=0.5", Language.THAI),
        (None, None, "de;q=0.9,en;q=0.5,th;q=0.7", Language.THAI),
        (None, None, "en;q=0,th;q=0", Language.THAI),
        (None, None, "en;q=much", Language.THAI),
        (None, "en", "th", Language.ENGLISH),
        ("th", "en", "en", Language.THAI),
        ("xx", "en", None, Language.ENGLISH),
        ("../etc", "<b>", "*", Language.THAI),
    ],
)
def test_language_is_asked_for_then_kept_then_preferred_then_thai(
    query: str | None, cookie: str | None, accept: str | None, language: Language
) -> None:
    assert choose(query=query, cookie=cookie, accept=accept) is language


def test_english_is_what_the_msgids_say() -> None:
    assert translations(Language.ENGLISH).gettext("Overview") == "Overview"
    assert translations(Language.THAI).gettext("Overview") == "ภาพรวม"
