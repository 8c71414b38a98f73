"""Reads samples and events from InfluxDB, thinned there where that saves the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from coldaisle.clock import DAY, Clock
from coldaisle.errors import ConfigError
from coldaisle.event import Event
from coldaisle.matcher import Matcher, all_match
from coldaisle.series import Series
from coldaisle.store.influx_flux import (
    EARLIEST,
    LATEST,
    Table,
    is_field,
    is_metric,
    keep,
    one_of,
    pushed,
    quoted,
    source,
    tables,
)
from coldaisle.store.influx_lines import (
    ATTRIBUTES,
    EVENT,
    TEXT,
    UNREAD,
    decode,
    encode,
    encode_name,
    event_from,
    labels_from,
)
from coldaisle.store.influx_server import InfluxServer
from coldaisle.store.influx_tiers import LATE, Span, Tier, is_coarse, parts_of, tiers_of
from coldaisle.store.lines import Rows, joined, matching

EVER: Span = (EARLIEST, LATEST)
_WORTH_IT = DAY
"""Less than this is read as samples at once, whatever minutes there are."""
_RAW_ROWS = 200_000
"""Above this many samples an answer is thinned by InfluxDB (some 20 MB of CSV)."""


class Found(NamedTuple):
    """Series that have samples in a span, and how many."""

    series: dict[Series, int]

    def keys(self) -> tuple[str, ...]:
        """Return the fewest names of labels, more or less, whose values tell all the series apart."""
        rows = [dict(series.labels) for series in self.series]
        names = sorted({name for row in rows for name in row})
        names.sort(key=lambda name: -len({row.get(name) for row in rows}))
        for count in range(len(names) + 1):
            if len({tuple(row.get(name) for name in names[:count]) for row in rows}) == len(rows):
                return tuple(names[:count])
        return tuple(names)


class Part(NamedTuple):
    """A part of a span, the tier that answers it, and what that tier has of it."""

    tier: Tier
    span: Span
    found: Found


class InfluxReader:
    """Asks one InfluxDB; what it raises is what ``InfluxServer.query`` raises."""

    def __init__(self, server: InfluxServer, clock: Clock) -> None:
        self._server, self._clock = server, clock
        self._tiers = tiers_of(server.config)

    def ask(self, flux: str, bucket: str) -> Iterator[Table]:
        """Yield the tables of the answer to ``flux``."""
        return tables(self._server.query(flux, bucket))

    def find(self, metric: str, matchers: Sequence[Matcher], span: Span, spans: int) -> list[Part]:
        """
        Return which series each part of ``span`` has; only what InfluxDB can match is matched.

        Samples answer while they are kept and ``spans`` parts of the span are short; else minutes or hours do.
        Windows that nobody makes (there is no such bucket) are not asked: then samples answer it all.
        """
        raw = self._tiers[0]
        planned: list[tuple[Tier, Span]] = []
        for tier, part in parts_of(self._tiers, span, self._clock.now()):
            if tier is raw and is_coarse(span, spans):
                planned += self._settled(metric, matchers, part)
            else:
                planned.append((tier, part))
        found: list[Part] = []
        for tier, part in planned:
            try:
                found.append(Part(tier, part, self._count(tier, metric, matchers, part)))
            except ConfigError:
                if tier is raw:
                    raise
                found.append(Part(raw, part, self._count(raw, metric, matchers, part)))
        return found

    def rows(self, part: Part, wanted: Sequence[Series], spans: int, matchers: Sequence[Matcher]) -> Rows:
        """
        Return the samples of ``wanted`` in one part, numbered by their position.

        Where they are very many, only the least and the greatest of each of ``spans`` pieces of the span that
        holds samples, at their own times, and one NaN of a piece in which something could not be read. A window
        is shown as two samples: its least at its beginning and its greatest at its middle.
        """
        tier, span, found = part
        here = [series for series in wanted if series in found.series]
        if not here:
            return joined([])
        names = found.keys()
        codes = {_key(series, names): wanted.index(series) for series in here}
        where = [is_metric(here[0].metric), *pushed(matchers)]
        tags = [_tags(series, names) for series in here]
        if len(here) < len(found.series) and all(tags):
            where.append(one_of(tags))
        columns = keep("_time", "_value", "_field", *map(encode_name, names))
        read = source(tier.bucket, span, *where, is_field(*tier.fields))
        if sum(found.series[one] for one in here) <= _RAW_ROWS:
            flux = read + columns
        else:
            flux = self._thinning(tier, where, self._extent(read, tier.bucket, span), spans, columns)
        parts: list[Rows] = []
        for table in self.ask(flux, tier.bucket):
            code = codes.get(tuple(_known(table.tags, name) for name in names))
            if code is not None:
                field = table.column("_field")[0]
                values = np.full(len(table.values), np.nan) if field == UNREAD else table.values
                times = table.times + tier.every // 2 if field == "max" else table.times
                parts.append((np.full(len(values), code, np.int64), times, values))
        # A value outlasts a gap at the same instant: whoever read it later knew more.
        parts.sort(key=lambda rows: bool(np.isnan(rows[2][0])), reverse=True)
        return joined(parts)

    def _count(self, tier: Tier, metric: str, matchers: Sequence[Matcher], span: Span) -> Found:
        flux = source(tier.bucket, span, is_metric(metric), is_field(*tier.fields), *pushed(matchers)) + " |> count()"
        found: dict[Series, int] = {}
        for table in self.ask(flux, tier.bucket):
            series = Series(metric, labels_from(table.tags.items()))
            found[series] = found.get(series, 0) + int(table.values.sum())
        return Found(found)

    def _settled(self, metric: str, matchers: Sequence[Matcher], span: Span) -> list[tuple[Tier, Span]]:
        """Return ``span`` in parts: minutes from the first to the last that were made, samples before and after."""
        raw, minutes = self._tiers[0], self._tiers[1]
        read = source(minutes.bucket, span, is_metric(metric), is_field("count"), *pushed(matchers))
        try:
            first, last = self._extent(read, minutes.bucket, (0, -1))
        except ConfigError:
            return [(raw, span)]
        # The last minutes may still be made anew; they are few, so samples answer them.
        last = last + minutes.every - LATE
        if last - first < _WORTH_IT:
            return [(raw, span)]
        parts = [(raw, (last, span[1])), (minutes, (first, last - 1)), (raw, (span[0], first - 1))]
        return [(tier, part) for tier, part in parts if part[0] <= part[1]]

    def metrics(self) -> set[str]:
        """Return the metrics that have samples or windows."""
        found: set[str] = set()
        for tier in self._tiers:
            flux = (
                'import "influxdata/influxdb/schema"\n'
                f"schema.measurements(bucket: {quoted(tier.bucket)}, start: time(v: {EARLIEST}),"
                f" stop: time(v: {LATEST}))"
                ' |> rename(columns: {_value: "metric"})'
            )
            for table in self._ask_tier(flux, tier):
                found.update(map(decode, table.column("metric")))
        return found

    def events(self, span: Span, matchers: Sequence[Matcher], limit: int) -> list[Event]:
        """Return events, the newest first."""
        bucket = self._server.config.event_bucket
        conditions = pushed([each for each in matchers if each.name not in ("kind", "code")])
        flux = source(bucket, span, f'r._measurement == "{EVENT}"', *conditions)
        flux += ' |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")'
        flux += ' |> drop(columns: ["_start", "_stop", "_measurement"]) |> group()'
        if len(conditions) == len(matchers):
            flux += f' |> sort(columns: ["_time"], desc: true) |> limit(n: {int(limit)})'
        found: list[Event] = []
        for table in self.ask(flux, bucket):
            names = [name for name in table.texts if name not in ("", "result", TEXT, ATTRIBUTES)]
            tags = [table.column(name) for name in names]
            rows = zip(table.times.tolist(), table.column(TEXT), table.column(ATTRIBUTES), strict=True)
            for at, (time, text, attributes) in enumerate(rows):
                own = ((name, column[at]) for name, column in zip(names, tags, strict=True) if column[at])
                found.append(event_from(own, time, text, attributes))
        fitting = [event for event in found if all_match(tuple(matchers), dict(event.labels))]
        return sorted(fitting, key=lambda event: event.timestamp, reverse=True)[:limit]

    def series(self, metric: str, matchers: Sequence[Matcher]) -> set[Series]:
        """Return the series of ``metric`` that have samples or windows and fulfil ``matchers``."""
        every: set[Series] = set()
        for tier in self._tiers:
            read = source(tier.bucket, EVER, is_metric(metric), is_field(*tier.fields), *pushed(matchers))
            every.update(Series(metric, labels_from(t.tags.items())) for t in self._ask_tier(read + " |> last()", tier))
        return set(matching(sorted(every), matchers))

    def _ask_tier(self, flux: str, tier: Tier) -> list[Table]:
        try:
            return list(self.ask(flux, tier.bucket))
        except ConfigError:
            if tier is self._tiers[0]:
                raise
            return []  # windows that nobody makes

    def count_until(self, last: int) -> int:
        """Return how many samples are not younger than ``last`` (ns)."""
        raw = self._tiers[0]
        read = source(raw.bucket, (EARLIEST, last), is_field(*raw.fields))
        flux = read + ' |> count() |> keep(columns: ["_value"]) |> sum()'
        return round(sum(float(table.values.sum()) for table in self.ask(flux, raw.bucket)))

    def _extent(self, read: str, bucket: str, otherwise: Span) -> Span:
        """Return the times of the first and the last row."""
        ends = [
            f'{read} |> {end}() |> keep(columns: ["_time"]) |> {most}(column: "_time") |> yield(name: "{end}")'
            for end, most in (("first", "min"), ("last", "max"))
        ]
        times = [int(time) for table in self.ask("\n".join(ends), bucket) for time in table.times.tolist()]
        return (min(times), max(times)) if times else otherwise

    def _thinning(self, tier: Tier, where: list[str], span: Span, spans: int, columns: str) -> str:
        width = max(-(-(span[1] - span[0] + 1) // max(spans, 1)), 1)
        return "\n".join(
            source(tier.bucket, span, *where, is_field(field))
            + f" |> window(every: {width}ns) |> {step}() |> window(every: inf){columns}"
            + f' |> yield(name: "{field} {step}")'
            for field, step in tier.extremes
        )


def _key(series: Series, names: Sequence[str]) -> tuple[str | None, ...]:
    return tuple(series.label(name) for name in names)


def _tags(series: Series, names: Sequence[str]) -> dict[str, str]:
    """Return the tags of a series as InfluxDB has them; it may lack one, which then does not narrow the answer."""
    return {encode_name(name): encode(value) for name, value in series.labels if name in names}


def _known(tags: dict[str, str], name: str) -> str | None:
    text = tags.get(encode_name(name))
    return None if text is None else decode(text)
