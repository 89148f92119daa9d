"""Cursors go where they came from, and nowhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_server.errors import Rejected
from fleet_server.paging import decode_cursor, encode_cursor, page_of


@given(st.one_of(st.text(max_size=80).filter(lambda text: "\x00" not in text), st.integers(-(2**60), 2**60)))
def test_cursor_round_trip(key: str | int) -> None:
    cursor = encode_cursor("positions", key)
    assert cursor.isascii()
    assert "=" not in cursor
    assert decode_cursor("positions", cursor, type(key)) == key  # type: ignore[type-var]  # int or str, never their union


@given(st.text(max_size=60))
def test_garbage_is_refused(text: str) -> None:
    with pytest.raises(Rejected):
        decode_cursor("positions", text, str)


@pytest.mark.parametrize(
    "cursor",
    [encode_cursor("nodes", "a"), encode_cursor("positions", 1), encode_cursor("positions", "\x00"), encode_cursor("positions", "\ud800")],
)
def test_cursor_of_another_list_is_refused(cursor: str) -> None:
    with pytest.raises(Rejected, match="another list"):
        decode_cursor("positions", cursor, str)


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**400])
def test_number_that_no_database_has_is_refused(number: int) -> None:
    with pytest.raises(Rejected, match="another list"):
        decode_cursor("audit", encode_cursor("audit", number), int)


def test_first_page_has_no_cursor() -> None:
    assert decode_cursor("positions", None, str) is None


def test_pages_follow_each_other_and_end() -> None:
    rows = list(range(1, 8))
    seen: list[int] = []
    cursor: str | None = None
    for _ in range(10):
        after = decode_cursor("n", cursor, int) or 0
        page = page_of([r for r in rows if r > after][:4], limit=3, listing="n", key=lambda r: r, show=lambda r: r)
        seen += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == rows


def test_full_last_page_has_no_next() -> None:
    assert page_of([1, 2], limit=2, listing="n", key=lambda r: r, show=lambda r: r).next_cursor is None
    assert page_of([], limit=2, listing="n", key=lambda r: r, show=lambda r: r).next_cursor is None
