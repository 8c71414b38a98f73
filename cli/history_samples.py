"""Collects the rows of long and wide tables as columns, and the series and statuses behind their numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cli.history_columns import times_of, values_of
from cli.sensor_names import Unit, metric_name, split_unit, unit_of
from coldaisle.errors import ConfigError
from coldaisle.frame import Times, Values
from coldaisle.series import Labels, Layout, Series, labels
from coldaisle.store.text_codes import Words, distinct


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column says what. Without ``metric`` the table is wide: every column of numbers is a sensor."""

    time: str | None = None  # wide: None = the first one
    node: str | None = None
    metric: str | None = None
    value: str | None = None
    unit: str | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True)
class History:
    """Everything that was read, sorted by time; ``index`` and ``status`` point into ``layout`` and ``statuses``."""

    layout: Layout
    units: tuple[str, ...]  # of each series
    statuses: tuple[str, ...]
    index: np.ndarray  # int32 [n]
    times: Times
    values: Values
    status: np.ndarray  # int16 [n], -1 = none


class Collector:
    """Takes batches of tables; holds 22 bytes a sample."""

    def __init__(self, columns: Columns, dropped: Counter[str]) -> None:
        self._columns = columns
        self._dropped = dropped
        self._words = Words()
        self._statuses = Words()
        self._numbers: dict[Series, int] = {}
        self._units: list[Unit] = []
        self._parts: list[tuple[np.ndarray, Times, Values, np.ndarray]] = []
        self._keys: dict[tuple[int, ...], int] = {}
        self._text_columns: set[str] = set()
        self._number_columns: set[str] = set()

    def add(self, batch: Any, path: Path, node: str) -> None:
        """Take one batch of ``path``; ``node`` where no column tells it. Raises ConfigError."""
        if self._columns.metric is None:
            self._add_wide(batch, path, node)
        else:
            self._add_long(batch, path, node)

    def skipped(self) -> list[str]:
        """Return the columns of wide tables that hold no numbers."""
        return sorted(self._text_columns - self._number_columns)

    def finish(self) -> History:
        """Return what was taken, sorted by time, and let go of it here."""
        if not self._parts:
            empty = np.empty(0, np.int64)
            return History(Layout(()), (), (), empty.astype(np.int32), empty, np.empty(0), empty.astype(np.int16))
        columns = [np.concatenate(column) for column in zip(*self._parts, strict=True)]
        self._parts = []
        times = columns[1]
        if np.any(times[1:] < times[:-1]):
            order = np.argsort(times, kind="stable")
            for i, column in enumerate(columns):
                columns[i] = column[order]
        units = tuple(unit.word for unit in self._units)
        return History(Layout(self._numbers), units, tuple(self._statuses.texts), *columns)

    def _add_long(self, batch: Any, path: Path, node: str) -> None:
        of = self._columns
        times, present = times_of(_column(batch, of.time, path), f"{path}: column {of.time!r}")
        values, _ = values_of(_column(batch, of.value, path), self._dropped)
        values = np.array(values)
        constant = np.full(len(times), self._words.code(node), np.int64)
        parts = [
            constant if of.node is None else self._words.codes(_text(_column(batch, of.node, path))),
            self._words.codes(_text(_column(batch, of.metric, path))),
            np.full(len(times), -1, np.int64)
            if of.unit is None
            else self._words.codes(_text(_column(batch, of.unit, path))),
        ]
        status = np.full(len(times), -1, np.int16)
        if of.status is not None:
            status = self._statuses.codes(_text(_column(batch, of.status, path))).astype(np.int16)
        present &= self._without(parts[0] < 0, "names no node") & self._without(parts[1] < 0, "names no sensor")
        self._without(~present & (parts[0] >= 0) & (parts[1] >= 0), "has no time")
        dense, firsts = distinct(parts, len(self._words) + 1)
        rows = np.column_stack([part[firsts] for part in parts]).tolist()
        table = np.array([self._number(tuple(row)) if min(row[:2]) >= 0 else -1 for row in rows], np.int32)
        index = table[dense]
        self._convert(index, values)
        if present.all():
            self._parts.append((index, times, values, status))
        else:
            self._parts.append((index[present], times[present], values[present], status[present]))

    def _without(self, missing: np.ndarray, reason: str) -> np.ndarray:
        count = int(np.count_nonzero(missing))
        if count:
            self._dropped[reason] += count
        return ~missing

    def _convert(self, index: np.ndarray, values: Values) -> None:
        """Bring ``values`` to base units, in place."""
        factors = np.array([unit.factor for unit in self._units] + [1.0])
        offsets = np.array([unit.offset for unit in self._units] + [0.0])
        if np.any(factors != 1.0) or np.any(offsets != 0.0):
            values *= factors[index]
            values += offsets[index]

    def _number(self, key: tuple[int, ...]) -> int:
        """Return the number of the series of (node, sensor, unit)."""
        known = self._keys.get(key)
        if known is None:
            node, sensor, unit = (self._words.texts[code] if code >= 0 else "" for code in key)
            known = self._keys[key] = self._series(node, sensor.strip(), unit_of(unit))
        return known

    def _series(self, node: str, sensor: str, unit: Unit) -> int:
        about: Labels = labels(node=node, sensor=sensor)
        number = self._numbers.setdefault(Series(metric_name(sensor, unit), about), len(self._numbers))
        if number == len(self._units):
            self._units.append(unit)
        return number

    def _add_wide(self, batch: Any, path: Path, node: str) -> None:
        time = self._columns.time or batch.schema.names[0]
        times, present = times_of(_column(batch, time, path), f"{path}: column {time!r}")
        self._without(~present, "has no time")
        nodes = np.full(len(times), self._words.code(node), np.int64)
        if self._columns.node is not None:
            nodes = self._words.codes(_text(_column(batch, self._columns.node, path)))
            present &= self._without(nodes < 0, "names no node")
        who, where = np.unique(nodes, return_inverse=True)
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if name in (time, self._columns.node):
                continue
            dropped: Counter[str] = Counter()
            values, numbers = values_of(column, dropped)
            if not numbers.any():
                if column.null_count < len(column):
                    self._text_columns.add(name)
                continue
            self._number_columns.add(name)
            self._dropped.update(dropped)
            sensor, unit = split_unit(name)
            table = np.array(
                [self._series(self._words.texts[n], sensor, unit_of(unit)) if n >= 0 else -1 for n in who.tolist()],
                np.int32,
            )
            keep = numbers & present
            index = table[where][keep]
            kept = np.array(values[keep])
            self._convert(index, kept)
            self._parts.append((index, times[keep], kept, np.full(len(index), -1, np.int16)))


def _column(batch: Any, name: str | None, path: Path) -> Any:
    if name is None or name not in batch.schema.names:
        found = ", ".join(batch.schema.names)
        raise ConfigError(f"{path}: has no column {name!r}; it has {found[:200]}")
    return batch.column(batch.schema.get_field_index(name))


def _text(column: Any) -> Any:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind):
        return column
    return column.cast(pa.string())
