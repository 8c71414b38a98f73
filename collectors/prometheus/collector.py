"""Scrapes any exporter's text page."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import httpx

from coldaisle.clock import SECOND
from coldaisle.errors import ConfigError, Transient
from coldaisle.event import Event
from coldaisle.frame import Sample
from coldaisle.selfstats import SelfStats
from coldaisle.series import Labels
from collectors.port import Unread
from collectors.prometheus.config import Buckets, PrometheusConfig
from collectors.prometheus.derive import PARTS, derive
from collectors.prometheus.mapping import Meaning, Role, Translator, is_blank
from collectors.prometheus.text import Malformed, Page, parse_head, rows

_ACCEPT = "text/plain;version=0.0.4;q=1,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1"
_MILLISECOND = SECOND // 1000
_SAMPLE = Role.SAMPLE  # an attribute of an enumeration costs more than the rest of the comparison


class PrometheusCollector:
    """
    One target, one page, one frame.

    ``DCGM_FI_DEV_XID_ERRORS`` holds the last Xid, so a *change* to a non-zero value is an event; what stood
    there when we began is history and is not. Two equal Xids in a row cannot be told apart on this page.
    """

    def __init__(
        self, config: PrometheusConfig, node: str, stats: SelfStats, transport: httpx.BaseTransport | None = None
    ) -> None:
        """Raises ConfigError when the certificates cannot be read."""
        self._config, self._stats = config, stats
        keep = config.buckets is Buckets.KEEP
        self._translator = Translator(node, config.labels, config.honor_labels, keep, bool(config.node))
        self._meanings: dict[str, Meaning] = {}
        self._last_xid: dict[Labels, float] = {}
        headers = {"Accept": _ACCEPT, "User-Agent": "coldaisle"}
        if config.bearer_token is not None:
            headers["Authorization"] = f"Bearer {config.bearer_token.get_secret_value()}"
        verify = True if config.ca_file is None else _trust(config)
        self._client = httpx.Client(
            timeout=config.timeout_seconds, headers=headers, verify=verify, transport=transport, trust_env=False
        )

    @property
    def name(self) -> str:
        """``prometheus`` unless configured otherwise."""
        return self._config.name or "prometheus"

    def collect(self, now: int) -> Iterator[Sample | Event | Unread]:
        """Scrape once. Raises Transient when the target is away, answers no page, or a page over the caps."""
        return self.read(self._fetch(), now)

    def close(self) -> None:
        """Close the connection; safe to call twice."""
        self._client.close()

    def read(self, text: str, now: int) -> Iterator[Sample | Event | Unread]:
        """Turn a page into samples, events and what could not be read. Raises Transient over the sample cap."""
        page = Page()
        parts: dict[str, dict[Labels, Sample]] = {}
        known, cap, count = self._meanings, self._config.max_samples, 0
        for head, number, time, line in rows(text, page, known):
            count += 1
            meaning = known.get(head)
            if meaning is None:
                if count > cap:
                    raise Transient(f"{self._config.url}: more than {cap} samples on the page; raise max_samples")
                try:
                    known[head] = meaning = self._meaning(head, page)
                except Malformed as error:
                    yield Unread(f"{self._config.url} line {line}: {error}", "malformed")
                    continue
            series, factor, role, dcgm, wide, dropped = meaning
            if role is _SAMPLE:
                if dcgm and is_blank(number, wide):
                    self._drop("blank")
                    continue
                sample = Sample(series, now if time is None else _time(time, page), number * factor)
                if series.metric in PARTS:
                    parts.setdefault(series.metric, {})[series.labels] = sample
                yield sample
            elif role is Role.XID:
                yield from self._xid(meaning, number, now)
            elif dropped:
                self._drop(dropped)
        yield from derive(parts)
        for bad in page.bad:
            yield Unread(f"{self._config.url}: {bad.reason}", "malformed")
        if len(known) > 2 * count:
            # Half of what we know has left the page: a target of changing labels must not fill the memory.
            self._meanings = {}

    def _meaning(self, head: str, page: Page) -> Meaning:
        name, pairs = parse_head(head)
        return self._translator.meaning(name, pairs, page.types)

    def _xid(self, meaning: Meaning, value: float, now: int) -> Iterator[Event]:
        if is_blank(value, meaning.wide):
            self._drop("blank")
            return
        labels = meaning.series.labels
        before = self._last_xid.get(labels)
        self._last_xid[labels] = value
        if before is not None and value not in (before, 0.0):
            code = f"{value:.0f}"
            yield Event("xid", code, now, labels, f"Xid {code}, as told by dcgm-exporter")

    def _drop(self, reason: str) -> None:
        self._stats.add("collector_samples_dropped_total", collector=self.name, reason=reason)

    def _fetch(self) -> str:
        url, cap = self._config.url, self._config.max_bytes
        data = bytearray()
        try:
            with self._client.stream("GET", url) as answer:
                if answer.status_code != httpx.codes.OK:
                    raise Transient(f"{url} answered {answer.status_code}")
                for piece in answer.iter_bytes():
                    data += piece
                    if len(data) > cap:
                        raise Transient(f"{url}: the page is larger than {cap} bytes; raise max_bytes")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Transient(f"{url}: {str(error) or type(error).__name__}") from error
        return data.decode("utf-8", errors="replace")


def _time(time: float, page: Page) -> int:
    return round(time * SECOND) if page.openmetrics else round(time) * _MILLISECOND


def _trust(config: PrometheusConfig) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(config.ca_file))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{config.ca_file}: no certificates could be read: {error}") from error
