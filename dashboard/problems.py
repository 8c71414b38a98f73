"""Every error of the API is a problem that names the thing and the remedy; none shows a traceback."""

from __future__ import annotations

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from starlette.responses import Response

from coldaisle.errors import ConfigError, Permanent, Transient
from dashboard import actions
from dashboard.security import problem


def install(app: FastAPI) -> None:
    """Answer each error by what its caller should do: 404 look elsewhere, 409 read again, 422 write it otherwise."""

    @app.exception_handler(RequestValidationError)
    def invalid(_request: Request, error: RequestValidationError) -> Response:
        parts = [
            f"{'.'.join(str(p) for p in one['loc'][1:]) or one['loc'][0]}: {one['msg']}" for one in error.errors()[:5]
        ]
        return problem(422, "Cannot be read", "; ".join(parts))

    @app.exception_handler(ConfigError)
    def wrong(_request: Request, error: ConfigError) -> Response:
        return problem(422, "Cannot be read", str(error))

    @app.exception_handler(actions.NotFound)
    def missing(_request: Request, error: actions.NotFound) -> Response:
        return problem(404, "Not found", str(error))

    @app.exception_handler(Permanent)
    def conflict(_request: Request, error: Permanent) -> Response:
        return problem(409, "Not possible now", str(error))

    @app.exception_handler(Transient)
    def busy(_request: Request, error: Transient) -> Response:
        return problem(409, "Changed by somebody else, or the store is busy", f"{error}; read it again and repeat.")

    @app.exception_handler(HTTPException)
    def other(_request: Request, error: HTTPException) -> Response:
        return problem(error.status_code, "Refused", str(error.detail))
