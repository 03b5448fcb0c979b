"""Whether the server lives and is ready, and its metrics."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST

from orchestration.server import openapi
from orchestration.server.service import Service

router = APIRouter(tags=["status"])
metrics_router = APIRouter(tags=["status"])


@router.get("/health", summary="Whether the process lives")
async def health() -> dict[str, str]:
    """Needs no key."""
    return {"status": "alive"}


@router.get("/ready", summary="Whether requests are answered", responses=openapi.READY_RESPONSES)
async def ready(request: Request) -> JSONResponse:
    """200 when a release is open, 503 before that and during the shutdown. Needs no key."""
    service: Service = request.app.state.service
    if not service.ready:
        return JSONResponse({"status": "not ready"}, 503)
    return JSONResponse({"status": "ready"})


@metrics_router.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
async def metrics(request: Request) -> Response:
    """The metrics in Prometheus's text format."""
    service: Service = request.app.state.service
    service.show_load()
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)
