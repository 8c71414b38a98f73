"""Builds the application that serves pages and API, and runs it in a thread."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas
import uvicorn
from dash import Dash
from fastapi import FastAPI
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from coldaisle.errors import ConfigError
from dashboard import api, shell, theme
from dashboard.hall import HallKeeper
from dashboard.reader import Reader
from dashboard.scripts import Scripts
from dashboard.security import Guard, content_policy
from dashboard.settings import ServeConfig
from dashboard.source import Backends

# plotly looks into pandas as soon as anybody has begun to import it, and fails while that lasts; a store's
# thread would begin at its first flush, under a page that is being drawn. So it is whole before we serve.
PANDAS = pandas.__version__

_ASSETS = Path(__file__).parent / "assets"
_INDEX = """<!DOCTYPE html>
<html lang="en" data-mantine-color-scheme="light">
<head>
{%metas%}
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{%title%}</title>
<link rel="icon" href="/assets/favicon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/palette.css">
{%css%}
</head>
<body>
{%app_entry%}
<footer>{%config%}{%scripts%}{%renderer%}</footer>
</body>
</html>"""


def create_app(backends: Backends, settings: ServeConfig) -> ASGIApp:
    """
    Return the whole application: API first, then the pages, behind one door.

    Nothing is asked of any other host: every script, style and picture comes from here.
    """
    reader = Reader(backends, settings, HallKeeper(settings.stale_after_seconds))
    server = FastAPI(
        title="Coldaisle", version="1", docs_url=None, redoc_url=None, openapi_url="/api/v1/openapi.json",
        description="Incidents, telemetry and actions of one hall.",
    )  # fmt: skip
    palette = theme.stylesheet()

    @server.get("/palette.css", include_in_schema=False)
    def colours() -> PlainTextResponse:
        return PlainTextResponse(palette, media_type="text/css")

    api.install(server, reader)
    dash = Dash(
        "coldaisle", backend="fastapi", server=server, title="Coldaisle", update_title=None, index_string=_INDEX,
        assets_folder=str(_ASSETS), serve_locally=True, compress=False, enable_mcp=False, websocket_callbacks=False,
        suppress_callback_exceptions=True,
    )  # fmt: skip
    # The pages poll; a backend that offers web sockets would make every browser knock for one.
    dash.backend.websocket_capability = False
    dash.layout = lambda: shell.layout(reader)
    shell.register(dash, reader)
    return Guard(Scripts(_one_document(server)), settings, backends.clock, content_policy(tuple(dash.csp_hashes())))


def _one_document(app: ASGIApp) -> ASGIApp:
    """Answer every page's address with the same document; which page it shows is decided in the browser."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and shell.page_of(scope["path"]) is not None:
            scope = {**scope, "path": "/", "raw_path": b"/"}
        await app(scope, receive, send)

    return answer


@contextmanager
def serve(app: ASGIApp, host: str, port: int) -> Iterator[str]:
    """
    Serve ``app`` in a thread while the context lasts; yields its address. Port 0 takes a free one.

    Raises ConfigError when the port is taken or the host is not ours.
    """
    listener = _bind(host, port)
    bound = listener.getsockname()[1]
    config = uvicorn.Config(
        app,
        log_config=None,  # the process has set its logs up; the server's own handlers would go round them
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=2,
        ws="none",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="serve", daemon=True)
    thread.start()
    shown = f"[{host}]" if ":" in host else host
    try:
        yield f"http://{shown}:{bound}"
    finally:
        server.should_exit = True
        thread.join(timeout=5)
        listener.close()


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise ConfigError(f"host {host!r} is not known here: use 127.0.0.1, or 0.0.0.0 with a token") from error
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(f"port {port} is in use; choose another with --port") from error
        if error.errno == errno.EACCES:
            raise ConfigError(f"port {port} needs root; choose one above 1023 with --port") from error
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another with --host or --port"
        ) from error
    return listener
