import asyncio

import pytest

from hil.simulators.rtsp import CameraSimulator
from hil.simulators.scenes import GOP, Scene, loop_of


@pytest.mark.parametrize("scene", Scene)
def test_a_loop_begins_every_group_with_a_key_picture(scene: Scene) -> None:
    loop = loop_of(scene)
    sizes = [sum(map(len, frame)) for frame in loop.frames]
    for i in range(0, len(sizes), GOP):
        assert sizes[i] > 2 * max(sizes[i + 1 : i + GOP])
    assert all(len(payload) <= 1_402 for frame in loop.frames for payload in frame)


def test_frozen_differs_from_ok_in_what_lies_between_key_pictures() -> None:
    def ratio(scene: Scene) -> float:
        sizes = [sum(map(len, frame)) for frame in loop_of(scene).frames]
        return sorted(sizes)[len(sizes) // 2] / max(sizes)

    assert ratio(Scene.FROZEN) < 0.2 * ratio(Scene.OK)


async def test_unknown_faults_are_refused() -> None:
    with pytest.raises(ValueError, match="melted"):
        await CameraSimulator().fault("melted")


async def test_a_camera_keeps_its_port_over_an_outage() -> None:
    async with CameraSimulator() as camera:
        url = camera.url
        await camera.fault("dead")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", camera.port)
        await camera.fault("ok")
        assert camera.url == url
        _, writer = await asyncio.open_connection("127.0.0.1", camera.port)
        writer.close()
        await writer.wait_closed()
