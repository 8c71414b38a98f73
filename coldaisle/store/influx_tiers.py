"""
Samples as they were written, and windows of a minute and an hour made of them by InfluxDB's own tasks.

A window holds ``min``, ``max``, ``sum``, ``count`` and ``mean`` of its samples, stamped with its beginning. An hour
is made of its minutes: least of least, greatest of greatest, sums of sums and counts, and the mean as sum by
count, never as a mean of means. Each of these is a pipeline of its own, since only so InfluxDB computes it where
the data lies.
"""

from __future__ import annotations

from typing import NamedTuple

from coldaisle.clock import DAY, HOUR, MINUTE, rfc3339
from coldaisle.store.influx_flux import quoted
from coldaisle.store.influx_lines import UNREAD, VALUE
from coldaisle.store.influx_settings import InfluxConfig

Span = tuple[int, int]
"""Nanoseconds, both ends included."""

LATE = 15 * MINUTE
"""Samples this late are still in the minutes that a task makes anew at every run; later ones need ``downsample``."""
LATE_HOURS = 3 * HOUR
"""The same for the task that makes hours."""
_COARSE_FROM = 10 * MINUTE
"""Where an answer shows less than a value for so long, it is made of minutes; ten of them blur nothing then."""


class Tier(NamedTuple):
    """A bucket of samples or windows."""

    bucket: str
    every: int  # ns; 0 for samples
    keep_days: int  # 0 = for ever
    extremes: tuple[tuple[str, str], ...]  # field, and the step that finds what a thinned answer must show of it

    @property
    def fields(self) -> tuple[str, ...]:
        """Return the fields that an answer is made of."""
        return tuple(dict.fromkeys(field for field, _ in self.extremes))


def tiers_of(config: InfluxConfig) -> tuple[Tier, Tier, Tier]:
    """Return the tiers, the finest first."""
    windows = (("min", "min"), ("max", "max"))
    return (
        Tier(config.bucket, 0, config.raw_days, ((VALUE, "min"), (VALUE, "max"), (UNREAD, "first"))),
        Tier(config.minute_bucket, MINUTE, config.minute_days, windows),
        Tier(config.hour_bucket, HOUR, config.hour_days, windows),
    )


def edges(tiers: tuple[Tier, ...], now: int) -> list[int]:
    """Return from when on (ns, a whole hour) each tier still holds everything; the last holds whatever there is."""
    begin = [-(-(now - tier.keep_days * DAY) // HOUR) * HOUR if tier.keep_days else None for tier in tiers[:-1]]
    return [-(2**63) if edge is None else edge for edge in begin] + [-(2**63)]


def parts_of(tiers: tuple[Tier, ...], span: Span, now: int) -> list[tuple[Tier, Span]]:
    """Return which tier answers which part of ``span``: the finest that still holds it, the newest part first."""
    parts: list[tuple[Tier, Span]] = []
    last = span[1]
    for tier, edge in zip(tiers, edges(tiers, now), strict=True):
        first = max(span[0], edge)
        if first <= last:
            parts.append((tier, (first, last)))
            last = first - 1
        if last < span[0]:
            break
    return parts


def is_coarse(span: Span, spans: int) -> bool:
    """Return whether an answer of ``spans`` parts is so coarse that minutes serve it as well as samples."""
    return (span[1] - span[0]) // max(spans, 1) >= _COARSE_FROM


def task_name(tier: Tier) -> str:
    """Return the name of the task that fills ``tier``."""
    return f"coldaisle: fill {tier.bucket}"


def task_flux(tiers: tuple[Tier, Tier, Tier], tier: Tier) -> str:
    """Return the task that fills ``tier``: every window of the last ones anew, since samples may come late."""
    every, offset, back = ("1h", "3m", LATE_HOURS) if tier.every == HOUR else ("1m", "20s", LATE)
    unit = "1h" if tier.every == HOUR else "1m"
    head = (
        'import "date"\n'
        f"option task = {{name: {quoted(task_name(tier))}, every: {every}, offset: {offset}}}\n"
        # Whole windows only: half of one would overwrite what was made of all of it.
        f"begin = date.truncate(t: date.sub(d: {back // MINUTE}m, from: now()), unit: {unit})\n"
        f"end = date.truncate(t: now(), unit: {unit})\n"
    )
    return head + _pipelines(tiers, tier)


def downsample_flux(tiers: tuple[Tier, Tier, Tier], tier: Tier, span: Span) -> str:
    """Return the query that makes the windows of ``tier`` that touch ``span`` anew."""
    first, last = span[0] // tier.every * tier.every, (span[1] // tier.every + 1) * tier.every
    return f"begin = {rfc3339(first)}\nend = {rfc3339(last)}\n" + _pipelines(tiers, tier)


def _pipelines(tiers: tuple[Tier, Tier, Tier], tier: Tier) -> str:
    every = "1h" if tier.every == HOUR else "1m"
    finer = tiers[0].bucket if tier.every == MINUTE else tiers[1].bucket
    # `to` passes on all that it wrote; nobody wants to have it sent.
    to = f' |> to(bucket: {quoted(tier.bucket)}) |> keep(columns: ["_value"]) |> count()'

    def pipeline(field: str, step: str) -> str:
        return (
            f"from(bucket: {quoted(finer)}) |> range(start: begin, stop: end)"
            f" |> filter(fn: (r) => r._field == {quoted(field)})"
            f' |> aggregateWindow(every: {every}, fn: {step}, createEmpty: false, timeSrc: "_start")'
        )

    def named(name: str) -> str:
        return f' |> set(key: "_field", value: {quoted(name)})'

    if tier.every == MINUTE:
        own = [(VALUE, step, step) for step in ("min", "max", "sum", "count", "mean")]
    else:
        own = [("min", "min", "min"), ("max", "max", "max"), ("sum", "sum", "sum"), ("count", "sum", "count")]
    lines = [pipeline(field, step) + named(name) + to + f" |> yield(name: {quoted(name)})" for field, step, name in own]
    if tier.every == HOUR:
        lines.append(
            f"union(tables: [{pipeline('sum', 'sum')}{named('sum')},"
            f" {pipeline('count', 'sum')} |> toFloat(){named('count')}])"
            ' |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")'
            ' |> map(fn: (r) => ({r with _value: r.sum / r.count, _field: "mean"}))'
            f' |> drop(columns: ["sum", "count"]){to} |> yield(name: "mean")'
        )
    return "\n".join(lines) + "\n"
