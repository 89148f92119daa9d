"""The demo's loopback control address: `GET /acts` lists what can be done, `POST /acts` does one.

Whoever may use this machine may use it; it listens on 127.0.0.1 only and can do nothing but break the demo's own devices.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from hil.demo.acts import Act, Acts
from hil.demo.errors import DemoFailed


def control_app(acts: Callable[[], Acts], *, done: Callable[[Act], None]) -> Starlette:
    """Return the control application; `done` hears of each act. `acts` is asked anew each time, as the zone starts after the control."""

    async def list_acts(_request: Request) -> JSONResponse:
        shown = [
            {"name": a.name, "target": a.target, "label_th": a.label_th, "label_en": a.label_en, "is_active": a.is_active()}
            for a in acts().all
        ]
        return JSONResponse({"acts": shown})

    async def do_act(request: Request) -> JSONResponse:
        try:
            wanted = await request.json()
            act = await acts().do(str(wanted["name"]), str(wanted.get("target", "")))
        except (ValueError, KeyError, TypeError, AttributeError):
            return JSONResponse({"detail": 'send {"name": …, "target": …}'}, status_code=400)
        except DemoFailed as error:
            return JSONResponse({"detail": str(error)}, status_code=404)
        done(act)
        return JSONResponse({"name": act.name, "target": act.target})

    return Starlette(routes=[Route("/acts", list_acts, methods=["GET"]), Route("/acts", do_act, methods=["POST"])])


class _Server(uvicorn.Server):
    """Leaves signals to the demo, which stops everything in order."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(app: Starlette) -> AsyncIterator[str]:
    """Serve `app` on a free loopback port until the block ends; yields its address."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = _Server(uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=1))
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(sockets=[listener]), name="demo control")
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
    listener.close()
