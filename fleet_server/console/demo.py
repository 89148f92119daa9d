"""The demo panel's far side: the control address of the demo that started this server, on loopback."""

from collections.abc import Sequence
from typing import Any, Final

import httpx

from fleet_server.console.facts import DemoAct
from fleet_server.errors import Rejected, Transient

TIMEOUT_S: Final = 5.0


class HttpDemoControl:
    """Speaks to the demo over HTTP: `GET /acts` lists what can be done, `POST /acts` does one."""

    def __init__(self, url: str, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """`url` is the control address, such as `http://127.0.0.1:40123`; `transport` replaces the network in tests."""
        self._client = httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S, trust_env=False, transport=transport)

    async def acts(self) -> Sequence[DemoAct]:
        """See `DemoControl`."""
        answer = await self._ask("GET")
        try:
            return [_act(item) for item in answer.json()["acts"]]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Transient("the demo's answer makes no sense") from error

    async def act(self, name: str, target: str) -> None:
        """See `DemoControl`."""
        await self._ask("POST", {"name": name, "target": target})

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _ask(self, method: str, body: dict[str, str] | None = None) -> httpx.Response:
        try:
            answer = await self._client.request(method, "/acts", json=body)
        except httpx.HTTPError as error:
            raise Transient("the demo does not answer") from error
        if answer.is_client_error:
            raise Rejected("the demo knows no such act")
        if not answer.is_success:
            raise Transient("the demo could not do it; try again")
        return answer


def _act(item: dict[str, Any]) -> DemoAct:
    return DemoAct(
        name=str(item["name"]),
        target=str(item.get("target", "")),
        label_th=str(item.get("label_th", "")),
        label_en=str(item.get("label_en", "")),
        is_active=bool(item.get("is_active", False)),
    )
