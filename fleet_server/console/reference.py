"""The interface for programs, as a page reads it off the OpenAPI description."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that a program can ask for; `what` is the first line of its description, in English."""

    room: str
    method: str
    path: str
    what: str


def rooms(openapi: Mapping[str, Any]) -> Sequence[tuple[str, Sequence[Operation]]]:
    """Return the operations by room, in the order of the description."""
    found = [_operation(method, path, said) for path, methods in openapi["paths"].items() for method, said in methods.items()]
    return [(room, list(members)) for room, members in groupby(found, key=lambda operation: operation.room)]


def _operation(method: str, path: str, said: Mapping[str, Any]) -> Operation:
    return Operation(next(iter(said.get("tags", ())), ""), method.upper(), path, str(said.get("description", "")).partition("\n")[0])
