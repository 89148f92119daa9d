"""Times as people read them: Bangkok's clock, Thai years marked as พ.ศ., ages in words.

Thailand keeps UTC+7 without summer time, so Bangkok's time is a fixed offset. A date object never holds a Buddhist year:
the year is shifted by 543 only when it is written.
"""

import datetime as calendar
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from fleet_server.console.i18n import N_, Language

BANGKOK: Final = timezone(timedelta(hours=7), "Asia/Bangkok")
OFFSET_MS: Final = 7 * 3_600_000
"""How far Bangkok is ahead of UTC."""
BUDDHIST_OFFSET: Final = 543
DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000

_MONTHS: Final = {
    Language.THAI: ("ม.ค.", "ก.พ.", "มี.ค.", "เม.ย.", "พ.ค.", "มิ.ย.", "ก.ค.", "ส.ค.", "ก.ย.", "ต.ค.", "พ.ย.", "ธ.ค."),
    Language.ENGLISH: ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
}

AGE_FORMATS: Final = {
    "s": N_("%(s)s s"),
    "m": N_("%(m)s min"),
    "h": N_("%(h)s h %(m)s min"),
    "d": N_("%(d)s d %(h)s h"),
}
"""The four shapes of an age, by its largest unit; the page's script ticks with the same words."""


def bangkok(at_ms: int) -> datetime:
    """Return the instant on Bangkok's clock."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(BANGKOK)


def iso(at_ms: int) -> str:
    """Return the instant for machines, with its offset, to the millisecond."""
    return bangkok(at_ms).isoformat(timespec="milliseconds")


def date(at_ms: int, language: Language) -> str:
    """Return the day on Bangkok's calendar."""
    return calendar_day(bangkok(at_ms), language)


def calendar_day(day: calendar.date, language: Language) -> str:
    """Return a day, its year marked: `24 พ.ย. พ.ศ. 2569`, `24 Nov 2026`."""
    month = _MONTHS[language][day.month - 1]
    if language is Language.THAI:
        return f"{day.day} {month} พ.ศ. {day.year + BUDDHIST_OFFSET}"
    return f"{day.day} {month} {day.year}"


def clock(at_ms: int, *, seconds: bool = False) -> str:
    """Return the time of day, `14:05` or `14:05:09`."""
    return bangkok(at_ms).strftime("%H:%M:%S" if seconds else "%H:%M")


def moment(at_ms: int, now_ms: int, language: Language, *, seconds: bool = False) -> str:
    """Return the time of day, with the day before it when that is not today's."""
    if bangkok(at_ms).date() == bangkok(now_ms).date():
        return clock(at_ms, seconds=seconds)
    return f"{date(at_ms, language)} {clock(at_ms, seconds=seconds)}"


def age_parts(age_ms: int) -> tuple[str, dict[str, int]]:
    """Return the shape of an age and its numbers. An age below zero (clocks differ) counts as zero."""
    seconds = max(0, age_ms) // 1000
    if seconds < 60:
        return "s", {"s": seconds}
    if seconds < 3600:
        return "m", {"m": seconds // 60}
    if seconds < 48 * 3600:
        return "h", {"h": seconds // 3600, "m": seconds % 3600 // 60}
    return "d", {"d": seconds // 86_400, "h": seconds % 86_400 // 3600}


def age(age_ms: int, translate: Callable[[str], str]) -> str:
    """Return an age in words."""
    shape, numbers = age_parts(age_ms)
    return translate(AGE_FORMATS[shape]) % numbers


DURATION_FORMATS: Final = {
    "0": N_("less than 1 s"),
    "s": N_("%(s)s s"),
    "ms": N_("%(m)s min %(s)s s"),
    "m": N_("%(m)s min"),
    "h": N_("%(h)s h %(m)s min"),
    "d": N_("%(d)s d %(h)s h"),
}


def duration(ms: int, translate: Callable[[str], str]) -> str:
    """Return a length of time in words; unlike an age it does not tick, so minutes keep their seconds."""
    shape, numbers = age_parts(ms)
    seconds = max(0, ms) // 1000 % 60
    if 0 < ms < 1000:
        shape = "0"
    if shape == "m" and seconds:
        shape, numbers = "ms", numbers | {"s": seconds}
    return translate(DURATION_FORMATS[shape]) % numbers


def day(at_ms: int, language: Language) -> str:
    """Return the day without its year, `24 พ.ย.`."""
    when = bangkok(at_ms)
    return f"{when.day} {_MONTHS[language][when.month - 1]}"
