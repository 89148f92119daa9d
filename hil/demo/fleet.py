"""The demo's view of the fleet server: its public API over HTTP, nothing else."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final

import httpx

from hil.demo.errors import DemoFailed

_TIMEOUT_S: Final = 10.0


class FleetApi:
    """A client of `/api/v1` with an administrator's token."""

    def __init__(self, url: str, token: str, *, timeout_s: float = _TIMEOUT_S) -> None:
        """`url` is the console's."""
        self._client = httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=timeout_s)

    async def __aenter__(self) -> "FleetApi":
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._client.aclose()

    async def is_ready(self) -> bool:
        """Whether the server takes requests and stores messages."""
        try:
            return (await self._client.get("/readyz")).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    async def import_csv(self, kind: str, text: str) -> Mapping[str, Any]:
        """Import units, zones, positions or nodes.

        Raises:
            DemoFailed: the server refused a row; its first reason is in the message.
        """
        report: dict[str, Any] = await self._ask(
            "POST", f"/api/v1/imports/{kind}", content=text.encode(), headers={"Content-Type": "text/csv"}
        )
        if report.get("errors"):
            raise DemoFailed(f"The server refused the demo's {kind}: {report['errors'][0]}")
        return report

    async def get(self, path: str, **query: Any) -> Any:
        """Return the JSON of `/api/v1{path}`."""
        return await self._ask("GET", f"/api/v1{path}", params=query)

    async def text(self, path: str) -> str:
        """Return what stands at a path of the server, outside its API, such as `/metrics`."""
        try:
            answer = await self._client.get(path)
        except httpx.TransportError as error:
            raise DemoFailed(f"The server does not answer {path}: {error!r}") from error
        return answer.text

    async def all(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """Return all items of a paged list."""
        items: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = await self.get(path, limit=200, **query, **({"cursor": cursor} if cursor else {}))
            items += page["items"]
            cursor = page.get("next_cursor")
            if not cursor:
                return items

    async def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Post JSON to `/api/v1{path}` and return what comes back."""
        return await self._ask("POST", f"/api/v1{path}", json=dict(body or {}))

    async def _ask(self, method: str, path: str, **options: Any) -> Any:
        try:
            answer = await self._client.request(method, path, **options)
        except httpx.TransportError as error:
            raise DemoFailed(f"The server does not answer {path}: {error!r}") from error
        if answer.is_error:
            raise DemoFailed(f"The server refused {method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer.json() if answer.content else None
