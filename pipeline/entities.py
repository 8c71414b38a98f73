"""Lays what detectors think of series out as rows: an entity a row, a metric and who judged it a column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.clock import SECOND
from coldaisle.detector import Ids
from coldaisle.entity_detector import EntityRows
from coldaisle.frame import Values
from coldaisle.state import Kept, State
from coldaisle.topology import kind_of
from pipeline.columns import column, grown
from pipeline.series_table import LOAD, Interner, SeriesTable

FRESH_SECONDS = 300
"""An opinion older than this says nothing about now; metrics are read once a minute or more often."""
FEWEST_METRICS = 3
"""Of a kind of entity, to be worth a row."""


class Cells(NamedTuple):
    """Where the features of the entities of one kind come from; in narrow numbers, for there are many cells."""

    kind: str
    features: tuple[str, ...]
    entities: NDArray[np.int64]  # [n] numbers, in the order of the entities' names
    ids: NDArray[np.int32]  # [m] series behind the cells, cell by cell
    heard: NDArray[np.int8]  # [m] whose opinion of them, counted among those that are heard
    starts: NDArray[np.int32]  # [c] the first of each cell that has any
    place: NDArray[np.int32]  # [c] row x features + column

    def series_of(self, row: int, feature: int) -> tuple[Ids, int]:
        """Return the series behind a cell, and whose opinion of them it is, counted among those that are heard."""
        at = int(np.searchsorted(self.place, row * len(self.features) + feature))
        stop = int(self.starts[at + 1]) if at + 1 < len(self.starts) else len(self.ids)
        start = int(self.starts[at])
        return self.ids[start:stop].astype(np.int64), int(self.heard[start])


class Entities:
    """
    The newest opinions on every series that load moves, by entity.

    Only these: what load moves is compared within a job, and so the metrics of an entity are judged together,
    in one process or in many; a steady metric may be judged elsewhere. Of several sensors of one metric
    the one furthest from what was expected stands for the entity. Which cell takes its value from where is
    worked out when series come or go, not tick by tick.
    """

    def __init__(self, table: SeriesTable, detectors: Sequence[str], heard: Iterable[str]) -> None:
        """``detectors`` in the judge's order, ``heard`` those whose opinions on load count."""
        self._table = table
        wanted = frozenset(heard)
        self._heard = {number: name for number, name in enumerate(detectors) if name in wanted}
        self._place_of = {number: place for place, number in enumerate(self._heard)}
        self._spreads = np.full((len(self._heard), 0), np.nan, np.float32)
        self._value = column(np.nan, np.float64)
        self._seen = column(0, np.uint32)  # s of the newest opinion
        self._kinds = Interner()
        self._kind = column(-1, np.int32)  # by entity
        self._cells: dict[int, Cells] | None = None  # by kind; None = to be worked out

    def reset(self, ids: Ids) -> None:
        """Begin anew with ids."""
        size = self._table.size
        self._spreads = grown(self._spreads, size, np.nan)
        self._value, self._seen = grown(self._value, size, np.nan), grown(self._seen, size, 0)
        self._spreads[:, ids] = np.nan
        self._value[ids], self._seen[ids] = np.nan, 0
        self._cells = None

    def changed(self) -> None:
        """Take note that series have gone."""
        self._cells = None

    def note(self, detector: int, ids: Ids, values: Values, spreads: NDArray[np.float64], at: int) -> None:
        """Take a detector's opinions on ``ids``: signed spreads, NaN = none. One that is not heard is passed over."""
        if detector not in self._place_of:
            return
        self._spreads[self._place_of[detector], ids] = spreads
        self._value[ids] = values
        self._seen[ids] = at // SECOND

    def kinds_of(self, ids: Ids) -> list[Cells]:
        """Return the cells of the kinds of entity that ``ids`` belong to, in order of the kinds' names."""
        cells = self._laid_out()
        kinds = np.unique(self._kind[self._table.entity[ids]]).tolist()
        return sorted((cells[kind] for kind in kinds if kind in cells), key=lambda each: each.kind)

    def rows(self, cells: Cells, which: NDArray[np.int64], at: int) -> EntityRows:
        """Return the rows ``which`` of a kind as they stand at event time ``at`` (Unix ns)."""
        spreads = self._spreads[cells.heard, cells.ids]
        seen = self._seen[cells.ids].astype(np.int64)
        spreads[seen + FRESH_SECONDS < at // SECOND] = np.nan
        if len(cells.starts) < len(cells.ids):
            # fmax and fmin pass over what is unknown; of both ends the further one stands.
            with np.errstate(invalid="ignore"):
                high = np.fmax.reduceat(spreads, cells.starts)
                low = np.fmin.reduceat(spreads, cells.starts)
            spreads = np.where(-low > high, low, high)
        values = np.full((len(cells.entities), len(cells.features)), np.nan, np.float32)
        values.reshape(-1)[cells.place] = spreads
        return EntityRows(cells.kind, cells.features, values[which])

    def behind(self, cells: Cells, row: int, feature: int) -> tuple[int, int, float]:
        """Return the series that stands for a cell, the detector whose opinion it is, and the series' newest value."""
        ids, place = cells.series_of(row, feature)
        far = np.abs(self._spreads[place, ids])
        # By name where several are as far: ids follow the order in which series came.
        number = min(ids[far == np.nanmax(far)].tolist(), key=lambda each: str(self._table.series(each)))
        return number, tuple(self._heard)[place], float(self._value[number])

    def state(self) -> State:
        """Return what a snapshot keeps."""
        size = self._table.size
        return {
            "heard": list(self._heard.values()),
            "spreads": self._spreads[:, :size].copy(),
            "value": self._value[:size].copy(),
            "seen": self._seen[:size].copy(),
        }

    def restore(self, state: State) -> None:
        """Take back what ``state`` returned, after the table. Raises Permanent."""
        kept, size = Kept(state), self._table.size
        theirs = kept.items("heard")
        spreads = kept.array("spreads", np.float32, len(theirs), size)
        nothing = np.full(size, np.nan, np.float32)
        # Who is heard may have been set otherwise since.
        mine = [spreads[theirs.index(name)] if name in theirs else nothing for name in self._heard.values()]
        self._spreads = np.stack(mine) if mine else spreads[:0]
        self._value, self._seen = kept.array("value", np.float64, size), kept.array("seen", np.uint32, size)
        self._cells = None

    def _laid_out(self) -> dict[int, Cells]:
        if self._cells is None:
            self._cells = dict(self._lay_out())
        return self._cells

    def _lay_out(self) -> Iterable[tuple[int, Cells]]:
        table = self._table
        self._know_kinds()
        ids = np.flatnonzero(table.used[: table.size] & (table.drive[: table.size] == LOAD))
        entity, metric = table.entity[ids].astype(np.int64), table.metric[ids].astype(np.int64)
        kind = self._kind[entity]
        for each in np.unique(kind).tolist():
            mine = np.flatnonzero(kind == each)
            metrics = sorted(np.unique(metric[mine]).tolist(), key=lambda number: table.rows[number].name)
            if len(metrics) < FEWEST_METRICS or not self._heard:
                continue
            names = [
                (f"{table.rows[number].name}/{name}", number, by)
                for number in metrics
                for by, name in enumerate(self._heard.values())
            ]
            numbers = np.unique(entity[mine])
            order = sorted(numbers.tolist(), key=lambda number: str(table.entities.values[number]))
            row = np.zeros(int(numbers.max()) + 1, np.int64)
            row[order] = np.arange(len(order))
            parts = []
            for place, (_, number, by) in enumerate(names):
                here = mine[metric[mine] == number]
                parts.append((row[entity[here]] * len(names) + place, ids[here], np.full(len(here), by, np.int8)))
            cell, behind, by_whom = (np.concatenate(column) for column in zip(*parts, strict=True))
            # Within a cell in the order of the series' labels would cost words; any order gives the same value.
            by_cell = np.argsort(cell, kind="stable")
            cell = cell[by_cell]
            starts = np.flatnonzero(np.concatenate(([True], cell[1:] != cell[:-1])))
            yield each, Cells(
                str(self._kinds.values[each]), tuple(name for name, _, _ in names), np.array(order, np.int64),
                behind[by_cell].astype(np.int32), by_whom[by_cell], starts.astype(np.int32),
                cell[starts].astype(np.int32),
            )  # fmt: skip

    def _know_kinds(self) -> None:
        entities = self._table.entities.values
        have = int((self._kind >= 0).sum())
        self._kind = grown(self._kind, len(entities), -1)
        for number in range(have, len(entities)):
            self._kind[number] = self._kinds.number(kind_of(entities[number]))
