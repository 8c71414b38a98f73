"""The one place that talks to InfluxDB: requests out, our own errors back."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import urllib3
from influxdb_client import Dialect, InfluxDBClient, Query
from influxdb_client.client.exceptions import InfluxDBError
from influxdb_client.service.write_service import WriteService

from coldaisle.clock import Clock, SystemClock
from coldaisle.errors import Backpressure, ColdaisleError, ConfigError, Permanent, Transient
from coldaisle.store.influx_settings import InfluxConfig

AnswerT = TypeVar("AnswerT")

_RETRY_SECONDS = 5.0
"""How long to wait where a server is busy and does not say."""
_LONGEST_RETRY_SECONDS = 300.0
_BAD_LINES = frozenset({400, 422})
# One column of annotations fewer to read; the header is all that is needed.
_DIALECT = Dialect(header=True, delimiter=",", annotations=[], comment_prefix="#", date_time_format="RFC3339Nano")


class RefusedLines(Permanent):
    """InfluxDB refuses one line or more of a batch; the others of it may have been taken."""


class TooLarge(Permanent):
    """InfluxDB refuses a batch for its size alone."""


class InfluxServer:
    """
    One InfluxDB 2 through ``influxdb-client``, one request a call, safe to use from any thread.

    Every call raises Transient where the server is away, Backpressure where it asks to wait, ConfigError where
    address, token, organisation or bucket are wrong, Permanent for whatever else it refuses.
    """

    def __init__(self, config: InfluxConfig, clock: Clock | None = None) -> None:
        self.config = config
        self._clock = clock or SystemClock()
        self._client = InfluxDBClient(
            url=config.url,
            token=config.token.get_secret_value(),
            org=config.org,
            timeout=round(config.timeout_seconds * 1000),
            verify_ssl=config.verify_tls,
            ssl_ca_cert=str(config.ca_file) if config.ca_file else None,
        )
        # The client's own write API joins, compresses and logs again; the call below it takes our bytes as they are.
        self._writes = WriteService(self._client.api_client)
        self._queries = self._client.query_api()

    @property
    def client(self) -> InfluxDBClient:
        """Return the client, for what is asked seldom; wrap its calls in ``call``."""
        return self._client

    def write(self, bucket: str, body: bytes, zipped: bool) -> None:
        """Write lines, as they are or gzipped. Raises RefusedLines, TooLarge besides what every call raises."""
        options: dict[str, Any] = {"content_encoding": "gzip"} if zipped else {}
        self.call(
            lambda: self._writes.post_write(
                self.config.org, bucket, body, precision="ns", content_type="text/plain; charset=utf-8", **options
            ),
            f"bucket {bucket}",
        )

    def query(self, flux: str, bucket: str, timeout_seconds: float | None = None) -> bytes:
        """Return the answer to ``flux`` as CSV. Raises Permanent where it fails half-way."""
        query = Query(query=flux, dialect=_DIALECT)
        answer = self.call(lambda: self._ask(query, timeout_seconds), f"bucket {bucket}")
        broken = re.search(rb"(?:^|\r\n)(?:,)?error,reference\r\n(.*)", answer)
        if broken:
            raise Permanent(f"{self.config.url}: the query failed: {broken[1].decode(errors='replace')[:300]}")
        return answer

    def call(self, ask: Callable[[], AnswerT], what: str = "") -> AnswerT:
        """Return what ``ask`` returns; no exception of the client leaves here."""
        try:
            return ask()
        except InfluxDBError as error:
            # Not chained: the client's exception carries headers, and tracebacks are logged.
            raise self._sorted(error, what) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise ConfigError(
                    f"{self.config.url}: its certificate is not trusted; set ca_file to the authority that signed it"
                ) from None
            raise Transient(f"{self.config.url}: InfluxDB is away: {_short(str(error))}") from None

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _ask(self, query: Query, timeout_seconds: float | None) -> bytes:
        options = {"_request_timeout": round(timeout_seconds * 1000)} if timeout_seconds else {}
        answer = self._queries._query_api.post_query(  # the public call decodes and re-encodes all of it
            org=self.config.org,
            query=query,
            async_req=False,
            _preload_content=False,
            _return_http_data_only=False,
            **options,
        )
        response = answer[0] if isinstance(answer, tuple) else answer
        return bytes(response.read())

    def _sorted(self, error: InfluxDBError, what: str) -> ColdaisleError:
        status = int(getattr(error, "status", 0) or 0)
        said, url = _said(error), self.config.url
        if status in _BAD_LINES:
            return RefusedLines(said)
        if status == 413:
            return TooLarge(said)
        if status in (429, 503):
            return Backpressure(f"{url}: InfluxDB asks to wait: {said}", self._wait_seconds(error))
        remedies = {
            401: "the token is unknown; make one and set it as token",
            403: f"the token may not use {what}; give it read and write permission for this organisation's buckets",
            404: f"there is no {what} in organisation {self.config.org}; `coldaisle doctor --fix` makes the buckets",
        }
        if status in remedies:
            return ConfigError(f"{url}: {remedies[status]} (InfluxDB says: {said})")
        if status >= 500 or not status:
            return Transient(f"{url}: InfluxDB answered {status}: {said}")
        return Permanent(f"{url}: InfluxDB answered {status}: {said}")

    def _wait_seconds(self, error: InfluxDBError) -> float:
        given = str(error.retry_after or "")
        if given.isdigit():
            seconds = float(given)
        else:
            try:
                seconds = parsedate_to_datetime(given).timestamp() - self._clock.now() / 1e9
            except ValueError:
                seconds = _RETRY_SECONDS
        return min(max(seconds, 0.1), _LONGEST_RETRY_SECONDS)


def zipped(body: bytes) -> bytes:
    """Return ``body`` gzipped. Level 1: a third of the time of the default, and lines shrink twentyfold anyway."""
    return gzip.compress(body, compresslevel=1, mtime=0)


def _said(error: InfluxDBError) -> str:
    message = error.message
    return _short(message.decode(errors="replace") if isinstance(message, bytes) else str(message))


def _short(text: str) -> str:
    return " ".join(text.split())[:300]
