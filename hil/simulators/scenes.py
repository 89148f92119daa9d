"""Video of simulated cameras: each scene is encoded once, as a short loop, and served again and again."""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

import av
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, FPS = 320, 240, 10
GOP: Final = 10
"""Pictures from one key picture to the next."""
_GOPS: Final = 3
_MAX_PAYLOAD: Final = 1_400
_FU_A: Final = 28
_SPS, _PPS = 7, 8

Picture = NDArray[np.uint8]


class Scene(StrEnum):
    """What the camera sees."""

    OK = "ok"
    BLACK = "black"
    COVERED = "covered"
    FROZEN = "frozen"
    OVEREXPOSED = "overexposed"


@dataclass(frozen=True)
class Loop:
    """A scene as RTP payloads (RFC 6184, packetization mode 1), one list per picture; the first of each `GOP` is a key picture."""

    frames: tuple[tuple[bytes, ...], ...]
    sps: bytes
    pps: bytes


@lru_cache
def loop_of(scene: Scene) -> Loop:
    """Return the encoded loop of a scene; the first call of each costs some 100 ms."""
    pictures = [_picture(scene, i) for i in range(GOP * _GOPS)]
    access_units = _encode(pictures)
    parameters = {unit[0] & 31: unit for unit in access_units[0] if unit[0] & 31 in (_SPS, _PPS)}
    return Loop(tuple(_payloads(units) for units in access_units), parameters[_SPS], parameters[_PPS])


def _picture(scene: Scene, i: int) -> Picture:
    """Return the luma of the i-th picture."""
    noise = np.random.default_rng(0 if scene is Scene.FROZEN else i)
    match scene:
        case Scene.BLACK:
            luma = np.full((HEIGHT, WIDTH), 16.0)
        case Scene.COVERED:
            luma = np.full((HEIGHT, WIDTH), 46.0) + noise.normal(0, 0.4, (HEIGHT, WIDTH))
        case Scene.OVEREXPOSED:
            luma = np.clip(_street(i) * 0.5 + 180, 0, 235) + noise.normal(0, 2, (HEIGHT, WIDTH))
        case Scene.FROZEN:
            luma = _street(0) + noise.normal(0, 4, (HEIGHT, WIDTH))
        case Scene.OK:
            luma = _street(i) + noise.normal(0, 4, (HEIGHT, WIDTH))
    picture: Picture = np.clip(luma, 16, 235).astype(np.uint8)
    return picture


def _street(i: int) -> NDArray[np.float64]:
    """Return a street at dusk with one car that crosses it within the loop."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    luma = 70 + 80 * rows / HEIGHT + 25 * (((columns // 20) + (rows // 30)) % 2)
    x = int(i / (GOP * _GOPS) * (WIDTH + 60)) - 60
    luma[150:180, max(0, x) : max(0, x + 60)] = 210
    result: NDArray[np.float64] = luma.astype(np.float64)
    return result


def _encode(pictures: list[Picture]) -> list[list[bytes]]:
    """Return the NAL units of each picture."""
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    encoder.framerate, encoder.gop_size = FPS, GOP
    encoder.options = {
        "preset": "veryfast",
        "tune": "zerolatency",
        "qp": "27",
        "x264-params": f"keyint={GOP}:min-keyint={GOP}:scenecut=0:threads=1",
    }
    packets = []
    for i, luma in enumerate(pictures):
        frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
        _fill(frame, luma)
        frame.pts = i
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    return [_nal_units(bytes(packet)) for packet in packets]


def _fill(frame: Any, luma: Picture) -> None:
    grey = np.full((HEIGHT // 2, WIDTH // 2), 128, np.uint8)
    for plane, content in zip(frame.planes, (luma, grey, grey), strict=True):
        _fill_plane(plane, content)


def _fill_plane(plane: Any, content: Picture) -> None:
    rows = np.zeros((plane.height, plane.line_size), np.uint8)
    rows[:, : plane.width] = content
    plane.update(rows.tobytes())


def _nal_units(stream: bytes) -> list[bytes]:
    """Split an Annex B byte stream."""
    units = [unit.rstrip(b"\0") for unit in stream.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")]
    return [unit for unit in units if unit]


def _payloads(units: list[bytes]) -> tuple[bytes, ...]:
    """Return the RTP payloads of one picture: single NAL units, large ones in FU-A fragments."""
    payloads: list[bytes] = []
    for unit in units:
        if len(unit) <= _MAX_PAYLOAD:
            payloads.append(unit)
            continue
        indicator, kind, body = (unit[0] & 0xE0) | _FU_A, unit[0] & 0x1F, unit[1:]
        pieces = [body[i : i + _MAX_PAYLOAD] for i in range(0, len(body), _MAX_PAYLOAD)]
        for i, piece in enumerate(pieces):
            header = kind | (0x80 if i == 0 else 0) | (0x40 if i == len(pieces) - 1 else 0)
            payloads.append(bytes((indicator, header)) + piece)
    return tuple(payloads)
