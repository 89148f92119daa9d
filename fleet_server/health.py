"""`/healthz` (the process answers), `/readyz` (it can do its work), `/metrics` (Prometheus text)."""

from collections.abc import Callable, Mapping

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

Check = Callable[[], str]
"""Returns why it is not ready, empty when all is well; may block."""


def router(checks: Mapping[str, Check], metrics: CollectorRegistry) -> APIRouter:
    """Return the three routes; `checks` are asked by name at each `/readyz`."""
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz", response_class=PlainTextResponse)
    async def healthz() -> str:
        """The process answers: needs no thread, which a database that hangs may hold all of."""
        return "ok\n"

    @routes.get("/readyz")
    def readyz() -> JSONResponse:
        """Each part, and why it is not ready; 503 when one is not."""
        found = {name: check() for name, check in checks.items()}
        is_ready = not any(found.values())
        return JSONResponse(
            {"ready": is_ready, "checks": {name: reason or "ok" for name, reason in found.items()}}, status_code=200 if is_ready else 503
        )

    @routes.get("/metrics")
    def read_metrics() -> Response:
        """Prometheus text."""
        return Response(generate_latest(metrics), media_type=CONTENT_TYPE_LATEST)

    return routes
