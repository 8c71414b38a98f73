"""A small HTTP server that answers writes as InfluxDB does, and refuses them as a test wishes."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

from pydantic import SecretStr

from coldaisle.store.influx_settings import InfluxConfig, InfluxQueueConfig

TOKEN = "canary-token-9f2c"


class Refusal(NamedTuple):
    """What is answered instead of 204."""

    status: int
    message: str = ""
    headers: tuple[tuple[str, str], ...] = ()


Rule = Callable[[list[bytes]], Refusal | None]


class StandIn:
    """Keeps the lines that it took, by bucket, each once; ``rule`` says which requests it refuses."""

    def __init__(self, rule: Rule = lambda _: None) -> None:
        self.rule = rule
        self.taken: dict[str, set[bytes]] = {}
        self.requests = 0
        self.encodings: set[str] = set()
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                stand_in.answer(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(0.01), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def config(self, **more: object) -> InfluxConfig:
        """Return the settings of a store on it."""
        config = InfluxConfig(url=self.url, org="hall", token=SecretStr(TOKEN), queue=InfluxQueueConfig())
        return config.model_copy(update=more)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one write."""
        body = request.rfile.read(int(request.headers["Content-Length"]))
        encoding = request.headers.get("Content-Encoding", "identity")
        lines = (gzip.decompress(body) if encoding == "gzip" else body).splitlines()
        self.requests += 1
        self.encodings.add(encoding)
        refusal = self.rule(lines)
        if refusal is None:
            bucket = parse_qs(urlsplit(request.path).query)["bucket"][0]
            self.taken.setdefault(bucket, set()).update(lines)
            request.send_response(204)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        text = json.dumps({"code": "x", "message": refusal.message}).encode()
        request.send_response(refusal.status)
        for name, value in (*refusal.headers, ("Content-Length", str(len(text)))):
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(text)
