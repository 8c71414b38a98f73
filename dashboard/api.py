"""The HTTP API under /api/v1: everything that a person can do on the pages."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import HTMLResponse, PlainTextResponse

from dashboard import documentation, problems
from dashboard.api_incidents import incidents
from dashboard.api_predictions import predictions
from dashboard.api_quiet import quiet
from dashboard.api_telemetry import telemetry
from dashboard.reader import Reader
from dashboard.security import problem


def install(app: FastAPI, reader: Reader) -> None:
    """Add the API, the health endpoints and their errors to ``app``."""
    app.include_router(incidents(reader), prefix="/api/v1", tags=["incidents"])
    app.include_router(predictions(reader), prefix="/api/v1", tags=["predictions"])
    app.include_router(telemetry(reader), prefix="/api/v1", tags=["telemetry"])
    app.include_router(quiet(reader), prefix="/api/v1", tags=["silences and notifications"])
    app.include_router(_self(app, reader))
    problems.install(app)


def _self(app: FastAPI, reader: Reader) -> APIRouter:
    router = APIRouter()

    @router.get("/healthz", summary="The process answers", tags=["health"])
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @router.get(
        "/readyz", summary="The parts behind it work", tags=["health"], responses={503: {"description": "not yet"}}
    )
    def readyz() -> Any:
        health = reader.backends.health()
        if not health.ready:
            return problem(503, "Not ready", " ".join(health.problems) or "Still starting; ask again in a second.")
        return {"status": "ready", "problems": list(health.problems), "versions": dict(health.versions)}

    @router.get(
        "/metrics",
        summary="Coldaisle's own metrics, Prometheus text",
        tags=["health"],
        response_class=PlainTextResponse,
    )
    def metrics() -> PlainTextResponse:
        return PlainTextResponse(reader.backends.stats.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @router.get("/api/v1/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(documentation.page(app.openapi()))

    @router.api_route("/api/{rest:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
    def unknown(rest: str) -> Any:
        return problem(404, "Unknown address", f"/api/{rest[:80]} does not exist; /api/v1/docs lists what does.")

    return router
