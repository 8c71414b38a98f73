"""The small HTTP port of a role: is it alive, is it ready and if not why, and its own metrics."""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from pydantic import Field, PositiveInt

from cli.logs import redacted
from coldaisle.config import Section
from coldaisle.errors import ConfigError
from coldaisle.selfstats import SelfStats

PORTS = {"collect": 8801, "store": 8802, "score": 8803, "alert": 8804, "serve": 8805}
"""Where each role listens unless told otherwise, so that all of them can live on one machine."""
_SILENCE_SECONDS = 5.0
"""A client that says nothing for so long is let go."""


class HealthConfig(Section):
    """Where each role's process answers /healthz, /readyz and /metrics."""

    host: str = "127.0.0.1"
    port: Literal["auto", 0] | PositiveInt = Field("auto", union_mode="left_to_right")  # auto = PORTS, 0 = any free one


class Readiness:
    """What a process still lacks, by part, with the reason. Safe to use from any thread."""

    def __init__(self, role: str) -> None:
        self.role = role
        self._lock = threading.Lock()
        self._missing: dict[str, str] = {"start": "still starting"}

    def lacks(self, part: str, reason: str) -> None:
        """Say that ``part`` does not work, and why."""
        with self._lock:
            self._missing[part] = reason

    def has(self, part: str) -> None:
        """Say that ``part`` works."""
        with self._lock:
            self._missing.pop(part, None)

    def missing(self) -> dict[str, str]:
        """Return what is missing, with reasons (no secret in them); nothing = ready."""
        with self._lock:
            missing = dict(self._missing)
        # A reason may be a server's own words, and a server may say back what it was sent.
        return {part: redacted(reason) for part, reason in missing.items()}

    def document(self) -> dict[str, Any]:
        """Return what ``/readyz`` answers."""
        missing = [{"part": part, "reason": reason} for part, reason in sorted(self.missing().items())]
        return {"status": "not ready" if missing else "ready", "role": self.role, "missing": missing}


@contextmanager
def health_port(host: str, port: int, readiness: Readiness, stats: SelfStats) -> Iterator[str]:
    """
    Answer on ``host``:``port`` while the context lasts; yields the address. Port 0 takes a free one.

    Raises ConfigError when the port is taken or the host is not ours.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = _SILENCE_SECONDS
        server_version = "coldaisle"
        sys_version = ""

        def do_GET(self) -> None:
            match self.path.partition("?")[0]:
                case "/healthz":
                    self._json(200, {"status": "ok", "role": readiness.role})
                case "/readyz":
                    document = readiness.document()
                    self._json(503 if document["missing"] else 200, document)
                case "/metrics":
                    self._answer(200, "text/plain; version=0.0.4; charset=utf-8", stats.text())
                case _:
                    self._json(404, {"error": "there is /healthz, /readyz and /metrics"})

        do_HEAD = do_GET

        def _json(self, code: int, document: dict[str, Any]) -> None:
            self._answer(code, "application/json", json.dumps(document, ensure_ascii=False) + "\n")

        def _answer(self, code: int, kind: str, text: str) -> None:
            body = text.encode()
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Stay quiet: probes ask every few seconds."""

    try:
        server = _Server((host, port), Handler)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(f"port {port} is in use; choose another with --health-port or health.port") from error
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; choose another health.host or health.port"
        ) from error
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="health", daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join(timeout=5)
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a probe that hangs up early is no news."""
