"""Gives each series a small integer once, and keeps what is known of it in arrays."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coldaisle.catalogue import Drive, Kind, Metric, metric_of
from coldaisle.detector import Ids, Traits
from coldaisle.series import Labels, Layout, Series
from coldaisle.state import Kept, State
from coldaisle.topology import Topology, kind_of
from pipeline.columns import column, grown

DRIVES = (Drive.LOAD, Drive.STEADY, Drive.EVENT, Drive.STATE)
LOAD, STEADY, EVENT, STATE = range(4)
_LAYOUTS_KEPT = 65_536
_KEPT = ("metric", "entity", "source", "family", "group")
"""The columns in a snapshot; the others follow from the catalogue."""


class Interner:
    """Gives equal values the same small integer, in order of appearance."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._numbers: dict[Any, int] = {}

    def __len__(self) -> int:
        return len(self.values)

    def number(self, value: Any) -> int:
        """Return the integer of ``value``, a new one where it is new."""
        known = self._numbers.get(value)
        if known is None:
            known = self._numbers[value] = len(self.values)
            self.values.append(value)
        return known

    def find(self, value: Any) -> int:
        """Return the integer of ``value``, -1 where it is unknown."""
        return self._numbers.get(value, -1)

    def restore(self, values: Iterable[Any]) -> None:
        """Know ``values`` and nothing else, numbered in their order."""
        self.values = list(values)
        self._numbers = {value: number for number, value in enumerate(self.values)}


class SeriesTable:
    """
    Series -> id, and per id what does not change: metric, entity, source, family, drive, range.

    A *source* is what falls silent together: the node that a series' labels name, else its entity.
    Ids of series that stayed away are given out again. Arrays may be longer than ``size``.
    """

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._ids: dict[Series, int] = {}
        self._by_id: list[Series | None] = []
        self._free: list[int] = []
        self._layouts: dict[str, NDArray[np.int64]] = {}
        self._entity_of_labels: dict[Labels, tuple[int, int]] = {}
        self._fresh: list[int] = []
        self._told: tuple[int, State] | None = None  # what a snapshot keeps of the words, at a version
        self.version = 0  # changes whenever an id changes hands
        self.metrics = Interner()
        self.rows: list[Metric] = []
        self.entities = Interner()
        self.sources = Interner()
        self.families = Interner()
        self.metric = column(0, np.int32)
        self.entity = column(0, np.int32)
        self.source = column(0, np.int32)
        self.family = column(0, np.int32)
        self.group = column(-1, np.int32)
        self.harm = column(0, np.int8)
        self.drive = column(0, np.int8)
        self.used = column(False, np.bool_)
        # Per metric, so that a lookup by ``metric[ids]`` costs no memory per series.
        self.low = column(-np.inf, np.float64)
        self.high = column(np.inf, np.float64)
        self.counter = column(False, np.bool_)

    @property
    def size(self) -> int:
        """One more than the largest id ever given."""
        return len(self._by_id)

    def __len__(self) -> int:
        return len(self._ids)

    def series(self, number: int) -> Series:
        """Return the series of an id. Raises KeyError where the slot is free."""
        found = self._by_id[number]
        if found is None:
            raise KeyError(number)
        return found

    def all_series(self) -> list[Series | None]:
        """Return every slot's series; None where it is free."""
        return list(self._by_id)

    def find(self, series: Series) -> int:
        """Return the id of ``series``, -1 where it is unknown."""
        return self._ids.get(series, -1)

    def row(self, number: int) -> Metric:
        """Return the catalogue's row of an id."""
        return self.rows[int(self.metric[number])]

    def entity_name(self, number: int) -> str:
        """Return the entity of an id, ``kind/name``."""
        return str(self.entities.values[self.entity[number]])

    def ids(self, layout: Layout) -> Ids:
        """Return the ids of a layout's series in its order; costs one look-up where it was seen before."""
        known = self._layouts.get(layout.digest)
        if known is None:
            known = self.ids_of(layout.series)
            if len(self._layouts) >= _LAYOUTS_KEPT:
                self._layouts.clear()
            self._layouts[layout.digest] = known
        return known

    def ids_of(self, series: Sequence[Series]) -> Ids:
        """Return the ids of series in their order, looked up one by one."""
        return np.fromiter((self._admit(each) for each in series), np.int64, len(series))

    def take_fresh(self) -> Ids:
        """Return the ids given since the last call."""
        fresh = np.array(self._fresh, np.int64)
        self._fresh = []
        return fresh

    def traits(self, ids: Ids) -> Traits:
        """Return what detectors may know of ``ids``."""
        return Traits(self.harm[ids], self.family[ids], self.group[ids])

    def free(self, ids: Iterable[int]) -> None:
        """Forget series; their ids will be given to others."""
        for number in ids:
            series = self._by_id[number]
            if series is None:
                continue
            del self._ids[series]
            self._by_id[number] = None
            self.used[number] = False
            self.group[number] = -1
            self._free.append(number)
        # A layout may point at ids that will change hands.
        self._layouts.clear()
        self._entity_of_labels.clear()
        self.version += 1

    def state(self) -> State:
        """Return what a snapshot keeps; words are put together only when series have come or gone."""
        size = self.size
        if self._told is None or self._told[0] != self.version:
            self._told = self.version, self._words()
        columns = {
            name: getattr(self, name)[:size].copy() for name in ("metric", "entity", "source", "family", "group")
        }
        free, fresh = np.array(self._free, np.int64), np.array(self._fresh, np.int64)
        return {"version": self.version, **self._told[1], **columns, "free": free, "fresh": fresh}

    def restore(self, state: State) -> None:
        """Take back what ``state`` returned; what the catalogue says is asked anew. Raises Permanent."""
        kept = Kept(state)
        texts = json.loads(kept.array("texts", np.uint8, None).tobytes())
        for name in texts["metrics"]:
            self._metric(name)
        self.entities.restore(texts["entities"])
        self.sources.restore(texts["sources"])
        self.families.restore(kept.rows("families", int, str))
        labels = self._labels(kept, texts["words"])
        of = kept.array("labels", np.int32, None)
        size = len(of)
        self._grow(size)
        for name in _KEPT:
            getattr(self, name)[:size] = kept.array(name, np.int32, size)
        self.used[:size] = of >= 0
        harm = np.array([int(row.harm) for row in self.rows], np.int8)
        drive = np.array([DRIVES.index(row.drive) for row in self.rows], np.int8)
        if size:
            self.harm[:size], self.drive[:size] = harm[self.metric[:size]], drive[self.metric[:size]]
        names, told = self.metrics.values, zip(self.metric[:size].tolist(), of.tolist(), strict=True)
        self._by_id = [Series(names[metric], labels[number]) if number >= 0 else None for metric, number in told]
        self._ids = {series: number for number, series in enumerate(self._by_id) if series is not None}
        self._free = kept.array("free", np.int64, None).tolist()
        self._fresh = kept.array("fresh", np.int64, None).tolist()
        self.version = kept.integer("version")

    def _words(self) -> State:
        """Return the series as numbers of labels, those as numbers of words, and the words."""
        known: dict[int, int] = {}  # by identity: series of one thing mostly share one object
        several: list[Labels] = []
        of = np.full(self.size, -1, np.int32)
        for number, series in enumerate(self._by_id):
            if series is not None:
                place = known.setdefault(id(series.labels), len(several))
                if place == len(several):
                    several.append(series.labels)
                of[number] = place
        words = Interner()
        pairs = [words.number(word) for labels in several for pair in labels for word in pair]
        owners = [self._entity_of_labels.get(labels, (-1, -1)) for labels in several]
        texts = {
            "metrics": self.metrics.values, "entities": self.entities.values,
            "sources": self.sources.values, "words": words.values,
        }  # fmt: skip
        return {
            "texts": np.frombuffer(json.dumps(texts, separators=(",", ":")).encode(), np.uint8),
            "families": list(self.families.values),
            "labels": of,
            "lengths": np.array([len(labels) for labels in several], np.int32),
            "pairs": np.array(pairs, np.int32).reshape(-1, 2),
            "owners": np.array(owners, np.int32).reshape(-1, 2),
        }

    def _labels(self, kept: Kept, words: list[str]) -> list[Labels]:
        lengths, numbers = kept.array("lengths", np.int32, None), kept.array("pairs", np.int32, None, 2)
        known: dict[tuple[int, int], tuple[str, str]] = {}  # a node's name stands in the labels of all that it holds
        pairs = [known.setdefault((name, value), (words[name], words[value])) for name, value in numbers.tolist()]
        ends = [0, *np.cumsum(lengths).tolist()]
        labels = [tuple(pairs[start:stop]) for start, stop in pairwise(ends)]
        owners = kept.array("owners", np.int32, len(labels), 2).tolist()
        # The entity of labels is kept, not asked anew: it may depend on what was known when they first came.
        self._entity_of_labels = {
            each: (entity, source) for each, (entity, source) in zip(labels, owners, strict=True) if entity >= 0
        }
        return labels

    def _admit(self, series: Series) -> int:
        known = self._ids.get(series)
        if known is not None:
            if self._by_id[known] is not series:
                # Whoever sends it keeps this one; after a restart there would be two of each.
                del self._ids[series]
                self._ids[series], self._by_id[known] = known, series
            return known
        number = self._free.pop() if self._free else len(self._by_id)
        if number == len(self._by_id):
            self._by_id.append(series)
            self._grow(number + 1)
        else:
            self._by_id[number] = series
        self._ids[series] = number
        metric = self._metric(series.metric)
        row = self.rows[metric]
        entity, source = self._entity(series.labels)
        kind = kind_of(self.entities.values[entity])
        self.metric[number] = metric
        self.entity[number] = entity
        self.source[number] = source
        self.family[number] = self.families.number((metric, kind))
        self.group[number] = -1
        self.harm[number] = int(row.harm)
        self.drive[number] = DRIVES.index(row.drive)
        self.used[number] = True
        self._fresh.append(number)
        self.version += 1
        return number

    def _metric(self, name: str) -> int:
        number = self.metrics.number(name)
        if number == len(self.rows):
            row = metric_of(name)
            self.rows.append(row)
            self.low = grown(self.low, number + 1, -np.inf)
            self.high = grown(self.high, number + 1, np.inf)
            self.counter = grown(self.counter, number + 1, False)
            self.low[number], self.high[number] = row.low, row.high
            self.counter[number] = row.kind is Kind.COUNTER
        return number

    def _entity(self, labels: Labels) -> tuple[int, int]:
        known = self._entity_of_labels.get(labels)
        if known is None:
            entity = self._topology.observe(labels)
            node = dict(labels).get("node")
            source = f"node/{node}" if node else entity
            known = self.entities.number(entity), self.sources.number(source)
            if len(self._entity_of_labels) >= _LAYOUTS_KEPT:
                self._entity_of_labels.clear()
            self._entity_of_labels[labels] = known
        return known

    def _grow(self, size: int) -> None:
        self.metric = grown(self.metric, size, 0)
        self.entity = grown(self.entity, size, 0)
        self.source = grown(self.source, size, 0)
        self.family = grown(self.family, size, 0)
        self.group = grown(self.group, size, -1)
        self.harm = grown(self.harm, size, 0)
        self.drive = grown(self.drive, size, 0)
        self.used = grown(self.used, size, False)
