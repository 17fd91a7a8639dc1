"""`/health`, `/metrics` and `/v1/models`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends
from starlette.responses import JSONResponse, Response

from .errors import ApiError
from .services import Services, services_of

router = APIRouter()


@router.get("/health")
async def health(services: Services = Depends(services_of)) -> Response:  # noqa: B008
    """200 while requests are taken, else 503; needs no key."""
    scheduler = services.scheduler
    body = {
        "status": "ok" if scheduler.healthy else "unavailable",
        "waiting": scheduler.waiting,
        "running": scheduler.running,
    }
    return JSONResponse(body, 200 if scheduler.healthy else 503)


@router.get("/metrics", response_class=Response)
async def metrics(services: Services = Depends(services_of)) -> Response:  # noqa: B008
    """Counts for Prometheus."""
    return Response(services.metrics.text(), media_type=services.metrics.content_type)


@router.get("/v1/models")
async def models(services: Services = Depends(services_of)) -> dict[str, Any]:  # noqa: B008
    """What this server offers."""
    return {"object": "list", "data": list(_models(services).values())}


@router.get("/v1/models/{name:path}")
async def model(name: str, services: Services = Depends(services_of)) -> dict[str, Any]:  # noqa: B008
    """One of the models."""
    if name not in _models(services):
        raise ApiError(f"the model {name!r} is not offered here", 404, "model_not_found")
    return _models(services)[name]


def _models(services: Services) -> dict[str, dict[str, Any]]:
    names = [name for name in (services.model_name, services.linker_name) if name is not None]
    return {
        name: {"id": name, "object": "model", "created": services.created, "owned_by": "onegen-hf"} for name in names
    }
