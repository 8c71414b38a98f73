"""Reads samples.parquet as columns: each row becomes a position in one layout, with no object per sample."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from coldaisle.clock import SECOND
from coldaisle.errors import ConfigError
from coldaisle.frame import Block
from coldaisle.series import Layout, Series, labels_of
from coldaisle.store.text_codes import Codes, Words, distinct

_BATCH = 1 << 18
_INTERVAL_ROWS = 1 << 21
_MAX_EMPTY_STEPS = 100_000
_NS = "timestamp[ns, UTC]"
_BROKEN = (pa.ArrowException, OSError)


class SampleFile:
    """
    The samples of a recording, checked, with the series of every row.

    The number of each row's series is kept (4 bytes a row); times and values are read again when they are
    played. Whoever wrote the file: texts plain, large or dictionary-encoded; labels a map or a struct;
    times in s, ms, us or ns; null values are NaN. Raises ConfigError that names file, field and what was
    expected.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            # The labels' own columns have names that depend on the writer; look before opening for good.
            with pq.ParquetFile(path) as file:
                self._check(file.schema_arrow)
                texts = [c.path for c in map(file.schema.column, range(len(file.schema))) if _is_text(c)]
            self._file = pq.ParquetFile(path, read_dictionary=texts)
            try:
                self._read()
            except pa.ArrowNotImplementedError:
                # Labels whose dictionary outgrew its page change their encoding halfway, and pyarrow cannot
                # join the halves of a nested column as dictionaries; as plain text it can.
                self._file = pq.ParquetFile(path)
                self._read()
        except FileNotFoundError as error:
            raise ConfigError(f"{path}: no such file; a recording is a folder that holds it") from error
        except _BROKEN as error:
            raise ConfigError(f"{path}: is not a whole Parquet file: {_first_line(error)}") from error

    def blocks(self, step_ns: int) -> Iterator[tuple[int, Block]]:
        """
        Yield ``(end of step, samples of the step)``: samples with ``end - step_ns <= timestamp < end``.

        Ends are multiples of ``step_ns``. Steps without samples are yielded too, as silence must be seen to
        pass, unless there are more than 100,000 in a row. A view of shared columns: do not write.
        """
        if step_ns <= 0:
            raise ValueError("a step lasts at least a nanosecond")
        waiting = self._empty()
        end: int | None = None
        for part in self._parts():
            columns = [np.concatenate(pair) for pair in zip(waiting, part, strict=True)] if len(waiting[0]) else part
            index, times, values = columns
            steps = times // step_ns
            cuts = np.flatnonzero(np.diff(steps)) + 1
            starts = [0, *cuts.tolist()]
            for first, last in pairwise(starts):
                at = (int(steps[first]) + 1) * step_ns
                yield from self._silence(end, at, step_ns)
                yield at, Block(self.layout, index[first:last], times[first:last], values[first:last])
                end = at
            waiting = [column[starts[-1] :] for column in columns]
        if len(waiting[0]):
            at = (int(waiting[1][0]) // step_ns + 1) * step_ns
            yield from self._silence(end, at, step_ns)
            yield at, Block(self.layout, *waiting)

    def interval_seconds(self) -> float:
        """Return the median time between two samples of one series; NaN where no series has two."""
        index: list[np.ndarray] = []
        times: list[np.ndarray] = []
        rows = 0
        for part in self._parts():
            index.append(part[0])
            times.append(part[1])
            rows += len(part[0])
            if rows >= _INTERVAL_ROWS:
                break
        if not rows:
            return float("nan")
        series, moments = np.concatenate(index), np.concatenate(times)
        order = np.argsort(series, kind="stable")
        gaps = np.diff(moments[order])[(np.diff(series[order]) == 0)]
        gaps = gaps[gaps > 0]
        return float(np.median(gaps)) / SECOND if len(gaps) else float("nan")

    def _silence(self, last: int | None, following: int, step_ns: int) -> Iterator[tuple[int, Block]]:
        if last is None or following - last <= step_ns or (following - last) // step_ns > _MAX_EMPTY_STEPS:
            return
        for at in range(last + step_ns, following, step_ns):
            yield at, Block(self.layout, *self._empty())

    @staticmethod
    def _empty() -> list[np.ndarray]:
        return [np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64)]

    def _parts(self) -> Iterator[list[np.ndarray]]:
        """Yield index, times and values in order of time."""
        if not self.sorted:
            parts = list(self._parts_as_written())
            columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
            del parts
            order = np.argsort(columns[1], kind="stable")
            yield [column[order] for column in columns]
            return
        yield from self._parts_as_written()

    def _parts_as_written(self) -> Iterator[list[np.ndarray]]:
        at = 0
        try:
            for batch in self._batches(["timestamp", "value"]):
                count = batch.num_rows
                index = self._index[at : at + count].astype(np.int64)
                yield [index, self._times(batch.column(0)), self._values(batch.column(1))]
                at += count
        except _BROKEN as error:
            raise ConfigError(f"{self._path}: cannot be read to its end: {_first_line(error)}") from error

    def _batches(self, columns: list[str]) -> Iterator[Any]:
        """Yield batches that stay within one row group: each group has dictionaries of its own."""
        for group in range(self._file.num_row_groups):
            yield from self._file.iter_batches(_BATCH, row_groups=[group], columns=columns, use_threads=False)

    def _times(self, column: Any) -> np.ndarray:
        if column.null_count:
            raise ConfigError(f"{self._path}: timestamp: a row has none; expected {_NS} in each")
        try:
            return np.asarray(column.cast(pa.timestamp("ns", tz="UTC")).cast(pa.int64()).to_numpy())
        except pa.ArrowInvalid as error:
            raise ConfigError(f"{self._path}: timestamp: a time lies outside 1677 to 2262") from error

    @staticmethod
    def _values(column: Any) -> np.ndarray:
        return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))

    def _check(self, schema: Any) -> None:
        for name in ("collector", "node", "metric", "labels", "timestamp", "value"):
            if name not in schema.names:
                raise ConfigError(f"{self._path}: has no column {name!r}; found {', '.join(schema.names)[:200]}")
        for name in ("collector", "node", "metric"):
            if not _texts(schema.field(name).type):
                raise ConfigError(f"{self._path}: {name}: is {schema.field(name).type}; expected string")
        labels = schema.field("labels").type
        a_map = pa.types.is_map(labels) and _texts(labels.key_type) and _texts(labels.item_type)
        a_struct = pa.types.is_struct(labels) and all(_texts(labels.field(i).type) for i in range(labels.num_fields))
        if not (a_map or a_struct or pa.types.is_null(labels)):
            raise ConfigError(f"{self._path}: labels: is {str(labels)[:80]}; expected map<string, string>")
        time = schema.field("timestamp").type
        if not pa.types.is_timestamp(time) or time.tz is None:
            raise ConfigError(f"{self._path}: timestamp: is {time}; expected {_NS}")
        value = schema.field("value").type
        if not (pa.types.is_floating(value) or pa.types.is_integer(value) or pa.types.is_null(value)):
            raise ConfigError(f"{self._path}: value: is {value}; expected double")

    def _read(self) -> None:
        """Go through the file once: number the series, see whether it is sorted, and its span."""
        numbers = _Numbers()
        index: list[np.ndarray] = []
        first: int | None = None
        last: int | None = None
        before: int | None = None
        self.sorted = True
        columns = ["collector", "node", "metric", "labels", "timestamp"]
        for batch in self._batches(columns):
            if not batch.num_rows:
                continue
            # The order of columns in a batch is the file's, not the one asked for.
            by_name = {name: batch.column(i) for i, name in enumerate(batch.schema.names)}
            times = self._times(by_name["timestamp"])
            if (before is not None and int(times[0]) < before) or np.any(times[1:] < times[:-1]):
                self.sorted = False
            before = int(times[-1])
            low, high = int(times.min()), int(times.max())
            first, last = low if first is None else min(first, low), high if last is None else max(last, high)
            index.append(numbers.of(by_name))
        self._index = np.concatenate(index) if index else np.empty(0, np.int32)
        self.layout = Layout(numbers.series)
        self.span = (first, last) if first is not None and last is not None else None

    def __len__(self) -> int:
        return len(self._index)


class _Numbers:
    """Gives each row the number of its series; equal series have one number, whatever collector read them."""

    def __init__(self) -> None:
        self.series: list[Series] = []
        self._by_series: dict[Series, int] = {}
        self._by_key: dict[bytes, int] = {}
        self._words = Words()

    def of(self, columns: dict[str, Any]) -> NDArray[np.int32]:
        """Return the number of each row's series."""
        names = [self._words.codes(columns["node"]), self._words.codes(columns["metric"])]
        keys, items = self._labels(columns["labels"])
        parts = [*names, *(part for j in range(keys.shape[1]) for part in (keys[:, j], items[:, j]))]
        dense, firsts = distinct(parts, len(self._words) + 1)
        rows = np.ascontiguousarray(np.column_stack([part[firsts] for part in parts]), np.int32)
        keys_of_rows: list[Any] = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).ravel().tolist()
        known = self._by_key
        numbers = [known[key] if key in known else self._number(key, rows[i]) for i, key in enumerate(keys_of_rows)]
        return np.array(numbers, np.int32)[dense]

    def _number(self, key: bytes, row: NDArray[np.int32]) -> int:
        """Return the number of a row that is new."""
        text = [self._words.texts[code] if code >= 0 else "" for code in row.tolist()]
        present = (row[2::2] >= 0) & (row[3::2] >= 0)
        labels = {k: v for k, v, here in zip(text[2::2], text[3::2], present, strict=True) if here}
        if text[0]:
            labels.setdefault("node", text[0])
        series = Series(text[1], labels_of(labels.items()))
        number = self._by_series.setdefault(series, len(self.series))
        if number == len(self.series):
            self.series.append(series)
        self._by_key[key] = number
        return number

    def _labels(self, column: Any) -> tuple[Codes, Codes]:
        """Return the codes of names and values, [rows, most labels of any row], -1 where a row has fewer."""
        n = len(column)
        if pa.types.is_null(column.type):
            return np.empty((n, 0), np.int64), np.empty((n, 0), np.int64)
        if pa.types.is_struct(column.type):
            fields = [column.type.field(i).name for i in range(column.type.num_fields)]
            keys = np.tile(np.array([self._words.code(name) for name in fields], np.int64), (n, 1))
            columns = [self._words.codes(each) for each in column.flatten()]
            return keys, np.column_stack(columns) if columns else np.empty((n, 0), np.int64)
        offsets = column.offsets.to_numpy().astype(np.int64)
        counts = np.diff(offsets)
        if column.null_count:
            counts[column.is_null().to_numpy(zero_copy_only=False)] = 0
        keys, items = self._words.codes(column.keys), self._words.codes(column.items)
        most = int(counts.max(initial=0))
        place = offsets[:-1, None] + np.arange(most)
        if counts.min(initial=most) == most:
            return keys[place], items[place]
        here = np.arange(most) < counts[:, None]
        place = np.where(here, place, 0)
        return np.where(here, keys[place], -1), np.where(here, items[place], -1)


def _texts(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_null(kind)
    )


def _is_text(column: Any) -> bool:
    return bool(column.physical_type == "BYTE_ARRAY")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
