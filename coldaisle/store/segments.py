"""Folders of Parquet segments by date and hour: written in one piece, compacted, set aside when broken."""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from coldaisle.clock import HOUR, rfc3339
from coldaisle.errors import Transient
from coldaisle.selfstats import SelfStats
from coldaisle.series import Labels, Series
from coldaisle.store.lines import Numbering, Rows, joined, once
from coldaisle.store.recording_writer import sync

_LOG = logging.getLogger(__name__)

SCHEMA = pa.schema(
    [
        ("metric", pa.string()),
        ("labels", pa.string()),  # a JSON object, its names sorted
        # Without a zone although it is UTC: DuckDB keeps nanoseconds only so.
        ("timestamp", pa.timestamp("ns")),
        ("value", pa.float64()),
    ]
)
"""The columns of a segment, sorted by metric, labels and timestamp, so that text costs next to nothing."""

_ROW_GROUP = 1 << 17
_MERGED_ROWS = 4_000_000
"""Segments are merged up to so many samples, 250 MB while it lasts. An hour of many thousand GPUs stays several
segments: in one piece it would take several gigabytes and all cores."""
_FOREIGN = "its columns are not those of a segment"
TEMPORARY = ".tmp"


def labels_text(labels: Labels) -> str:
    """Return labels as a segment keeps them."""
    return json.dumps(dict(labels), ensure_ascii=False, separators=(",", ":"))


class _Order(NamedTuple):
    """The order of every known series in a segment, and their words in it; worked out once, until more are known."""

    known: Numbering
    rank: NDArray[np.int64]  # of each number
    metrics: Any  # string arrays of Arrow, by rank
    labels: Any


def _order(known: Numbering) -> _Order:
    named = [(series.metric, labels_text(series.labels)) for series in known.series]
    in_order = sorted(range(len(named)), key=named.__getitem__)
    rank = np.empty(len(named), np.int64)
    rank[in_order] = np.arange(len(named))
    metrics, labels = (pa.array([named[i][part] for i in in_order], pa.string()) for part in (0, 1))
    return _Order(known, rank, metrics, labels)


class Segments:
    """The segments below one folder: ``date=YYYY-MM-DD/hour=HH/*.parquet``. One writer, any number of readers."""

    def __init__(self, folder: Path, stats: SelfStats) -> None:
        self.folder = folder
        self._stats = stats
        self._order: _Order | None = None
        self._settled: dict[Path, int] = {}  # folders of hours in which nothing is left to merge, by when they changed

    def hours(self, start: int, end: int) -> Iterator[tuple[int, Path]]:
        """Yield (first ns, folder) of the hours that touch [start, end], the oldest first."""
        for day in sorted(self.folder.glob("date=*")):
            for folder in sorted(day.glob("hour=*")):
                first = _first_ns(day.name, folder.name)
                if first is not None and first <= end and first + HOUR > start:
                    yield first, folder

    def files(self, start: int, end: int) -> list[Path]:
        """Return the segments that may hold samples of [start, end]."""
        return [path for _, folder in self.hours(start, end) for path in sorted(folder.glob("*.parquet"))]

    def write(self, rows: Rows, known: Numbering) -> None:
        """Write ``rows``, a segment for each hour that they touch. Raises Transient that names the folder."""
        numbers, times, values = rows
        hours = times // HOUR
        for hour in np.unique(hours).tolist():
            here = hours == hour
            self._write_hour(hour * HOUR, (numbers[here], times[here], values[here]), known)

    def _write_hour(self, first: int, rows: Rows, known: Numbering) -> None:
        if self._order is None or self._order.known is not known or len(self._order.rank) < len(known.series):
            self._order = _order(known)
        order = self._order
        self._place(self.folder / _day(first) / _hour(first), lambda path: _write(rows, order, path))

    def _place(self, folder: Path, write: Callable[[Path], None]) -> Path:
        """Let ``write`` make a file in ``folder`` under a temporary name; sync it, then give it its name."""
        name = uuid.uuid4().hex
        temporary = folder / f".{name}{TEMPORARY}"
        final = folder / f"{name}.parquet"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write(temporary)
            sync(temporary)
            temporary.rename(final)
            sync(folder)
            sync(folder.parent)
            sync(self.folder)
        except (OSError, ValueError, pa.ArrowException) as error:  # ValueError: labels that are not JSON
            temporary.unlink(missing_ok=True)
            raise Transient(f"{self.folder}: a segment cannot be written: {reason(error)}") from error
        return final

    def compact(self, before: int, stop: threading.Event) -> int:
        """
        Merge the segments of each hour that ended at ``before`` (ns) or earlier; return how many hours.

        Safe beside a writer and readers. Ends within seconds once ``stop`` is set.
        """
        merged = 0
        for first, folder in list(self.hours(0, before)):
            if stop.is_set():
                break
            if first + HOUR > before:
                continue
            try:
                changed = folder.stat().st_mtime_ns
                if self._settled.get(folder) == changed:
                    continue  # a month has hundreds of hours, and each segment would be looked into again
                groups = _groups(folder)
            except FileNotFoundError:
                continue  # a reader has just set one aside; next time
            if not groups:
                self._settled[folder] = changed
            merged += any([self._merge(first, folder, old, stop) for old in groups])
        return merged

    def _merge(self, first: int, folder: Path, old: list[Path], stop: threading.Event) -> bool:
        def write(path: Path) -> None:
            known, parts = Numbering(), []
            for each in old:
                if stop.is_set():
                    raise InterruptedError("the store closes")
                parts.append(_read(each, known))
            _write(joined(parts), _order(known), path)
            # As old as its newest part, since what is written meanwhile is later.
            newest = old[-1].stat().st_mtime_ns
            os.utime(path, ns=(newest, newest))

        try:
            self._place(folder, write)
        except Transient as error:
            if stop.is_set():
                return False
            # Nothing is lost by waiting: a broken segment is found, or the disk has room, next time.
            _LOG.warning("hour %s was not compacted: %s", rfc3339(first), error)
            self.set_aside_broken(old)
            return False
        # Until these are gone the same samples stand twice, which a query does not show.
        for path in old:
            path.unlink(missing_ok=True)
        return True

    def retain(self, oldest: int) -> int:
        """Delete the folders of hours that ended before ``oldest`` (ns); return how many samples went."""
        gone = 0
        for first, folder in list(self.hours(0, oldest)):
            if first + HOUR > oldest:
                continue
            gone += sum(_rows_in(path) for path in folder.glob("*.parquet"))
            self._settled.pop(folder, None)
            shutil.rmtree(folder, ignore_errors=True)
            if not any(folder.parent.iterdir()):
                folder.parent.rmdir()
        return gone

    def clean(self) -> list[str]:
        """Delete what a killed writer left half-written; return a sentence for each."""
        found = []
        for path in sorted(self.folder.rglob(f".*{TEMPORARY}")):
            path.unlink(missing_ok=True)
            found.append(f"{path}: deleted, a segment that was not finished when the last run ended")
        return found

    def set_aside_broken(self, files: list[Path]) -> int:
        """Move segments that cannot be read out of the way; return how many."""
        count = 0
        for path in files:
            problem = _problem(path)
            if problem is None:
                continue
            broken = self.folder.parent / "broken"
            broken.mkdir(exist_ok=True)
            place = broken / f"{path.parent.parent.name}.{path.parent.name}.{path.name}"
            try:
                os.replace(path, place)
            except FileNotFoundError:
                continue  # another reader was faster
            _LOG.warning("segment %s cannot be read (%s); set aside as %s", path, problem, place)
            self._stats.add("store_segments_set_aside_total", reason="unreadable")
            count += 1
        return count


def series_in(path: Path) -> list[Series]:
    """Return the series of one segment."""
    table = pq.read_table(path, columns=["metric", "labels"])
    pairs = table.group_by(["metric", "labels"]).aggregate([])
    texts = zip(pairs["metric"].to_pylist(), pairs["labels"].to_pylist(), strict=True)
    return [Series(metric, tuple(json.loads(labels).items())) for metric, labels in texts]


def reason(error: Exception) -> str:
    """Return what went wrong in one line."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return (str(error).splitlines() or [type(error).__name__])[0]


def _groups(folder: Path) -> list[list[Path]]:
    """Return segments that are merged together, two at least and the oldest first, so that the later sample wins."""
    groups: list[list[Path]] = [[]]
    rows = 0
    for path in sorted(folder.glob("*.parquet"), key=lambda each: (each.stat().st_mtime_ns, each.name)):
        more = _rows_in(path)
        # Neighbours never fit together afterwards, so that nothing is merged again and again.
        if rows + more > _MERGED_ROWS:
            groups.append([])
            rows = 0
        groups[-1].append(path)
        rows += more
    return [group for group in groups if len(group) > 1]


def _read(path: Path, known: Numbering) -> Rows:
    """Return the samples of a segment; ``known`` learns its series. Raises OSError, ArrowException."""
    with pq.ParquetFile(path, read_dictionary=["metric", "labels"]) as file:
        if not set(SCHEMA.names) <= set(file.schema_arrow.names):
            raise pa.ArrowInvalid(_FOREIGN)
        table = file.read(SCHEMA.names).combine_chunks().unify_dictionaries()
    if not table.num_rows:
        return joined([])
    metric, labels = (table[name].chunk(0) for name in ("metric", "labels"))
    pairs = metric.indices.to_numpy().astype(np.int64) * len(labels.dictionary) + labels.indices.to_numpy()
    starts = np.flatnonzero(np.diff(pairs, prepend=-1))
    metrics, texts = metric.dictionary.to_pylist(), labels.dictionary.to_pylist()
    named = [tuple(json.loads(text).items()) for text in texts]
    numbers = [
        known.number(Series(metrics[pair // len(texts)], named[pair % len(texts)])) for pair in pairs[starts].tolist()
    ]
    times = table["timestamp"].chunk(0).cast(pa.int64()).to_numpy()
    values = table["value"].to_numpy().astype(np.float64)
    return np.repeat(np.array(numbers, np.int64), np.diff(starts, append=len(pairs))), times, values


def _write(rows: Rows, order: _Order, path: Path) -> None:
    """Write a segment: each sample once, a row group at a time, since words spelt out are most of the memory."""
    _, rank, metrics, labels = order
    numbers, times, values = rows
    ranks, times, values = once((rank[numbers], times, values))
    words = ["metric", "labels"]
    with pq.ParquetWriter(path, SCHEMA, compression="zstd", use_dictionary=words) as file:
        for start in range(0, len(ranks), _ROW_GROUP):
            here = slice(start, start + _ROW_GROUP)
            codes = pa.array(ranks[here])
            stamps = pa.array(times[here]).cast(SCHEMA.types[2])
            columns = [metrics.take(codes), labels.take(codes), stamps, pa.array(values[here])]
            file.write_table(pa.table(columns, schema=SCHEMA))


def _rows_in(path: Path) -> int:
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException):
        return 0


def _problem(path: Path) -> str | None:
    try:
        with pq.ParquetFile(path) as file:
            if not set(SCHEMA.names) <= set(file.schema_arrow.names):
                return _FOREIGN
            for _ in file.iter_batches(_ROW_GROUP):
                continue
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException) as error:
        return reason(error)
    return None


def _day(first: int) -> str:
    return f"date={rfc3339(first)[:10]}"


def _hour(first: int) -> str:
    return f"hour={rfc3339(first)[11:13]}"


def _first_ns(day: str, hour: str) -> int | None:
    try:
        days = np.datetime64(day.removeprefix("date="), "D").astype(np.int64)
        return int(days) * 24 * HOUR + int(hour.removeprefix("hour=")) * HOUR
    except ValueError:
        return None
