import httpx
import pytest

from fleet_server.console.demo import HttpDemoControl
from fleet_server.errors import Rejected, Transient


def control(handler: object) -> HttpDemoControl:
    return HttpDemoControl("http://127.0.0.1:9", transport=httpx.MockTransport(handler))  # type: ignore[arg-type]  # sync handlers do


async def test_lists_and_does_acts() -> None:
    asked: list[tuple[str, str, bytes]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, request.url.path, request.content))
        return httpx.Response(200, json={"acts": [{"name": "press", "target": "B1", "label_th": "กด", "is_active": True, "more": 1}]})

    demo = control(handler)
    (act,) = await demo.acts()
    assert (act.name, act.target, act.label_th, act.label_en, act.is_active) == ("press", "B1", "กด", "", True)
    await demo.act("press", "B1")
    assert asked == [("GET", "/acts", b""), ("POST", "/acts", b'{"name":"press","target":"B1"}')]
    await demo.aclose()


@pytest.mark.parametrize(("status", "error"), [(400, Rejected), (404, Rejected), (500, Transient), (503, Transient)])
async def test_refusals_are_translated(status: int, error: type[Exception]) -> None:
    demo = control(lambda _request: httpx.Response(status))
    with pytest.raises(error):
        await demo.act("press", "")
    await demo.aclose()


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"acts": 3}', b'{"acts": [{}]}'])
async def test_a_far_side_that_speaks_nonsense_does_not_answer(body: bytes) -> None:
    demo = control(lambda _request: httpx.Response(200, content=body))
    with pytest.raises(Transient):
        await demo.acts()
    await demo.aclose()


async def test_a_far_side_that_is_gone_does_not_answer() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    demo = control(handler)
    with pytest.raises(Transient):
        await demo.acts()
    await demo.aclose()
