"""Folders of Parquet segments by date and hour: written in one piece, compacted, set aside when broken."""

from __future__ import annotations

import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from coldaisle.clock import HOUR, rfc3339
from coldaisle.errors import Transient
from coldaisle.selfstats import SelfStats
from coldaisle.series import Labels, Series
from coldaisle.store.lines import Numbering, Rows, once
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
        numbers, times, values = rows
        if self._order is None or self._order.known is not known or len(self._order.rank) < len(known.series):
            self._order = _order(known)
        _, rank, metrics, labels = self._order
        ranks, times, values = once((rank[numbers], times, values))
        codes = pa.array(ranks)
        columns = [metrics.take(codes), labels.take(codes), pa.array(times).cast(SCHEMA.types[2]), pa.array(values)]
        table = pa.table(columns, schema=SCHEMA)
        folder = self.folder / _day(first) / _hour(first)
        self._place(folder, lambda path: _write_table(table, path))

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
        except (OSError, pa.ArrowException, duckdb.Error) as error:
            temporary.unlink(missing_ok=True)
            raise Transient(f"{self.folder}: a segment cannot be written: {reason(error)}") from error
        return final

    def compact(self, con: Any, before: int) -> int:
        """Merge the segments of each hour that ended at ``before`` (ns) or earlier; return how many hours."""
        merged = 0
        for first, folder in list(self.hours(0, before)):
            old = sorted(folder.glob("*.parquet"))
            if first + HOUR > before or len(old) < 2:
                continue
            try:
                self._merge(con, folder, old)
            except Transient as error:
                # Nothing is lost by waiting: a broken segment is found, or the disk has room, next time.
                _LOG.warning("hour %s was not compacted: %s", rfc3339(first), error)
                self.set_aside_broken(old)
                continue
            merged += 1
        return merged

    def _merge(self, con: Any, folder: Path, old: list[Path]) -> None:
        def write(path: Path) -> None:
            target = str(path).replace("'", "''")
            con.execute(
                "COPY (SELECT metric, labels, timestamp, last(value) AS value FROM read_parquet(?) "
                f"GROUP BY metric, labels, timestamp ORDER BY metric, labels, timestamp) TO '{target}' "
                f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {_ROW_GROUP})",
                [[str(each) for each in old]],
            )

        self._place(folder, write)
        # Until these are gone the same samples stand twice, which a query does not show.
        for path in old:
            path.unlink(missing_ok=True)

    def retain(self, oldest: int) -> int:
        """Delete the folders of hours that ended before ``oldest`` (ns); return how many samples went."""
        gone = 0
        for first, folder in list(self.hours(0, oldest)):
            if first + HOUR > oldest:
                continue
            gone += sum(_rows_in(path) for path in folder.glob("*.parquet"))
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


def _write_table(table: Any, path: Path) -> None:
    pq.write_table(table, path, compression="zstd", row_group_size=_ROW_GROUP, use_dictionary=["metric", "labels"])


def _rows_in(path: Path) -> int:
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException):
        return 0


def _problem(path: Path) -> str | None:
    try:
        with pq.ParquetFile(path) as file:
            if not set(SCHEMA.names) <= set(file.schema_arrow.names):
                return "its columns are not those of a segment"
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
