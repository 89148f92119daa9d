"""A claim code survives being read aloud and typed by hand; what is wrong with it is noticed; guessing gains nothing."""

from contextlib import suppress
from datetime import timedelta
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.claims import LIFE, ClaimCode, claim_digest, format_claim, is_claim, new_claim, parse_claim
from provisioning.errors import Rejected

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
KEY = b"k" * 32


def completed(body: str) -> ClaimCode:
    """Return the one code that begins with these 16 symbols."""
    fitting = []
    for symbol in ALPHABET:
        with suppress(Rejected):
            fitting.append(parse_claim(body + symbol))
    (code,) = fitting
    return code


codes = st.text(ALPHABET, min_size=16, max_size=16).map(completed)


def test_this_code_stays_valid() -> None:
    """Printed labels outlive releases: neither the symbols nor the check may ever change."""
    assert parse_claim("7KQ2-M9TX-4HVB-0RPZ-S") == "7KQ2M9TX4HVB0RPZS"


def test_codes_are_random_and_shown_in_groups() -> None:
    assert len({new_claim() for _ in range(200)}) == 200
    shown = format_claim(ClaimCode("7KQ2M9TX4HVB0RPZS"))
    assert shown == "7KQ2-M9TX-4HVB-0RPZ-S"


@given(codes, st.data())
def test_any_way_of_typing_it_is_read(code: ClaimCode, data: st.DataObject) -> None:
    looks = {"0": "0oO๐", "1": "1iIlL๑", "9": "9๙"}
    typed = []
    for symbol in code:
        typed.append(data.draw(st.sampled_from(looks.get(symbol, symbol + symbol.lower()))))
        typed.append(data.draw(st.sampled_from(["", "", "-", " ", "–", "\t"])))
    assert parse_claim("".join(typed)) == code


@given(codes)
def test_every_single_wrong_symbol_is_noticed(code: ClaimCode) -> None:
    for place in range(len(code)):
        for symbol in ALPHABET.replace(code[place], ""):
            with pytest.raises(Rejected, match="mistyped"):
                parse_claim(code[:place] + symbol + code[place + 1 :])


@given(codes)
def test_every_exchange_of_two_symbols_is_noticed(code: ClaimCode) -> None:
    for a, b in combinations(range(len(code)), 2):
        if code[a] != code[b]:
            symbols = list(code)
            symbols[a], symbols[b] = symbols[b], symbols[a]
            with pytest.raises(Rejected, match="mistyped"):
                parse_claim("".join(symbols))


@given(st.text(max_size=200))
def test_garbage_is_refused_with_a_sentence(text: str) -> None:
    try:
        code = parse_claim(text)
    except Rejected as error:
        assert str(error).endswith(".")  # noqa: PT017  # both outcomes are right; Hypothesis chooses
    else:
        assert len(code) == 17


@pytest.mark.parametrize("text", ["", "7KQ2", "7KQ2-M9TX-4HVB-0RPZ-S5", "7KQ2-M9TX-4HVB-0RPU-5", "x" * 10_000_000])
def test_wrong_length_and_symbols(text: str) -> None:
    with pytest.raises(Rejected):
        parse_claim(text)


@given(codes, codes)
def test_only_the_right_code_of_the_right_serial_under_the_right_key(code: ClaimCode, other: ClaimCode) -> None:
    stored = claim_digest(KEY, "SSZ-1", code)
    assert len(stored) == 32
    assert is_claim(KEY, "SSZ-1", code, stored)
    assert not is_claim(KEY, "SSZ-2", code, stored)
    assert not is_claim(b"x" * 32, "SSZ-1", code, stored)
    assert is_claim(KEY, "SSZ-1", other, stored) is (code == other)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        claim_digest(b"short", "SSZ-1", new_claim())


def test_a_code_lives_18_months() -> None:
    assert timedelta(days=547) <= LIFE <= timedelta(days=549)
