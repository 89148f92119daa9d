"""Claim codes: the one-time secret on a node's label that lets it ask for its certificate.

A code is 16 random symbols (80 bit) and a check symbol, shown as `7KQ2-M9TX-4HVB-0RPZ-S`. The symbols are Crockford's
base32: no I, L, O and U, so that a code can be read aloud and typed by hand. The check symbol is one of the same 32
(Crockford's own may be `*`, `~`, `$` or `=`) and finds every single wrong symbol and every exchange of two.
"""

import hashlib
import hmac
import secrets
from datetime import timedelta
from typing import Final, NewType

from provisioning.errors import Rejected

ClaimCode = NewType("ClaimCode", str)
"""17 symbols without dashes, the last of them right for the others."""

LIFE: Final = timedelta(days=548)
"""18 months: as long as stock may lie in a warehouse; a supervisor can have a new one made."""

KEY_BYTES: Final = 32

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_SYMBOLS: Final = 16
_GROUP: Final = 4
_LONGEST: Final = 64
_READ_AS: Final = str.maketrans("OIL๐๑๒๓๔๕๖๗๘๙", "0110123456789", " \t\r\n\u00a0-‐‑‒–—_.")


def new_claim() -> ClaimCode:
    """Return a random code."""
    body = "".join(secrets.choice(_ALPHABET) for _ in range(_SYMBOLS))
    return ClaimCode(body + _check(body))


def format_claim(code: ClaimCode) -> str:
    """Return a code in groups of four, as labels show it."""
    return "-".join(code[i : i + _GROUP] for i in range(0, len(code), _GROUP))


def parse_claim(text: str) -> ClaimCode:
    """Read a code as people type it: any case, dashes and spaces anywhere, O for 0, I and L for 1, Thai digits.

    Raises:
        Rejected: it has a wrong length, a symbol that no code has, or was mistyped.
    """
    code = text[:_LONGEST].upper().translate(_READ_AS)
    if len(text) > _LONGEST or len(code) != _SYMBOLS + 1:
        raise Rejected(f"A claim code has {_SYMBOLS + 1} symbols.")
    if any(c not in _ALPHABET for c in code):
        raise Rejected("A claim code holds digits and Latin letters, without U.")
    if _check(code[:-1]) != code[-1]:
        raise Rejected("The claim code is mistyped: its last symbol does not fit the others.")
    return ClaimCode(code)


def claim_digest(key: bytes, serial: str, code: ClaimCode) -> bytes:
    """Return what is stored in place of a code (32 bytes); bound to the serial, so that it fits no other node's row.

    Args:
        key: the server's secret, at least 32 bytes.
        serial: the node's label serial.
        code: as `parse_claim` or `new_claim` gave it.
    """
    if len(key) < KEY_BYTES:
        raise ValueError(f"the key of claim codes needs at least {KEY_BYTES} bytes")
    return hmac.digest(key, serial.encode() + b"\0" + code.encode(), hashlib.sha256)


def is_claim(key: bytes, serial: str, code: ClaimCode, stored: bytes) -> bool:
    """Say whether `code` is the one whose digest is `stored`, in a time that does not depend on the answer."""
    return hmac.compare_digest(claim_digest(key, serial, code), stored)


def _check(body: str) -> str:
    """Return the symbol that makes the weighted sum of all symbols zero; weights are powers of 2 in GF(32), x⁵ + x² + 1."""
    total = 0
    for position, symbol in enumerate(reversed(body), start=1):
        total ^= _times_power(_ALPHABET.index(symbol), position)
    return _ALPHABET[total]


def _times_power(value: int, power: int) -> int:
    for _ in range(power):
        value <<= 1
        if value & 0b100000:
            value ^= 0b100101
    return value
