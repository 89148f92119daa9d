"""How much a request may bring: its sender need not have signed in to fill the memory of the whole server."""

from collections.abc import Mapping
from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES: Final = 64 * 1024
"""Of forms and JSON; the largest that is in use has a few hundred."""


class BodyLimit:
    """Stops reading a body that grows too large; whoever reads it answers 413.

    FastAPI's own `max_body_size` would answer in plain text, not with a problem.
    """

    def __init__(self, app: ASGIApp, *, most_bytes: int = MOST_BYTES, larger: Mapping[str, int]) -> None:
        """`larger` are the bounds of paths that take files, by their beginning."""
        self._app = app
        self._most_bytes = most_bytes
        self._larger = larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, counting."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = next((bound for path, bound in self._larger.items() if scope["path"].startswith(path)), self._most_bytes)
        taken = 0

        async def receive_counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > most:
                raise HTTPException(413, f"A request has at most {most // 1024} KiB here: send less, or split it.")
            return message

        await self._app(scope, receive_counted, send)
