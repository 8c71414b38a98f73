"""One read of one collector, as a frame and its events; a failed scrape is a frame too, never a gap."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from coldaisle.clock import SECOND, Clock
from coldaisle.errors import Permanent, Transient
from coldaisle.event import Event
from coldaisle.frame import Frame, Sample
from coldaisle.selfstats import SelfStats
from coldaisle.series import Layout, Series, labels
from collectors.port import Collector, Unread

OWN_METRICS = ("collector_up", "collector_duration_seconds", "collector_errors")
"""What every frame carries beside the collector's samples."""

_KEPT_REASONS = 3


class Outcome(NamedTuple):
    """What one scrape brought."""

    frame: Frame
    events: list[Event]
    up: bool
    reason: str  # why it is not up, or what could not be read; empty when all was well
    permanent: bool = False


def scrape(collector: Collector, node: str, clock: Clock, stats: SelfStats | None = None) -> tuple[Frame, list[Event]]:
    """
    Scrape ``collector`` once.

    Never raises for Transient or Permanent: the frame then says ``collector_up 0`` and carries what was
    read before. Any other exception is a mistake in the collector and passes through.
    """
    outcome = attempt(collector, node, clock, stats)
    return outcome.frame, outcome.events


def attempt(
    collector: Collector, node: str, clock: Clock, stats: SelfStats | None = None, last: Layout | None = None
) -> Outcome:
    """Scrape once, as :func:`scrape`, and say why it failed; ``last`` is reused where the series are the same."""
    start = clock.now()
    rows: dict[Series, Sample] = {}
    events: list[Event] = []
    unread: list[Unread] = []
    duplicates = 0
    reason, failed, permanent = "", 0, False
    try:
        for item in collector.collect(start):
            if isinstance(item, Sample):
                if rows.setdefault(item.series, item) is not item:
                    duplicates += 1
            elif isinstance(item, Event):
                events.append(item)
            else:
                unread.append(item)
    except (Transient, Permanent) as error:
        reason, failed, permanent = str(error), 1, isinstance(error, Permanent)
    duration_seconds = (clock.now() - start) / SECOND
    if stats is not None:
        _count(stats, collector.name, unread, duplicates, failed)
    own = _own_samples(collector.name, node, start, not failed, duration_seconds, failed + len(unread))
    frame = _frame(collector.name, node, [*rows.values(), *own], last)
    return Outcome(frame, events, not failed, reason or _summary(unread), permanent)


def down(name: str, node: str, start: int, duration_seconds: float, last: Layout | None = None) -> Frame:
    """Return the frame of a scrape that brought nothing."""
    return _frame(name, node, _own_samples(name, node, start, False, duration_seconds, 1), last)


def _own_samples(name: str, node: str, start: int, up: bool, duration_seconds: float, errors: int) -> list[Sample]:
    who = labels(collector=name, node=node)
    values = (float(up), duration_seconds, float(errors))
    return [Sample(Series(metric, who), start, value) for metric, value in zip(OWN_METRICS, values, strict=True)]


def _frame(name: str, node: str, rows: list[Sample], last: Layout | None) -> Frame:
    series = tuple(row.series for row in rows)
    # Comparing tuples costs a tenth of a digest, and the series are nearly always the same.
    layout = last if last is not None and last.series == series else Layout(series)
    return Frame(
        collector=name,
        node=node,
        layout=layout,
        timestamps=np.fromiter((row.timestamp for row in rows), np.int64, len(rows)),
        values=np.fromiter((row.value for row in rows), np.float64, len(rows)),
    )


def _count(stats: SelfStats, name: str, unread: Iterable[Unread], duplicates: int, failed: int) -> None:
    stats.add("collector_scrapes_total", collector=name)
    if failed:
        stats.add("collector_scrapes_failed_total", collector=name)
    if duplicates:
        stats.add("collector_samples_dropped_total", duplicates, collector=name, reason="duplicate")
    for item in unread:
        stats.add("collector_unread_total", collector=name, reason=item.reason)


def _summary(unread: list[Unread]) -> str:
    if not unread:
        return ""
    shown = "; ".join(f"{item.what}: {item.reason}" for item in unread[:_KEPT_REASONS])
    more = len(unread) - _KEPT_REASONS
    return f"{shown}; and {more} more" if more > 0 else shown
