"""Answers to a challenge: digest (MD5, SHA-256; with and without `qop`) and basic. Pure.

Source: RFC 2617, RFC 7616 (digest), RFC 7617 (basic), RFC 2326 §14 (RTSP uses them as HTTP does).
"""

import base64
import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

_ALGORITHMS: Final = {"": "md5", "MD5": "md5", "SHA-256": "sha256"}
_PARAMETER: Final = re.compile(r'\b(\w+)\s*=\s*(?:"([^"]*)"|([^\s,]+))')


@dataclass(frozen=True)
class Credentials:
    """Who we are to the camera."""

    user: str
    password: str = field(repr=False)


def answer(challenges: Sequence[str], method: str, uri: str, who: Credentials, *, cnonce: str = "") -> str | None:
    """Return the `Authorization` header for the first digest challenge (`WWW-Authenticate` values) we know, else for basic.

    None: none of them can be answered. `cnonce` is for tests; random when empty.
    """
    for challenge in challenges:
        scheme, _, rest = challenge.partition(" ")
        parameters = {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(rest)}
        if scheme.lower() == "digest" and parameters.get("algorithm", "").upper() in _ALGORITHMS and "nonce" in parameters:
            return _digest(parameters, method, uri, who, cnonce or secrets.token_hex(8))
    if any(challenge.lower().startswith("basic") for challenge in challenges):
        return "Basic " + base64.b64encode(f"{who.user}:{who.password}".encode()).decode()
    return None


def _digest(given: dict[str, str], method: str, uri: str, who: Credentials, cnonce: str) -> str:
    algorithm = given.get("algorithm", "").upper()

    def digest(text: str) -> str:
        return hashlib.new(_ALGORITHMS[algorithm], text.encode(), usedforsecurity=False).hexdigest()

    realm, nonce = given.get("realm", ""), given["nonce"]
    first, second = digest(f"{who.user}:{realm}:{who.password}"), digest(f"{method}:{uri}")
    has_qop = "auth" in [word.strip() for word in given.get("qop", "").split(",")]
    middle = f"{nonce}:00000001:{cnonce}:auth" if has_qop else nonce
    parts = [
        f'username="{who.user}"',
        f'realm="{realm}"',
        f'nonce="{nonce}"',
        f'uri="{uri}"',
        f'response="{digest(f"{first}:{middle}:{second}")}"',
    ]
    if algorithm:
        parts.append(f"algorithm={given['algorithm']}")
    if "opaque" in given:
        parts.append(f'opaque="{given["opaque"]}"')
    if has_qop:
        parts += ["qop=auth", "nc=00000001", f'cnonce="{cnonce}"']
    return "Digest " + ", ".join(parts)
