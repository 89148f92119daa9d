import datetime

import pytest

from fleet_server.console import when
from fleet_server.console.i18n import Language, translations

NOON_MS = 1_795_496_700_000  # 2026-11-24 05:05:00 UTC, 12:05 in Bangkok
THAI = translations(Language.THAI).gettext
ENGLISH = translations(Language.ENGLISH).gettext


def test_thai_years_are_marked() -> None:
    assert when.date(NOON_MS, Language.THAI) == "24 พ.ย. พ.ศ. 2569"
    assert when.date(NOON_MS, Language.ENGLISH) == "24 Nov 2026"


def test_the_leap_day_of_a_buddhist_year_that_python_does_not_know() -> None:
    assert when.date(1_709_190_000_000, Language.THAI) == "29 ก.พ. พ.ศ. 2567"


def test_days_change_at_midnight_in_bangkok() -> None:
    midnight_ms = 1_795_453_200_000  # 2026-11-23 17:00 UTC
    assert when.date(midnight_ms - 1, Language.ENGLISH) == "23 Nov 2026"
    assert when.date(midnight_ms, Language.ENGLISH) == "24 Nov 2026"


def test_a_day_without_a_time_is_written_alike() -> None:
    assert when.calendar_day(datetime.date(2028, 2, 29), Language.THAI) == "29 ก.พ. พ.ศ. 2571"
    assert when.calendar_day(datetime.date(2028, 2, 29), Language.ENGLISH) == "29 Feb 2028"


def test_a_moment_names_its_day_unless_it_is_today() -> None:
    assert when.moment(NOON_MS, NOON_MS + 60_000, Language.THAI) == "12:05"
    assert when.moment(NOON_MS, NOON_MS + when.DAY_MS, Language.THAI) == "24 พ.ย. พ.ศ. 2569 12:05"
    assert when.moment(NOON_MS, NOON_MS, Language.ENGLISH, seconds=True) == "12:05:00"


@pytest.mark.parametrize(
    ("ms", "thai", "english"),
    [
        (-5_000, "0 วินาที", "0 s"),
        (59_999, "59 วินาที", "59 s"),
        (60_000, "1 นาที", "1 min"),
        (3_599_999, "59 นาที", "59 min"),
        (3_600_000, "1 ชม. 0 นาที", "1 h 0 min"),
        (48 * 3_600_000, "2 วัน 0 ชม.", "2 d 0 h"),
    ],
)
def test_ages(ms: int, thai: str, english: str) -> None:
    assert when.age(ms, THAI) == thai
    assert when.age(ms, ENGLISH) == english


def test_a_length_keeps_the_seconds_of_its_minutes() -> None:
    assert when.duration(90_000, ENGLISH) == "1 min 30 s"
    assert when.duration(120_000, ENGLISH) == "2 min"
    assert when.duration(7_260_000, THAI) == "2 ชม. 1 นาที"


def test_a_length_of_a_moment_is_not_said_to_be_none() -> None:
    assert when.duration(140, ENGLISH) == "less than 1 s"
    assert when.duration(0, ENGLISH) == "0 s"


def test_machines_read_the_offset() -> None:
    assert when.iso(NOON_MS) == "2026-11-24T12:05:00.000+07:00"
