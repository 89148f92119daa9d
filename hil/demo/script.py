"""What happens by itself during a demo, and when: acts by name, in seconds from readiness."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hil.demo.errors import DemoFailed


@dataclass(frozen=True, slots=True)
class Step:
    """One act at one time; `target` is a position's or node's name where the act needs one."""

    at_s: float
    act: str
    target: str = ""


DEFAULT: Final = (
    Step(20, "press", "TWN-P01-SOS"),
    Step(30, "kill_all_cameras"),
    Step(60, "restore_cameras"),
)
"""A press, and half a minute in which no camera works."""


def load_script(name: str | None) -> tuple[Step, ...]:
    """Return the default script, none (`"none"`), or the one in a TOML file of `[[step]]` tables with `at_s`, `act`, `target`.

    Raises:
        DemoFailed: the file cannot be read or a step is wrong.
    """
    if name is None:
        return DEFAULT
    if name == "none":
        return ()
    try:
        steps = tomllib.loads(Path(name).read_text())["step"]
        script = tuple(Step(float(step["at_s"]), str(step["act"]), str(step.get("target", ""))) for step in steps)
    except OSError as error:
        raise DemoFailed(f"The script {name} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise DemoFailed(f"The script {name} is wrong: each [[step]] needs at_s (seconds) and act ({error}).") from error
    return tuple(sorted(script, key=lambda step: step.at_s))
