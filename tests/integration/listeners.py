"""What stands around the house on loopback: a receiver of webhooks, and an exporter whose page can change."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from coldaisle.clock import SystemClock


@dataclass
class Delivery:
    """One POST that came in, and what was answered."""

    id: str
    headers: dict[str, str]
    body: bytes
    status: int
    received_at: int = 0  # Unix ns

    @property
    def document(self) -> dict[str, Any]:
        """The body as JSON."""
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass
class Inbox:
    """Every delivery so far; ``answer`` says how the next one is received."""

    url: str = ""
    answer: Callable[[], int] = lambda: 204
    deliveries: list[Delivery] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def taken(self) -> list[Delivery]:
        """Return what was received well."""
        with self.lock:
            return [one for one in self.deliveries if one.status < 300]


@contextmanager
def inbox() -> Iterator[Inbox]:
    """Serve a receiver of webhooks."""
    box = Inbox()

    class Handler(_Quiet):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if len(body) < int(self.headers["content-length"]):
                return  # its sender was killed in the middle: this was never received
            status = box.answer()
            headers = {name.lower(): value for name, value in self.headers.items()}
            with box.lock:
                box.deliveries.append(Delivery(headers["webhook-id"], headers, body, status, SystemClock().now()))
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

    with _served(Handler) as address:
        box.url = f"{address}/hook"
        yield box


@dataclass
class Page:
    """An exporter's page; whatever ``text`` holds, or ``make`` returns, is what the next scrape reads."""

    text: str
    url: str = ""
    scrapes: int = 0
    make: Callable[[], str] | None = None


@contextmanager
def exporter(text: str) -> Iterator[Page]:
    """Serve a page in Prometheus text."""
    page = Page(text)

    class Handler(_Quiet):
        def do_GET(self) -> None:
            body = (page.make() if page.make else page.text).encode()
            page.scrapes += 1
            self.send_response(200)
            self.send_header("content-type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with _served(Handler) as address:
        page.url = f"{address}/metrics"
        yield page


class _Quiet(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the test tells what was wrong."""


@contextmanager
def _served(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    # A client that is killed in the middle of a request is what these tests are about.
    server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
