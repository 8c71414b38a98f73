"""Posts notifications to a URL, signed as Standard Webhooks asks."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from pydantic import Field, SecretStr, field_validator, model_validator

from coldaisle import config
from coldaisle.clock import SECOND, Clock
from coldaisle.errors import Backpressure, ConfigError, Permanent, Transient
from coldaisle.store import Notification

_DEFAULT_WAIT_SECONDS = 30.0
"""For a receiver that asks us to wait and does not say how long."""
_LONGEST_WAIT_SECONDS = 3600.0
"""Nobody may keep us quiet for longer than this with one header."""
_SHORTEST_SECRET_BYTES = 24
"""Standard Webhooks, section "Signature scheme": between 24 and 64 bytes."""
_TRY_AGAIN = frozenset({408, 425})


class WebhookConfig(config.Section):
    """
    Where to post, and with what to sign.

    The URL comes from this file alone, never from telemetry or from people on the page: whoever writes the
    file decides what our process may reach.
    """

    url: str
    secret: SecretStr | None = None
    secret_file: Path | None = None
    previous_secrets: tuple[SecretStr, ...] = ()
    timeout_seconds: float = Field(default=10.0, gt=0, le=120)

    @field_validator("url")
    @classmethod
    def _is_a_web_address(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            # What is wrong with it may be a part of a password.
            raise ValueError("is not a URL: write https://host/path or https://host:port/path") from error
        if parts.scheme not in ("http", "https") or not host:
            raise ValueError("is not a web address: write https://host/path")
        return url

    @model_validator(mode="after")
    def _has_one_secret(self) -> WebhookConfig:
        if self.secret is not None and self.secret_file is not None:
            raise ValueError("write either secret or secret_file, not both")
        if self.previous_secrets and self.secret is None and self.secret_file is None:
            raise ValueError("previous_secrets needs the secret that follows them")
        return self


class WebhookNotifier:
    """
    One POST a notification; redirects are not followed.

    Signs with the secret and with every previous one, so that the receiver may change over at leisure.
    Without any secret the body goes unsigned. Raises ConfigError for a secret that cannot sign.
    """

    def __init__(self, settings: WebhookConfig, clock: Clock, transport: httpx.BaseTransport | None = None) -> None:
        self._url = settings.url
        self._where = urlsplit(settings.url).hostname or settings.url  # the path may hold a token: never shown
        self._keys = [_key(secret) for secret in _secrets(settings)]
        self._clock = clock
        self._client = httpx.Client(timeout=settings.timeout_seconds, follow_redirects=False, transport=transport)

    def send(self, notification: Notification) -> None:
        """See Notifier."""
        body = notification.body.encode()
        headers = {
            "content-type": "application/json",
            "user-agent": "coldaisle",
            **signed(notification.id, self._clock.now() // SECOND, body, self._keys),
        }
        try:
            # The body of the answer is left unread: an endless one must not hold us.
            with self._client.stream("POST", self._url, content=body, headers=headers) as response:
                status, waits = response.status_code, response.headers.get("Retry-After")
        except httpx.TimeoutException as error:
            raise Transient(f"{self._where} did not answer in time") from error
        except httpx.TransportError as error:
            raise Transient(f"{self._where} cannot be reached: {error}") from error
        if status == httpx.codes.TOO_MANY_REQUESTS or (status == httpx.codes.SERVICE_UNAVAILABLE and waits):
            raise Backpressure(f"{self._where} answered {status}", self._seconds(waits))
        if status >= 500 or status in _TRY_AGAIN:
            raise Transient(f"{self._where} answered {status}")
        if 300 <= status < 400:
            raise Permanent(f"{self._where} answered {status}: redirects are not followed, configure the new URL")
        if not 200 <= status < 300:
            raise Permanent(f"{self._where} refused the notification with {status}")

    def close(self) -> None:
        """See Notifier."""
        self._client.close()

    def _seconds(self, text: str | None) -> float:
        """Return what ``Retry-After`` asks: seconds or an HTTP date (RFC 9110, section 10.2.3)."""
        if text is None:
            return _DEFAULT_WAIT_SECONDS
        try:
            if text.strip().isdigit():
                seconds = float(text)
            else:
                seconds = parsedate_to_datetime(text).timestamp() - self._clock.now() / SECOND
        except (ValueError, OverflowError):
            return _DEFAULT_WAIT_SECONDS
        return min(max(seconds, 0.0), _LONGEST_WAIT_SECONDS)


def signed(message_id: str, timestamp_seconds: int, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """Return the headers of Standard Webhooks 1.0.0: id, timestamp, and one ``v1`` signature a key."""
    headers = {"webhook-id": message_id, "webhook-timestamp": str(timestamp_seconds)}
    content = f"{message_id}.{timestamp_seconds}.".encode() + body
    signatures = [base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode() for key in keys]
    if signatures:
        headers["webhook-signature"] = " ".join(f"v1,{signature}" for signature in signatures)
    return headers


def _secrets(settings: WebhookConfig) -> list[str]:
    secrets: list[str] = []
    if settings.secret is not None:
        secrets.append(settings.secret.get_secret_value())
    if settings.secret_file is not None:
        # Several lines: the newest secret first, older ones while receivers change over.
        lines = config.secret_file(settings.secret_file).split()
        if not lines:
            raise ConfigError(f"{settings.secret_file}: is empty; write a secret such as whsec_<base64>")
        secrets.extend(lines)
    return secrets + [secret.get_secret_value() for secret in settings.previous_secrets]


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ConfigError("the webhook's secret is not base64 after whsec_: make one as the manual says") from error
    if len(key) < _SHORTEST_SECRET_BYTES:
        raise ConfigError(f"the webhook's secret has {len(key)} bytes, {_SHORTEST_SECRET_BYTES} are the least")
    return key
