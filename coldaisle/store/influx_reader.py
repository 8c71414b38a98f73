"""Reads samples and events from InfluxDB, thinned there where that saves the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

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
    source,
    tables,
)
from coldaisle.store.influx_lines import (
    ATTRIBUTES,
    EVENT,
    TEXT,
    UNREAD,
    VALUE,
    decode,
    encode,
    encode_name,
    event_from,
    labels_from,
)
from coldaisle.store.influx_server import InfluxServer
from coldaisle.store.lines import Rows, joined, matching

Span = tuple[int, int]
"""Nanoseconds, both ends included."""

EVER: Span = (EARLIEST, LATEST)
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


class InfluxReader:
    """Asks one InfluxDB; what it raises is what ``InfluxServer.query`` raises."""

    def __init__(self, server: InfluxServer) -> None:
        self._server = server

    def ask(self, flux: str, bucket: str) -> Iterator[Table]:
        """Yield the tables of the answer to ``flux``."""
        return tables(self._server.query(flux, bucket))

    def find(self, bucket: str, metric: str, matchers: Sequence[Matcher], span: Span, fields: Sequence[str]) -> Found:
        """Return which series have samples; only what InfluxDB can match is matched."""
        flux = source(bucket, span, is_metric(metric), is_field(*fields), *pushed(matchers)) + " |> count()"
        found: dict[Series, int] = {}
        for table in self.ask(flux, bucket):
            series = Series(metric, labels_from(table.tags.items()))
            found[series] = found.get(series, 0) + int(table.values.sum())
        return Found(found)

    def rows(self, found: Found, wanted: Sequence[Series], span: Span, spans: int, matchers: Sequence[Matcher]) -> Rows:
        """
        Return the samples of ``wanted``, numbered by their position, from the raw bucket.

        Where they are very many, only the least and the greatest of each of ``spans`` parts of the span that
        holds samples, at their own times, and one NaN of a part in which something could not be read.
        """
        bucket, names = self._server.config.bucket, found.keys()
        codes = {_key(series, names): code for code, series in enumerate(wanted)}
        where = [is_metric(wanted[0].metric), *pushed(matchers)]
        tags = [_tags(series, names) for series in wanted]
        if len(wanted) < len(found.series) and all(tags):
            where.append(one_of(tags))
        columns = keep("_time", "_value", "_field", *map(encode_name, names))
        read = source(bucket, span, *where, is_field(VALUE, UNREAD))
        if sum(found.series.get(one, 0) for one in wanted) <= _RAW_ROWS:
            flux = read + columns
        else:
            flux = self._thinning(bucket, where, self._extent(read, bucket, span), spans, columns)
        parts: list[Rows] = []
        for table in self.ask(flux, bucket):
            code = codes.get(tuple(_known(table.tags, name) for name in names))
            if code is not None:
                unread = table.column("_field")[0] == UNREAD
                values = np.full(len(table.values), np.nan) if unread else table.values
                parts.append((np.full(len(values), code, np.int64), table.times, values))
        # A value outlasts a gap at the same instant: whoever read it later knew more.
        parts.sort(key=lambda part: bool(np.isnan(part[2][0])), reverse=True)
        return joined(parts)

    def metrics(self, bucket: str) -> list[str]:
        """Return the metrics that have samples."""
        flux = (
            'import "influxdata/influxdb/schema"\n'
            f'schema.measurements(bucket: "{bucket}", start: time(v: {EARLIEST}), stop: time(v: {LATEST}))'
            ' |> rename(columns: {_value: "metric"})'
        )
        return [decode(name) for table in self.ask(flux, bucket) for name in table.column("metric")]

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

    def series(self, bucket: str, metric: str, matchers: Sequence[Matcher], fields: Sequence[str]) -> list[Series]:
        """Return the series of ``metric``; only what InfluxDB can match is matched."""
        flux = source(bucket, EVER, is_metric(metric), is_field(*fields), *pushed(matchers)) + " |> last()"
        every = {Series(metric, labels_from(table.tags.items())) for table in self.ask(flux, bucket)}
        return list(matching(sorted(every), matchers))

    def count_until(self, bucket: str, last: int) -> int:
        """Return how many samples are not younger than ``last`` (ns)."""
        read = source(bucket, (EARLIEST, last), is_field(VALUE, UNREAD))
        flux = read + ' |> count() |> keep(columns: ["_value"]) |> sum()'
        return round(sum(float(table.values.sum()) for table in self.ask(flux, bucket)))

    def _extent(self, read: str, bucket: str, span: Span) -> Span:
        ends = [
            f'{read} |> {end}() |> keep(columns: ["_time"]) |> {most}(column: "_time") |> yield(name: "{end}")'
            for end, most in (("first", "min"), ("last", "max"))
        ]
        times = [int(time) for table in self.ask("\n".join(ends), bucket) for time in table.times.tolist()]
        return (min(times), max(times)) if times else span

    def _thinning(self, bucket: str, where: list[str], span: Span, spans: int, columns: str) -> str:
        width = max(-(-(span[1] - span[0] + 1) // max(spans, 1)), 1)
        chosen = ((VALUE, "min"), (VALUE, "max"), (UNREAD, "first"))
        return "\n".join(
            source(bucket, span, *where, is_field(field))
            + f" |> window(every: {width}ns) |> {step}() |> window(every: inf){columns}"
            + f' |> yield(name: "{field} {step}")'
            for field, step in chosen
        )


def _key(series: Series, names: Sequence[str]) -> tuple[str | None, ...]:
    return tuple(series.label(name) for name in names)


def _tags(series: Series, names: Sequence[str]) -> dict[str, str]:
    """Return the tags of a series as InfluxDB has them; it may lack one, which then does not narrow the answer."""
    return {encode_name(name): encode(value) for name, value in series.labels if name in names}


def _known(tags: dict[str, str], name: str) -> str | None:
    text = tags.get(encode_name(name))
    return None if text is None else decode(text)
