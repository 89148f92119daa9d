"""Pages of long lists: an opaque cursor says where the next one begins, so pages stay right while rows come and go."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Annotated, Final, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel

from fleet_server.errors import Rejected

T = TypeVar("T")
R = TypeVar("R")
K = TypeVar("K", int, str)

MAX_LIMIT: Final = 500
MAX_NUMBER: Final = 2**63 - 1
"""Of a row; a larger one is an error to every database."""
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many items at most.")]
Cursor = Annotated[str | None, Query(max_length=512, description="`next_cursor` of the page before.")]


class Page(BaseModel, Generic[T]):
    """One page of a list."""

    items: list[T]
    next_cursor: str | None = None
    """Give it back as `cursor` for the next page; null on the last one."""


def page_of(rows: Sequence[R], *, limit: int, listing: str, key: Callable[[R], int | str], show: Callable[[R], T]) -> Page[T]:
    """Make a page of at most `limit` items from rows that were asked for with `limit + 1`.

    `listing` names the list, so that a cursor of one list is refused by another; `key` is what the list is sorted by.
    """
    shown = rows[:limit]
    has_more = len(rows) > limit
    return Page(items=[show(row) for row in shown], next_cursor=encode_cursor(listing, key(shown[-1])) if has_more and shown else None)


def encode_cursor(listing: str, key: int | str) -> str:
    """Return the cursor that goes on after `key`."""
    return base64.urlsafe_b64encode(json.dumps([listing, key], separators=(",", ":")).encode()).decode().rstrip("=")


def decode_cursor(listing: str, cursor: str | None, kind: type[K]) -> K | None:
    """Return the key after which the page begins; None for the first page.

    Raises:
        Rejected: it is no cursor of this list.
    """
    if cursor is None:
        return None
    try:
        value = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise Rejected("The cursor is damaged: begin again without one.") from error
    if not (isinstance(value, list) and len(value) == 2 and value[0] == listing and type(value[1]) is kind and _is_storable(value[1])):
        raise Rejected("The cursor belongs to another list: begin again without one.")
    key: K = value[1]
    return key


def _is_storable(key: int | str) -> bool:
    """Whether a database may be asked for it: cursors come from outside, whatever is in them."""
    if isinstance(key, int):
        return abs(key) <= MAX_NUMBER
    return "\x00" not in key and key.encode("utf-8", "replace").decode() == key
