"""Reads history to learn from: recordings, CSV and Parquet files, or what the metric store holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cli import score_files
from cli.settings import Settings
from coldaisle.catalogue import Drive, Kind, metric_of
from coldaisle.clock import MINUTE, SECOND, SystemClock
from coldaisle.errors import ConfigError
from coldaisle.selfstats import SelfStats
from coldaisle.series import Series
from coldaisle.store import MetricStore
from coldaisle.store.parquet import ParquetStore
from coldaisle.store.recording import Recording

Floats = NDArray[np.float64]

MOST_SERIES = 2000
"""More series of the same metrics teach a global model little."""
MOST_CELLS = 40_000_000
"""Series times steps: 320 MB."""
LEAST_STEP = MINUTE
"""What is read more often is taken once a minute: nothing that takes hours to build up moves faster."""
_READ_STEP = 600 * SECOND
_STORE_SERIES = 5000
_RAW_SAMPLES = 3_000_000


@dataclass(frozen=True)
class History:
    """Series on an even grid: ``times`` [steps] (Unix ns), ``values`` [series, steps], NaN = not seen."""

    metrics: tuple[str, ...]
    series: tuple[str, ...]
    times: NDArray[np.int64]
    values: Floats


class _Grid:
    """Takes samples as they come; of several in one step the last counts."""

    def __init__(self, rows: int, first: int, last: int, step: int) -> None:
        steps = (last - first) // step + 1
        if rows * steps > MOST_CELLS:
            raise ConfigError(
                f"{rows:,} series of {steps:,} steps are more than can be learnt from at once ({MOST_CELLS:,} values); "
                "take a longer --step, fewer with --metric, or less with --since"
            )
        self._first, self._step = first, step
        self.times = first + np.arange(steps, dtype=np.int64) * step
        self.values = np.full((rows, steps), np.nan)

    def put(self, rows: NDArray[np.int64], timestamps: NDArray[np.int64], values: Floats) -> None:
        """Take samples in order of time."""
        slots = (timestamps - self._first) // self._step
        fine = (slots >= 0) & (slots < len(self.times)) & np.isfinite(values) & (rows >= 0)
        self.values[rows[fine], slots[fine]] = values[fine]


def from_recording(path: Path, wanted: Sequence[str], step: int | None) -> History:
    """Read a recording; ``wanted`` metrics, none = all that can be foretold. Raises ConfigError."""
    recording = Recording(path)
    series = recording.layout.series
    chosen = _chosen(series, wanted, str(path))
    place = np.full(len(series), -1, np.int64)
    place[chosen] = np.arange(len(chosen))
    interval = recording.interval_seconds
    length = step or max(LEAST_STEP, round(interval * SECOND) if isfinite(interval) else LEAST_STEP)
    first, last = recording.span
    grid = _Grid(len(chosen), first, last, length)
    for _, block in recording.blocks(_READ_STEP):
        grid.put(place[block.index], block.timestamps, block.values)
    return _history([series[number] for number in chosen], grid)


def from_store(settings: Settings, wanted: Sequence[str], step: int | None, since: int, now: int) -> History:
    """Read what the metric store of the configuration holds from ``since`` on (Unix ns). Raises ConfigError."""
    store = _store(settings)
    try:
        names = [name for name in store.metrics() if _can_be_foretold(name) and (not wanted or name in wanted)]
        series = [one for name in names for one in store.series(name, (), _STORE_SERIES)]
        where = f"the metric store of {settings.storage.folder}"
        kept = [series[number] for number in _chosen(series, wanted, where)]
        place = {one: number for number, one in enumerate(kept)}
        length = step or LEAST_STEP
        grid = _Grid(len(kept), since, now, length)
        for name, count in Counter(one.metric for one in series).items():
            # So much at once that no line is thinned, even of samples a second: extremes alone teach the wrong thing.
            window = min(max(_RAW_SAMPLES // count, 600), 21_600) * SECOND
            for start in range(since, now + 1, window):
                end = min(start + window - 1, now)
                for line in store.query(name, (), start, end, _RAW_SAMPLES, _STORE_SERIES):
                    row = place.get(line.series, -1)
                    grid.put(np.full(len(line.values), row), line.timestamps, line.values)
        return _history(kept, grid)
    finally:
        store.close()


def from_tables(paths: Iterable[Path], step: int | None) -> History:
    """Read CSV and Parquet files, each column of numbers a series. Raises ConfigError."""
    tables = [score_files.read(path, None, ()) for path in score_files.find(list(paths))]
    gaps = [np.diff(np.unique(table.timestamps)) for table in tables if len(table.timestamps) > 1]
    if not gaps:
        raise ConfigError("no file has two moments; there is nothing to learn from")
    length = step or max(int(np.median(gap)) for gap in gaps)
    first = min(int(table.timestamps.min()) for table in tables)
    last = max(int(table.timestamps.max()) for table in tables)
    grid = _Grid(sum(len(table.metrics) for table in tables), first, last, length)
    names: list[str] = []
    for table in tables:
        order = np.argsort(table.timestamps, kind="stable")
        for number, metric in enumerate(table.metrics):
            row = np.full(len(order), len(names), np.int64)
            grid.put(row, table.timestamps[order], table.values[order, number])
            names.append(f"{score_files.stem(table.path)}/{metric}")
    metrics = tuple(sorted({metric for table in tables for metric in table.metrics}))
    return History(metrics, tuple(names), grid.times, grid.values)


def _chosen(series: Sequence[Series], wanted: Sequence[str], where: str) -> NDArray[np.int64]:
    """Return which series to learn from; of very many an even part, so that every metric and place is there."""
    names = {one.metric for one in series}
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise ConfigError(f"{where}: no metric {unknown[0]!r}; it has {', '.join(sorted(names)[:8])}")
    fine = [
        number
        for number, one in enumerate(series)
        if (one.metric in wanted if wanted else _can_be_foretold(one.metric))
    ]
    if not fine:
        raise ConfigError(f"{where}: no metric that can be foretold (a gauge, no flag); name one with --metric")
    fine.sort(key=lambda number: str(series[number]))
    if len(fine) > MOST_SERIES:
        fine = [fine[number] for number in np.linspace(0, len(fine) - 1, MOST_SERIES).astype(int)]
    return np.array(fine, np.int64)


def _can_be_foretold(name: str) -> bool:
    metric = metric_of(name)
    return metric.kind is Kind.GAUGE and metric.drive in (Drive.LOAD, Drive.STEADY)


def _history(series: Sequence[Series], grid: _Grid) -> History:
    metrics = tuple(sorted({one.metric for one in series}))
    return History(metrics, tuple(str(one) for one in series), grid.times, grid.values)


def _store(settings: Settings) -> MetricStore:
    storage, clock, stats = settings.storage, SystemClock(), SelfStats()
    if storage.metrics == "influx" and storage.influx is not None:
        from coldaisle.store.influx import InfluxStore

        return InfluxStore(storage.influx, clock, stats, None, read_only=True)
    folder = storage.folder / "metrics"
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no samples are stored there; name a recording, files, or --config of a site")
    return ParquetStore(folder, clock, stats, read_only=True)
