"""Decides which requests are let in: the right host, the right origin, the right token."""

from __future__ import annotations

import hashlib
import hmac
import html
import json
import threading
from collections import deque
from urllib.parse import parse_qs, quote, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from coldaisle.clock import SECOND, Clock
from dashboard.settings import ServeConfig

COOKIE = "coldaisle_session"
_SESSION_SECONDS = 12 * 3600
_LOGIN_ATTEMPTS_A_MINUTE = 10
_OPEN = ("/healthz", "/readyz", "/assets/", "/palette.css")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
_MOST_BODY_BYTES = 1_000_000
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


def content_policy(script_hashes: tuple[str, ...]) -> str:
    """Return the content security policy: everything from here, inline scripts only by their hash."""
    scripts = " ".join(("'self'", *script_hashes))
    return (
        f"default-src 'self'; script-src {scripts}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
        "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


def problem(status: int, title: str, detail: str) -> Response:
    """Return an error as ``application/problem+json`` (RFC 9457)."""
    body = json.dumps({"type": "about:blank", "status": status, "title": title, "detail": detail})
    return Response(body, status_code=status, media_type="application/problem+json")


class Sessions:
    """Signed session cookies; the cookie never holds the token, and a new token ends every session."""

    def __init__(self, token: str) -> None:
        self._key = hashlib.blake2b(token.encode(), digest_size=32, person=b"coldaisle-pages").digest()

    def issue(self, now: int) -> str:
        """Return a cookie that is good for twelve hours."""
        until = str(now // SECOND + _SESSION_SECONDS)
        return f"{until}.{self._sign(until)}"

    def valid(self, cookie: str, now: int) -> bool:
        """Return whether ``cookie`` was issued here and has not ended."""
        until, _, signature = cookie.partition(".")
        if not until.isdigit() or len(until) > 12 or not signature.isascii():
            return False
        return hmac.compare_digest(signature, self._sign(until)) and int(until) > now // SECOND

    def _sign(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()


class Guard:
    """
    The one door before pages, callbacks and API.

    On loopback it refuses foreign host names (DNS rebinding) and, everywhere, changes asked for by other
    origins (cross-site request forgery). Where there is a token, it asks for it: ``Authorization: Bearer``
    for programmes, a login form with a session cookie for people.
    """

    def __init__(self, app: ASGIApp, settings: ServeConfig, clock: Clock, policy: str) -> None:
        self._app, self._settings, self._clock = app, settings, clock
        self._policy = policy
        token = settings.token.get_secret_value() if settings.token else None
        self._token = token
        self._sessions = Sessions(token) if token is not None else None
        self._failures: deque[int] = deque(maxlen=_LOGIN_ATTEMPTS_A_MINUTE)
        self._lock = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on to what stands behind."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            # Nothing here speaks over web sockets; an open door would be one more to guard.
            await send({"type": "websocket.close", "code": 1008})
            return
        request = Request(scope, receive)
        refusal = self._refusal(request)
        if refusal is None and self._sessions is not None and request.url.path == "/login":
            refusal = await self._login(request)
        elif refusal is None and request.url.path == "/logout":
            refusal = RedirectResponse("/login", status_code=303)
            refusal.delete_cookie(COOKIE)
        if refusal is None and not self._let_in(request):
            refusal = self._ask(request)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                have = {name.lower() for name, _ in message["headers"]}
                extra = {**_HEADERS, "content-security-policy": self._policy}
                if request.url.path.startswith(("/api/", "/login", "/metrics")):
                    extra["cache-control"] = "no-store"
                message["headers"] = [
                    *message["headers"],
                    *((k.encode(), v.encode()) for k, v in extra.items() if k.encode() not in have),
                ]
            await send(message)

        await (self._app if refusal is None else refusal)(scope, receive, with_headers)

    def _refusal(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        name = _host_name(host)
        allowed = self._settings.allowed_hosts
        if self._token is None and name not in _LOOPBACK_NAMES | set(allowed):
            return problem(
                403, "Unknown host", f"This server answers to 127.0.0.1 and localhost, not to {name!r}; "
                "to serve other names, set serve.host and serve.token.",
            )  # fmt: skip
        if self._token is not None and allowed and name not in _LOOPBACK_NAMES | set(allowed):
            return problem(403, "Unknown host", f"{name!r} is not in serve.allowed_hosts; add it there.")
        if request.method in _SAFE:
            return None
        origin = request.headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
        if foreign or request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            return problem(
                403, "Foreign origin", "Changes are only taken from Coldaisle's own pages or from programmes."
            )
        length = request.headers.get("content-length", "0")
        if not length.isdigit() or int(length) > _MOST_BODY_BYTES:
            return problem(413, "Too large", f"A request may hold {_MOST_BODY_BYTES:,} bytes; send less.")
        return None

    def _let_in(self, request: Request) -> bool:
        path = request.url.path
        if self._token is None or self._sessions is None or path.startswith(_OPEN) or path == "/login":
            return True
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token.encode()):
            return True
        return self._sessions.valid(request.cookies.get(COOKIE, ""), self._clock.now())

    def _ask(self, request: Request) -> Response:
        path = request.url.path
        if (
            request.method == "GET"
            and "text/html" in request.headers.get("accept", "")
            and not path.startswith("/api/")
        ):
            after = path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"/login?next={quote(after, safe='')}", status_code=303)
        answer = problem(401, "Token needed", "Send `Authorization: Bearer TOKEN` (serve.token), or log in at /login.")
        answer.headers["www-authenticate"] = 'Bearer realm="coldaisle"'
        return answer

    async def _login(self, request: Request) -> Response:
        after = _local(request.query_params.get("next", "/"))
        if request.method != "POST":
            return HTMLResponse(_form(after, ""))
        if self._too_many():
            return HTMLResponse(_form(after, "Too many attempts. Wait a minute and try again."), status_code=429)
        fields = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=4)
        given = fields.get("token", [""])[0]
        if (
            self._token is None
            or self._sessions is None
            or not hmac.compare_digest(given.encode(), self._token.encode())
        ):
            with self._lock:
                self._failures.append(self._clock.now())
            return HTMLResponse(_form(after, "That is not the token. It is serve.token in the configuration."), 401)
        answer = RedirectResponse(after, status_code=303)
        answer.set_cookie(
            COOKIE, self._sessions.issue(self._clock.now()), max_age=_SESSION_SECONDS, httponly=True,
            samesite="strict", secure=request.url.scheme == "https", path="/",
        )  # fmt: skip
        return answer

    def _too_many(self) -> bool:
        with self._lock:
            full = len(self._failures) == _LOGIN_ATTEMPTS_A_MINUTE
            return full and self._clock.now() - self._failures[0] < 60 * SECOND


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _local(path: str) -> str:
    """Only a path of this server: two slashes, or one and a backslash, lead elsewhere."""
    good = path.startswith("/") and not path.startswith(("//", "/\\")) and "\n" not in path and "\r" not in path
    return path if good else "/"


def _form(after: str, message: str) -> str:
    alert = f'<p class="login-alert" role="alert">{html.escape(message)}</p>' if message else ""
    return f"""<!DOCTYPE html><html lang="en" data-mantine-color-scheme="light"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>Log in · Coldaisle</title>
<link rel="icon" href="/assets/favicon.svg"><link rel="stylesheet" href="/assets/coldaisle.css">
<link rel="stylesheet" href="/palette.css"></head><body class="login"><main>
<form method="post" action="/login?next={quote(after, safe="")}"><h1><span class="brand-mark"></span>Coldaisle</h1>
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" autofocus required>
{alert}<button type="submit">Log in</button></form></main></body></html>"""
