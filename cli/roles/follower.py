"""Follows the newest values on the bus, so that the pages live without the engine in their process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic

import numpy as np

from coldaisle.anomaly import Anomaly, Phase
from coldaisle.bus import ANOMALIES, FRAMES, Bus, Message, Partition
from coldaisle.clock import DAY, SECOND, Clock
from coldaisle.codec import LINE_PROTOCOL, LayoutCache, decode_anomaly, decode_frame
from coldaisle.errors import Permanent
from coldaisle.frame import Block, Frame
from coldaisle.line_protocol import decode_lines
from coldaisle.live import LiveView
from coldaisle.selfstats import SelfStats
from coldaisle.topology import Topology
from pipeline.columns import column, grown
from pipeline.ingest import FUTURE_NS, is_blank
from pipeline.series_table import SeriesTable

_MOST_MESSAGES = 2000
_MOST_BEHIND = 20_000
"""Messages of one partition: some minutes of a large hall. What is older shows nothing that is not newer too."""
_LOOK_SECONDS = 2.0
_FORGET_NS = DAY
_SWEEP_SECONDS = 3600.0
_MOST_FINDINGS = 100_000


class Follower:
    """
    Values and times of every series, and the scores of findings that are open; one thread.

    It belongs to no group and commits nothing. What it cannot read is counted, not sent anywhere: that is the
    business of ``score`` and ``store``.
    """

    def __init__(self, bus: Bus, topology: Topology, clock: Clock, stats: SelfStats) -> None:
        self._clock, self._stats = clock, stats
        self._frames = bus.reader([FRAMES])
        self._findings = bus.reader([ANOMALIES])
        self._layouts = LayoutCache()
        self._table = SeriesTable(topology)
        self._times = column(0, np.int64)
        self._values = column(np.nan, np.float64)  # counters: their rate a second
        self._raw = column(np.nan, np.float64)
        self._open: dict[str, Anomaly] = {}
        self._look_at = 0.0
        self._sweep_at = monotonic() + _SWEEP_SECONDS
        self._last_view: LiveView | None = None
        stats.describe("follower_skipped_total", "counter", "Messages too old to matter for the pages.")

    def behind(self) -> Mapping[Partition, int]:
        """Return how many frames wait in each partition. Raises Transient while the bus is away."""
        return self._frames.behind()

    def step(self, timeout_seconds: float = 0.5) -> int:
        """Read what is new; return how many messages. Raises Transient."""
        found = self._findings.poll(_MOST_MESSAGES, 0.0)
        self._note(found)
        messages = self._frames.poll(_MOST_MESSAGES, 0.0 if found else timeout_seconds)
        now = self._clock.now()
        for message in messages:
            try:
                if message.headers.get("content-type") == LINE_PROTOCOL:
                    for frame in decode_lines(message.value, "telegraf", self._stats):
                        self._take(frame, now)
                else:
                    self._take(decode_frame(message.value, self._layouts), now)
            except Permanent:
                self._stats.add("follower_unreadable_total", topic=FRAMES)
        if messages and monotonic() >= self._look_at:
            self._look_at = monotonic() + _LOOK_SECONDS
            self._catch_up(messages)
        if monotonic() >= self._sweep_at:
            self._sweep_at = monotonic() + _SWEEP_SECONDS
            self._forget(now - _FORGET_NS)
        return len(messages) + len(found)

    def view(self) -> LiveView:
        """Return a copy of the newest values; scores are of open findings, NaN elsewhere."""
        table = self._table
        used = np.flatnonzero(table.used[: table.size])
        known = self._last_view
        if known is not None and known.version == table.version:
            series, entities = known.series, known.entities
        else:
            series = tuple(table.series(number) for number in used.tolist())
            entities = tuple(table.entity_name(number) for number in used.tolist())
        scores, expected, low, high = (np.full(len(used), np.nan, np.float32) for _ in range(4))
        for finding in self._open.values():
            number = -1 if finding.series is None else table.find(finding.series)
            if number >= 0:
                row = int(np.searchsorted(used, number))
                scores[row] = np.fmax(scores[row], finding.score)
                expected[row] = np.nan if finding.expected is None else finding.expected
                low[row] = np.nan if finding.low is None else finding.low
                high[row] = np.nan if finding.high is None else finding.high
        times = self._times[used]
        self._last_view = LiveView(
            now=int(times.max()) if len(times) else 0,
            version=table.version,
            series=series,
            entities=entities,
            timestamps=times,
            values=self._values[used],
            scores=scores,
            expected=expected,
            low=low,
            high=high,
            groups=np.full(len(used), -1, np.int32),
        )
        return self._last_view

    def close(self) -> None:
        """Let go of the bus."""
        self._frames.close()
        self._findings.close()

    def _note(self, messages: Sequence[Message]) -> None:
        for message in messages:
            try:
                finding = decode_anomaly(message.value)
            except Permanent:
                self._stats.add("follower_unreadable_total", topic=ANOMALIES)
                continue
            if finding.phase is Phase.CLOSED:
                self._open.pop(finding.id, None)
            else:
                self._open[finding.id] = finding
                if len(self._open) > _MOST_FINDINGS:
                    del self._open[next(iter(self._open))]

    def _take(self, frame: Frame | Block, now: int) -> None:
        ids = self._table.ids(frame.layout)
        if isinstance(frame, Block):
            ids = ids[frame.index]
        times, values = frame.timestamps, frame.values
        self._grow()
        metric = self._table.metric[ids]
        sound = (values >= self._table.low[metric]) & (values <= self._table.high[metric]) & ~is_blank(values)
        keep = sound & np.isfinite(values) & (times > self._times[ids]) & (times <= now + FUTURE_NS)
        if not keep.all():
            ids, times, values, metric = ids[keep], times[keep], values[keep], metric[keep]
        counts = self._table.counter[metric]
        shown = values
        if counts.any():
            gap = (times - self._times[ids]) / SECOND
            rise = values - self._raw[ids]
            rate = np.where(rise >= 0, rise / np.where(gap > 0, gap, np.nan), np.nan)
            shown = np.where(counts, rate, values)
        self._raw[ids], self._values[ids], self._times[ids] = values, shown, times

    def _grow(self) -> None:
        fresh = self._table.take_fresh()
        if len(fresh):
            size = self._table.size
            self._times = grown(self._times, size, 0)
            self._values = grown(self._values, size, np.nan)
            self._raw = grown(self._raw, size, np.nan)
            self._times[fresh], self._values[fresh], self._raw[fresh] = 0, np.nan, np.nan

    def _catch_up(self, messages: Sequence[Message]) -> None:
        """Leave out what is so old that something newer of the same series follows."""
        reached = {message.partition: message.offset + 1 for message in messages}
        behind = self._frames.behind()
        ahead = {
            partition: offset + behind.get(partition, 0) - _MOST_BEHIND
            for partition, offset in reached.items()
            if behind.get(partition, 0) > _MOST_BEHIND
        }
        if ahead:
            self._frames.seek(ahead)
            self._stats.add("follower_skipped_total", float(sum(ahead[one] - reached[one] for one in ahead)))

    def _forget(self, before: int) -> None:
        size = self._table.size
        away = np.flatnonzero(self._table.used[:size] & (self._times[:size] < before))
        if len(away):
            self._table.free(away.tolist())
        for finding in [one for one in self._open.values() if one.updated_at < before and one.ended_at is None]:
            if finding.series is not None and self._table.find(finding.series) < 0:
                del self._open[finding.id]
