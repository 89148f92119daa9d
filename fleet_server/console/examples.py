"""Example values for the page that shows every component in every state."""

from typing import Any

from firmware_agent.contract.vocabulary import Kind
from fleet_server.console import model, when, words
from fleet_server.console.facts import Position, Press, Unit
from fleet_server.console.tree import Branch
from fleet_server.presence.model import Segment, State
from fleet_server.scoring.innovation import Innovation, TypeCount
from fleet_server.scoring.model import innovation
from fleet_server.uptime.model import Parts

_ROWS = (
    (Kind.CAMERA, State.WORKING, ""),
    (Kind.CAMERA, State.DEGRADED, "low_fps"),
    (Kind.CAMERA, State.FAILED, "unreachable"),
    (Kind.PANIC_BUTTON, State.UNKNOWN, "node_offline"),
    (Kind.STREET_LIGHT, State.MAINTENANCE, "new lamp"),
    (Kind.SENSOR, State.EXCUSED, "power cut, MEA 12/34"),
)


def design(now_ms: int) -> dict[str, Any]:
    """Return the context of the design page."""
    from_ms = now_ms - when.DAY_MS
    timeline = [
        Segment(from_ms + index * when.DAY_MS // 12, from_ms + (index + 1) * when.DAY_MS // 12, state)
        for index, state in enumerate([State.WORKING, State.WORKING, *State, State.WORKING, State.FAILED, State.WORKING, State.WORKING])
    ]
    types = (TypeCount("cctv", 4, 4), TypeCount("panic_button", 3, 3), TypeCount("street_light", 0, 4))
    rows = [_row(index, now_ms) for index in range(len(_ROWS))]
    return {
        "meanings": words.MEANINGS,
        "places": {},
        "rows": rows,
        "branches": [
            Branch(Unit("", "ตัวอย่าง", "Example"), model.headline([row.position for row in group]), len(group)) for group in (rows, rows[:1])
        ],
        "headlines": [model.headline([row.position]) for row in rows[:4]],
        "bars": model.bars(timeline, from_ms=from_ms, to_ms=now_ms),
        "ticks": model.ticks(from_ms=from_ms, to_ms=now_ms, offset_ms=when.OFFSET_MS, at_most=6),
        "presses": [_press(now_ms, is_drill=False), _press(now_ms, is_drill=True)],
        "ladder": model.ladder(Innovation(types, innovation(2), is_demo=True)),
    }


def _row(index: int, now_ms: int) -> model.Row:
    kind, state, cause = _ROWS[index]
    position = Position(
        code=f"EX-P0{index + 1}",
        kind=kind,
        label_th=f"ตัวอย่าง เสา {index + 1}",
        label_en=f"Example, pole {index + 1}",
        unit_path="/",
        zone_code="EX",
        state=state,
        cause=cause,
        since_ms=now_ms - 754_000,
        observed_at_ms=now_ms - 4_000,
    )
    lost_ms = 754_000
    return model.row(position, Parts(working_ms=when.DAY_MS - lost_ms) + Parts(**{f"{state}_ms": lost_ms}))


def _press(now_ms: int, *, is_drill: bool) -> Press:
    return Press(
        event_id="drill" if is_drill else "press",
        code="",
        label_th="ปุ่มฉุกเฉิน เสา 4",
        label_en="Panic button, pole 4",
        occurred_at_ms=now_ms - 41_000,
        stored_at_ms=now_ms - 40_800,
        is_drill=is_drill,
    )
