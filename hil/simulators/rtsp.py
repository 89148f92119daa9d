"""A simulated camera: RTSP with RTP interleaved in its TCP connection, on a loopback port of its own.

Video is encoded once per scene (`scenes`) and only sent while somebody plays it, so an idle camera costs nothing.

Source: RFC 2326 (RTSP), RFC 6184 (H.264 in RTP), RFC 7616 and RFC 2617 (digest); reference `edge.md` §1.5.
"""

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
import struct
from contextlib import suppress
from types import TracebackType
from typing import Any, Final

from hil.simulators.scenes import FPS, Scene, loop_of

_HOST: Final = "127.0.0.1"
_REALM: Final = "simulated camera"
_RTP_CLOCK: Final = 90_000
_H264: Final = 96
_CLOSE_S: Final = 1.0
_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    461: "Unsupported Transport",
    503: "Service Unavailable",
}
_SCENES: Final = frozenset(scene.value for scene in Scene)


class CameraSimulator:
    """One camera. `user` and `password` make it ask for digest authentication."""

    def __init__(self, name: str = "stream", *, port: int = 0, user: str = "", password: str = "") -> None:
        """0: any free port, known once it is entered, and kept from then on."""
        self.name: Final = name
        self.port = port
        self.plays = 0
        """How often the stream was played."""
        self._user: Final = user
        self._password: Final = password
        self._nonce: Final = secrets.token_hex(8)
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}
        self._heal()

    def _heal(self) -> None:
        self._scene = Scene.OK
        self._status = 200
        self._is_stalled = self._is_silent = False
        self._fps = float(FPS)

    @property
    def url(self) -> str:
        """Where it is, without credentials; only once it is entered."""
        assert self.port, "the simulator is not running"
        return f"rtsp://{_HOST}:{self.port}/{self.name}"

    def settings(self) -> dict[str, Any]:
        """Return the settings of the driver `camera` for this camera."""
        credentials = {"user": self._user, "password": self._password} if self._user else {}
        return {"url": self.url, "is_simulated": True, **credentials}

    async def __aenter__(self) -> "CameraSimulator":
        """Serve the camera."""
        await self._serve()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Drop all connections and stop."""
        await self._stop()

    async def fault(self, name: str, **args: Any) -> None:
        """Break or heal it; a fault replaces the one before.

        `black`, `covered`, `frozen`, `overexposed` (what it sees); `stall` (plays, but sends nothing any more); `fps` (fps=2);
        `status` (code=401, 404, 503…); `silent` (accepts connections and says nothing); `dead` (refuses connections); `ok`.

        Raises:
            ValueError: no such fault.
        """
        self._heal()
        match name:
            case scene if scene in _SCENES:
                self._scene = Scene(scene)
            case "stall":
                self._is_stalled = True
            case "silent":
                self._is_silent = True
            case "fps":
                self._fps = float(args.get("fps", 2.0))
            case "status":
                self._status = int(args.get("code", 503))
            case "dead":
                await self._stop()
                return
            case _:
                raise ValueError(f"a camera has no fault {name!r}")
        if self._server is None:
            await self._serve()

    async def _serve(self) -> None:
        self._server = await asyncio.start_server(self._converse, _HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await asyncio.sleep(0)  # who was just accepted gets a handler, and is dropped too
        for writer in list(self._connections):
            await self._hang_up(writer)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections[writer] = None
        try:
            while (request := await _read_request(reader)) is not None:
                if not self._is_silent and not await self._answer(request, writer):
                    return
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            await self._hang_up(writer)

    async def _hang_up(self, writer: asyncio.StreamWriter) -> None:
        playing = self._connections.pop(writer, None)
        if playing is not None:
            playing.cancel()
            with suppress(asyncio.CancelledError):
                await playing
        writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await writer.wait_closed()

    async def _answer(self, request: "_Request", writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether the conversation goes on."""
        status, headers, body = self._judge(request), ["Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER"], b""
        if status == 401:
            headers = [f'WWW-Authenticate: Digest realm="{_REALM}", nonce="{self._nonce}"', f'WWW-Authenticate: Basic realm="{_REALM}"']
        elif status == 200 and request.method == "DESCRIBE":
            body = await self._describe()
            headers = ["Content-Type: application/sdp", f"Content-Base: {self.url}/"]
        elif status == 200 and request.method == "SETUP":
            headers = [f"Transport: {request.headers.get('transport', '')};ssrc=53535A31", "Session: 12345678;timeout=60"]
        elif status == 200 and request.method == "PLAY":
            headers = ["Session: 12345678", "Range: npt=0.000-"]
        writer.write(_response(status, request.headers.get("cseq", "0"), headers, body))
        await writer.drain()
        if status == 200 and request.method == "PLAY" and self._connections.get(writer) is None:
            self._connections[writer] = asyncio.create_task(self._play(writer), name=f"camera-{self.name}")
        return request.method != "TEARDOWN"

    def _judge(self, request: "_Request") -> int:
        if request.method == "OPTIONS":
            return 200
        if self._user and not self._is_authorised(request):
            return 401
        if self._status != 200:
            return self._status
        if request.method == "SETUP" and "TCP" not in request.headers.get("transport", ""):
            return 461
        return 200 if f"/{self.name}" in request.uri else 404

    def _is_authorised(self, request: "_Request") -> bool:
        scheme, _, rest = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            return hmac.compare_digest(rest.encode(), base64.b64encode(f"{self._user}:{self._password}".encode()))
        given = dict(re.findall(r'(\w+)="?([^",]*)"?', rest))
        first = _md5(f"{self._user}:{_REALM}:{self._password}")
        second = _md5(f"{request.method}:{given.get('uri', '')}")
        expected = _md5(f"{first}:{self._nonce}:{second}")
        return given.get("nonce") == self._nonce and hmac.compare_digest(given.get("response", ""), expected)

    async def _describe(self) -> bytes:
        loop = await asyncio.to_thread(loop_of, self._scene)
        sprop = f"{base64.b64encode(loop.sps).decode()},{base64.b64encode(loop.pps).decode()}"
        lines = (
            "v=0",
            f"o=- 1 1 IN IP4 {_HOST}",
            "s=Simulated camera",
            f"c=IN IP4 {_HOST}",
            "t=0 0",
            "a=control:*",
            f"m=video 0 RTP/AVP {_H264}",
            f"a=rtpmap:{_H264} H264/{_RTP_CLOCK}",
            f"a=fmtp:{_H264} packetization-mode=1;profile-level-id={loop.sps[1:4].hex()};sprop-parameter-sets={sprop}",
            "a=control:trackID=0",
        )
        return ("\r\n".join(lines) + "\r\n").encode()

    async def _play(self, writer: asyncio.StreamWriter) -> None:
        """Send the loop in real time; faults switch while it runs, at the next key picture at the latest."""
        self.plays += 1
        clock = asyncio.get_running_loop()
        began_s, frame, sequence, scene = clock.time(), 0, 0, None
        with suppress(OSError):
            while not writer.is_closing():
                if scene is not self._scene:
                    scene, frame = self._scene, 0
                    frames = (await asyncio.to_thread(loop_of, scene)).frames
                if not (self._is_stalled or self._is_silent):
                    timestamp = int((clock.time() - began_s) * _RTP_CLOCK)
                    sequence = _send(writer, frames[frame % len(frames)], sequence, timestamp)
                    await writer.drain()
                    frame += 1
                await asyncio.sleep(1 / self._fps - (clock.time() - began_s) % (1 / self._fps))


class _Request:
    def __init__(self, head: str) -> None:
        first, *lines = head.split("\r\n")
        self.method, self.uri, _ = first.split(" ")
        pairs = (line.partition(":") for line in lines if line)
        self.headers = {name.strip().lower(): value.strip() for name, _, value in pairs}


async def _read_request(reader: asyncio.StreamReader) -> _Request | None:
    """Return the next request, None at the end; what the client interleaves (RTCP) is skipped."""
    while first := await reader.read(1):
        if first != b"$":
            head = (first + await reader.readuntil(b"\r\n\r\n")).decode("ascii", "replace").lstrip("\r\n")
            request = _Request(head)
            await reader.readexactly(int(request.headers.get("content-length", "0")))
            return request
        _, length = struct.unpack(">BH", await reader.readexactly(3))
        await reader.readexactly(length)
    return None


def _response(status: int, cseq: str, headers: list[str], body: bytes) -> bytes:
    length = [f"Content-Length: {len(body)}"] if body else []
    lines = [f"RTSP/1.0 {status} {_REASONS.get(status, 'Error')}", f"CSeq: {cseq}", *headers, *length, "", ""]
    return "\r\n".join(lines).encode() + body


def _send(writer: asyncio.StreamWriter, payloads: tuple[bytes, ...], sequence: int, timestamp: int) -> int:
    """Send one picture; return the next sequence number."""
    last, packets = len(payloads) - 1, []
    for i, payload in enumerate(payloads):
        kind = _H264 | (0x80 if i == last else 0)
        header = struct.pack(">BBHII", 0x80, kind, sequence & 0xFFFF, timestamp & 0xFFFF_FFFF, 0x53535A31)
        packets += [struct.pack(">BBH", 0x24, 0, len(header) + len(payload)), header, payload]
        sequence += 1
    writer.write(b"".join(packets))
    return sequence


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
