"""`docker-compose.yml` as Compose reads it: variables filled in, `$$` unescaped."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\})")


def load(variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the project, with Compose's interpolation done with these variables only."""
    raw = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    filled: dict[str, Any] = _filled(raw, variables or {})
    return filled


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: _value(found, variables), value)
    if isinstance(value, dict):
        return {key: _filled(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, variables) for item in value]
    return value


def _value(found: re.Match[str], variables: Mapping[str, str]) -> str:
    if found[0] == "$$":
        return "$"
    default = found["default"]
    value = variables.get(found["name"], default)
    assert value is not None, f"{found[0]} has no default: Compose would fill in nothing and go on"
    return value
