"""Recognises, once and at the border, samples that must not be scored."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.clock import HOUR, MINUTE
from coldaisle.detector import Ids
from coldaisle.frame import Times, Values
from coldaisle.selfstats import SelfStats
from pipeline.series_table import SeriesTable

FUTURE_NS = 5 * MINUTE
"""Further ahead of processing time is a clock that is wrong, not a network that is fast."""
OLD_NS = 24 * HOUR
"""Further behind the watermark is history that belongs in the store."""

# DCGM's blanks, dcgm_fields.h: INT64 0x7ffffffffffffff0 (+1 not found, +2 not supported, +3 not permitted),
# INT32 0x7ffffff0 (+1..+3), FP64 140737488355328 (+1..+3). As float64 the INT64 ones all round to 2**63.
_BLANK_INT64 = float(2**63)
_BLANK_INT32 = float(0x7FFFFFF0)
_BLANK_FP64 = 140737488355328.0


class Samples(NamedTuple):
    """Columns of samples that may be scored."""

    ids: Ids
    timestamps: Times
    values: Values


class Arrived(NamedTuple):
    """What came of a batch: what may be scored, which series gave nonsense, and whose clocks are wrong."""

    good: Samples
    invalid: Samples  # value NaN: it could not be read, or the reading cannot be true
    skewed: NDArray[np.int64]  # sources whose clock is ahead


def is_blank(values: Values) -> NDArray[np.bool_]:
    """Return where a value is one of DCGM's blanks."""
    suspicious = values >= _BLANK_INT32
    if not suspicious.any():
        return suspicious
    int32 = (values >= _BLANK_INT32) & (values <= _BLANK_INT32 + 3)
    fp64 = (values >= _BLANK_FP64) & (values <= _BLANK_FP64 + 3)
    return np.asarray((values == _BLANK_INT64) | int32 | fp64)


class Ingest:
    """Sorts samples into those to score and those to count; every dropped sample is counted with its reason."""

    def __init__(self, table: SeriesTable, stats: SelfStats) -> None:
        self._table = table
        self._stats = stats
        self._suspects: list[tuple[str, Ids, Times]] = []
        stats.describe("samples_total", "counter", "Samples that came in.")
        stats.describe("senders_crossed_total", "counter", "Frames sent while another process sent as the same node.")
        stats.describe("ingest_dropped_total", "counter", "Samples that were not scored, by reason.")

    def drop(self, reason: str, number: int) -> None:
        """Count ``number`` samples as dropped for ``reason``."""
        if number:
            self._stats.add("ingest_dropped_total", float(number), reason=reason)

    def count_crossing(self) -> None:
        """Count a frame that came while another process sent as the same node."""
        self._stats.add("senders_crossed_total")

    def suspect(self, word: str, ids: Ids, timestamps: Times) -> None:
        """Keep which series came with samples that contradict others, for whoever asks what that means."""
        if len(ids):
            self._suspects.append((word, ids, timestamps))

    def take_suspects(self) -> list[tuple[str, Ids, Times]]:
        """Return what is suspect since the last call."""
        taken, self._suspects = self._suspects, []
        return taken

    def accept(self, samples: Samples, now: int, watermark: int | None) -> Arrived:
        """Sort a batch that arrived at ``now`` while the watermark stood at ``watermark``."""
        ids, timestamps, values = samples
        self._stats.add("samples_total", float(len(ids)))
        keep = np.isfinite(values)
        metric = self._table.metric[ids]
        within = (values >= self._table.low[metric]) & (values <= self._table.high[metric])
        blank = is_blank(values)
        if not keep.all():
            self.drop("unread", int(np.isnan(values).sum()))
            self.drop("infinite", int(np.isinf(values).sum()))
        if blank.any():
            self.drop("vendor_blank", int((blank & keep).sum()))
            keep &= ~blank
        if not (within | ~keep).all():
            self.drop("out_of_range", int((keep & ~within).sum()))
        keep &= within
        in_time, skewed = self._in_time(ids, timestamps, now, watermark)
        if in_time is None and keep.all():
            empty = Samples(ids[:0], timestamps[:0], values[:0])
            return Arrived(samples, empty, skewed)
        if in_time is None:
            in_time = np.ones(len(ids), np.bool_)
        bad = ~keep & in_time
        keep &= in_time
        return Arrived(
            Samples(ids[keep], timestamps[keep], values[keep]),
            Samples(ids[bad], timestamps[bad], values[bad]),
            skewed,
        )

    def _in_time(
        self, ids: Ids, timestamps: Times, now: int, watermark: int | None
    ) -> tuple[NDArray[np.bool_] | None, NDArray[np.int64]]:
        """Return where samples are neither late nor ahead (None = everywhere) and the sources that are ahead."""
        nobody = np.zeros(0, np.int64)
        if not len(timestamps):
            return None, nobody
        oldest, newest = int(timestamps.min()), int(timestamps.max())
        result: NDArray[np.bool_] | None = None
        if newest > now + FUTURE_NS:
            ahead = timestamps > now + FUTURE_NS
            self.drop("future", int(ahead.sum()))
            nobody = np.unique(self._table.source[ids[ahead]]).astype(np.int64)
            result = ~ahead
        if watermark is not None and oldest < watermark:
            late = timestamps < watermark
            old = timestamps < watermark - OLD_NS
            self.drop("too_old", int(old.sum()))
            self.drop("late", int((late & ~old).sum()))
            self._stats.add("late_samples_total", float(late.sum()))
            result = ~late if result is None else result & ~late
        return result, nobody
