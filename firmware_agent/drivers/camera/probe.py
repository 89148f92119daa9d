"""Is there a camera, and does it offer video? OPTIONS and DESCRIBE over TCP; below a millisecond of CPU.

Outcomes are kept apart, because each sends somebody else to work: `refused`, `unreachable`, `timeout` (no connection in time),
`silent` (accepted, but says nothing), `closed`, `bad_reply`, `http_401`, `http_404`, `http_503` (any status), `no_video`.

Source: RFC 2326 §10.1, §10.2; reference `edge.md` §1.3.
"""

import asyncio
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from firmware_agent.drivers.camera.authorization import Credentials, answer
from firmware_agent.drivers.camera.settings import Target

_MAX_HEAD: Final = 8_192
_MAX_BODY: Final = 65_536
_AGENT: Final = "zone-agent"
_STATUS: Final = re.compile(r"[1-5][0-9]{2}")


@dataclass(frozen=True)
class Probe:
    """What one probe found; `cause` is empty when the camera offers video."""

    cause: str = ""
    rtt_ms: float | None = None
    """From the first request to its answer."""


@dataclass(frozen=True)
class Reply:
    """An RTSP response."""

    status: int
    challenges: tuple[str, ...] = ()
    body: bytes = b""


async def probe(target: Target, *, timeout_s: float) -> Probe:
    """Look once; never raises for what a camera does."""
    try:
        return await _probe(target, timeout_s)
    except _Finished as finished:
        return Probe(finished.cause)


class _Finished(Exception):
    def __init__(self, cause: str) -> None:
        self.cause = cause


async def _probe(target: Target, timeout_s: float) -> Probe:
    line = await _Line.open(target, timeout_s)
    try:
        began_s = time.monotonic()
        await line.ask("OPTIONS")
        rtt_ms = (time.monotonic() - began_s) * 1000
        reply = await line.ask("DESCRIBE")
        if reply.status == 401 and target.user:
            line, reply = await _with_password(line, target, reply, timeout_s)
    finally:
        line.close()
    if reply.status != 200:
        return Probe(f"http_{reply.status}", rtt_ms)
    return Probe("" if b"m=video" in reply.body else "no_video", rtt_ms)


async def _with_password(line: "_Line", target: Target, challenge: Reply, timeout_s: float) -> tuple["_Line", Reply]:
    """Ask again with credentials; some cameras hang up after a challenge, so on a new line if need be."""
    authorization = answer(challenge.challenges, "DESCRIBE", target.uri, Credentials(target.user, target.password))
    if authorization is None:
        return line, challenge
    try:
        return line, await line.ask("DESCRIBE", authorization)
    except _Finished as finished:
        if finished.cause != "closed":
            raise
    line.close()
    line = await _Line.open(target, timeout_s)
    return line, await line.ask("DESCRIBE", authorization)


class _Line:
    """One connection to a camera."""

    def __init__(self, target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeout_s: float) -> None:
        self._target = target
        self._reader = reader
        self._writer = writer
        self._timeout_s = timeout_s
        self._cseq = 0

    @staticmethod
    async def open(target: Target, timeout_s: float) -> "_Line":
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await asyncio.open_connection(target.host, target.port, limit=_MAX_HEAD)
        except TimeoutError as error:
            raise _Finished("timeout") from error
        except ConnectionRefusedError as error:
            raise _Finished("refused") from error
        except (OSError, UnicodeError) as error:  # a name that no name server can be asked for is a UnicodeError
            raise _Finished("unreachable") from error
        return _Line(target, reader, writer, timeout_s)

    async def ask(self, method: str, authorization: str = "") -> Reply:
        self._cseq += 1
        lines = [f"{method} {self._target.uri} RTSP/1.0", f"CSeq: {self._cseq}", f"User-Agent: {_AGENT}"]
        if method == "DESCRIBE":
            lines.append("Accept: application/sdp")
        if authorization:
            lines.append(f"Authorization: {authorization}")
        try:
            async with asyncio.timeout(self._timeout_s):
                self._writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
                await self._writer.drain()
                return await read_reply(self._reader)
        except TimeoutError as error:
            raise _Finished("silent") from error
        except (asyncio.IncompleteReadError, OSError) as error:
            raise _Finished("closed") from error
        except (ValueError, asyncio.LimitOverrunError) as error:
            raise _Finished("bad_reply") from error

    def close(self) -> None:
        with suppress(OSError):
            self._writer.close()


async def read_reply(reader: asyncio.StreamReader) -> Reply:
    """Read one response.

    Raises:
        ValueError: this is no RTSP.
        asyncio.IncompleteReadError: the other side hung up.
    """
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lstrip("\r\n")  # some send an empty line too many
    first, *lines = head.split("\r\n")
    version, status, *_ = [*first.split(" ", 2), "", ""]
    if not version.startswith("RTSP/") or not _STATUS.fullmatch(status):
        raise ValueError("not an RTSP response")
    headers = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    length = int(dict(headers).get("content-length", "0"))
    if not 0 <= length <= _MAX_BODY:
        raise ValueError(f"a body of {length} bytes")
    challenges = tuple(value for name, value in headers if name == "www-authenticate")
    return Reply(int(status), challenges, await reader.readexactly(length))
