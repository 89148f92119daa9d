from datetime import UTC, datetime

import pytest

from firmware_agent.drivers.street_light.schedule import parse_schedule


def at(utc: str) -> int:
    return int(datetime.fromisoformat(utc).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("utc", "level"),
    [
        ("2026-11-24 11:00", 100),  # 18:00 in Bangkok
        ("2026-11-24 10:59", 0),
        ("2026-11-24 17:00", 100),  # midnight
        ("2026-11-24 22:59", 100),
        ("2026-11-24 23:00", 0),  # 06:00
        ("2026-11-24 05:00", 0),  # noon
    ],
)
def test_hours_over_midnight(utc: str, level: int) -> None:
    schedule = parse_schedule("hours", ["18:00-06:00"], "+07:00")
    assert schedule.level_percent(at(utc), is_trusted=True) == level


def test_several_spans_and_a_western_offset() -> None:
    schedule = parse_schedule("hours", ["05:00-07:00", "17:30-23:00"], "-03:30")
    lit = [hour for hour in range(24) if schedule.level_percent(at(f"2026-06-01 {hour:02}:30"), is_trusted=True)]
    assert lit == [0, 1, 8, 9, 21, 22, 23]


def test_an_untrusted_clock_leaves_the_light_on() -> None:
    schedule = parse_schedule("hours", ["18:00-06:00"], "+07:00")
    assert schedule.level_percent(at("1970-01-01 05:00"), is_trusted=False) == 100
    assert parse_schedule("always_off", [], "+07:00").level_percent(0, is_trusted=False) == 0
    assert parse_schedule("always_on", [], "+07:00").level_percent(0, is_trusted=True) == 100


def test_hours_belong_to_their_kind() -> None:
    with pytest.raises(ValueError, match="hours"):
        parse_schedule("hours", [], "+07:00")
    with pytest.raises(ValueError, match="hours"):
        parse_schedule("always_on", ["18:00-06:00"], "+07:00")
