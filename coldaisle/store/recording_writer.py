"""Writes a recording: into a folder beside its place, which takes its name when all is there."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from coldaisle.errors import ConfigError, Permanent, Transient
from coldaisle.event import Event
from coldaisle.frame import Block, Frame
from coldaisle.series import Series
from coldaisle.store.recording_words import EVENTS, SAMPLES, TOPOLOGY, TRUTH, Truth, event_to_line, truth_to_line
from coldaisle.topology import Topology

SCHEMA = pa.schema(
    [
        ("collector", pa.string()),
        ("node", pa.string()),
        ("metric", pa.string()),
        ("labels", pa.map_(pa.string(), pa.string())),
        ("timestamp", pa.timestamp("ns", tz="UTC")),
        ("value", pa.float64()),
    ]
)
"""The columns of ``samples.parquet``."""

_ROW_GROUP = 1 << 18
_CODES = "codes.tmp"
_TEXT_COLUMNS = ["collector", "node", "metric", "labels.key_value.key", "labels.key_value.value"]


class _Known:
    """Every (collector, node, series) met so far, numbered; the texts behind the numbers as Arrow columns."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, str, Series], int] = {}
        self._layouts: dict[tuple[str, str | None, str], np.ndarray] = {}
        self._columns: list[Any] = []

    def numbers(self, item: Block | Frame, collector: str) -> np.ndarray:
        """Return the number of each sample of ``item``."""
        node = item.node if isinstance(item, Frame) else None
        key = (collector, node, item.layout.digest)
        table = self._layouts.get(key)
        if table is None:
            each = [(collector, node if node is not None else s.label("node") or "", s) for s in item.layout.series]
            table = np.array([self._numbers.setdefault(one, len(self._numbers)) for one in each], np.int32)
            self._layouts[key] = table
        return table if isinstance(item, Frame) else table[item.index]

    def columns(self) -> list[Any]:
        """Return collector, node, metric and labels of every number."""
        if not self._columns or len(self._columns[0]) != len(self._numbers):
            keys = list(self._numbers)
            texts = [
                [collector for collector, _, _ in keys],
                [node for _, node, _ in keys],
                [series.metric for _, _, series in keys],
                [series.labels for _, _, series in keys],
            ]
            self._columns = [pa.array(text, SCHEMA.types[i]) for i, text in enumerate(texts)]
        return self._columns


class RecordingWriter:
    """
    Writes ``path``, a recording as DESIGN section 8 describes it; use it in a ``with`` statement.

    Samples may come a little out of order; ``samples.parquet`` is sorted by time all the same. Leaving the
    ``with`` by an error, or :meth:`abort`, leaves nothing behind. Raises ConfigError where ``path`` cannot
    be made, Transient (naming the folder) where the disk is full or fails.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        if self._path.exists() and not (self._path.is_dir() and not any(self._path.iterdir())):
            raise ConfigError(f"{self._path}: exists already; remove it or choose another name")
        parent = self._path.absolute().parent
        try:
            parent.mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(prefix=f".{self._path.name}.", suffix=".partial", dir=parent))
            self._folder.chmod(0o755)
        except OSError as error:
            raise ConfigError(f"{parent}: cannot be written: {error.strerror}; choose another folder") from error
        self._known = _Known()
        self._waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._waiting_rows = 0
        self._latest: int | None = None  # of what is in the file
        self._sorted = True
        self._events: list[Event] = []
        self._truth: list[Truth] = []
        self._topology: Topology | None = None
        self._open = True
        self.samples = 0
        try:
            self._codes = (self._folder / _CODES).open("wb")
            self._parquet = self._new_file(SAMPLES)
        except OSError as error:
            raise self._failed(error) from error

    def __enter__(self) -> RecordingWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def write(self, item: Block | Frame, collector: str = "coldaisle") -> None:
        """Append samples. A frame names its collector and node; a block's nodes are its labels ``node``."""
        self._must_be_open()
        name = item.collector if isinstance(item, Frame) else collector
        if not len(item):
            return
        # Copies: a block may be a view that its maker fills again.
        row = (self._known.numbers(item, name), np.array(item.timestamps), np.array(item.values))
        self._waiting.append(row)
        self._waiting_rows += len(item)
        self.samples += len(item)
        if self._waiting_rows >= 2 * _ROW_GROUP:
            self._drain(keep=_ROW_GROUP)

    def write_event(self, event: Event) -> None:
        """Append an event."""
        self._must_be_open()
        self._events.append(event)

    def write_truth(self, truth: Truth) -> None:
        """Append a fault that is known to have been there."""
        self._must_be_open()
        self._truth.append(truth)

    def write_topology(self, topology: Topology) -> None:
        """Set who contains, feeds, cools and links whom."""
        self._must_be_open()
        self._topology = topology

    def close(self) -> None:
        """Finish and give the recording its name; safe to call twice."""
        if not self._open:
            return
        try:
            self._drain(keep=0)
            self._codes.close()
            self._parquet.close()
            if not self._sorted:
                self._sort_file()
            (self._folder / _CODES).unlink()
            self._write_lines(EVENTS, [event_to_line(e) for e in sorted(self._events, key=lambda e: e.timestamp)])
            self._write_lines(TRUTH, [truth_to_line(t) for t in sorted(self._truth, key=lambda t: t.start)])
            if self._topology is not None:
                (self._folder / TOPOLOGY).write_text(self._topology.to_toml(), encoding="utf-8")
            for path in (*self._folder.iterdir(), self._folder):
                sync(path)
            self._folder.rename(self._path)
            sync(self._path.absolute().parent)
        except (OSError, pa.ArrowException) as error:
            raise self._failed(error) from error
        except BaseException:
            self.abort()
            raise
        self._open = False

    def abort(self) -> None:
        """Leave nothing behind; safe to call twice and after :meth:`close`."""
        if not self._open:
            return
        self._open = False
        for file in (self._parquet, self._codes):
            try:
                file.close()
            except (OSError, pa.ArrowException):
                continue  # the disk is full or gone; what counts is that the folder goes
        shutil.rmtree(self._folder, ignore_errors=True)

    def _must_be_open(self) -> None:
        if not self._open:
            raise Permanent(f"{self._path}: the recording is closed already")

    def _failed(self, error: Exception) -> Transient:
        """Clean up after a failed write and say where it was."""
        if hasattr(self, "_parquet"):
            self.abort()
        else:
            shutil.rmtree(self._folder, ignore_errors=True)
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error).splitlines()[0]
        return Transient(f"{self._path.absolute().parent}: the recording cannot be written: {reason}")

    def _new_file(self, name: str) -> Any:
        # Without Arrow's own schema every reader sees plain strings, whatever wrote them.
        return pq.ParquetWriter(
            self._folder / name, SCHEMA, compression="zstd", use_dictionary=_TEXT_COLUMNS, store_schema=False
        )

    def _drain(self, keep: int) -> None:
        """Write what waits, the oldest first, but for the newest ``keep`` samples."""
        if not self._waiting:
            return
        codes, times, values = (np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
        if np.any(times[1:] < times[:-1]):
            order = np.argsort(times, kind="stable")
            codes, times, values = codes[order], times[order], values[order]
        count = len(times) - keep
        if self._latest is not None and int(times[0]) < self._latest:
            self._sorted = False
        try:
            self._write_rows(self._parquet, codes[:count], times[:count], values[:count])
            codes[:count].tofile(self._codes)
        except (OSError, pa.ArrowException) as error:
            raise self._failed(error) from error
        self._latest = int(times[count - 1])
        self._waiting = [(codes[count:], times[count:], values[count:])] if keep else []
        self._waiting_rows = keep

    def _write_rows(self, file: Any, codes: np.ndarray, times: np.ndarray, values: np.ndarray) -> None:
        known = self._known.columns()
        for start in range(0, len(codes), _ROW_GROUP):
            part = slice(start, start + _ROW_GROUP)
            numbers = pa.array(codes[part])
            columns = [column.take(numbers) for column in known]
            columns += [pa.array(times[part]).cast(SCHEMA.types[4]), pa.array(values[part])]
            file.write_batch(pa.record_batch(columns, schema=SCHEMA), row_group_size=_ROW_GROUP)

    def _sort_file(self) -> None:
        """Write the file anew in order of time; 20 bytes a sample are held meanwhile."""
        unsorted = self._folder / "unsorted.tmp"
        (self._folder / SAMPLES).rename(unsorted)
        codes = np.fromfile(self._folder / _CODES, np.int32)
        table = pq.read_table(unsorted, columns=["timestamp", "value"])
        times = table["timestamp"].cast(pa.int64()).to_numpy()
        values = table["value"].to_numpy()
        unsorted.unlink()
        order = np.argsort(times, kind="stable")
        with self._new_file(SAMPLES) as file:
            self._write_rows(file, codes[order], times[order], values[order])

    def _write_lines(self, name: str, lines: list[str]) -> None:
        if lines:
            (self._folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def sync(path: Path) -> None:
    """Return when ``path``, a file or a folder, is on the disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
