"""What a detector remembers of each series: named arrays, indexed by series id, that grow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coldaisle.detector import Ids
from coldaisle.state import Kept

Where = slice | NDArray[np.int64]
"""Rows of a column: a slice where the ids follow one another, so that reading them copies nothing."""

_FIRST = 256


class Columns:
    """
    Columns of one length; ``fresh`` names each with the value that a series unknown so far holds.

    A value that is an array gives each series an array of that shape.
    """

    def __init__(self, fresh: Mapping[str, Any]) -> None:
        self._fresh = {name: np.asarray(value) for name, value in fresh.items()}
        self._columns = {name: _full(_FIRST, value) for name, value in self._fresh.items()}
        self._reached = 0

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._columns[name]

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))

    def reach(self, ids: Ids) -> None:
        """Grow until every one of ``ids`` has a row."""
        need = int(ids.max(initial=-1)) + 1
        self._reached = max(self._reached, need)
        size = len(self)
        if need <= size:
            return
        # An eighth more than there was: growing stays rare, and at worst a ninth of what is held is room to spare.
        size = max(need, size + size // 8)
        for name, old in self._columns.items():
            grown = _full(size, self._fresh[name])
            grown[: len(old)] = old
            self._columns[name] = grown

    def clear(self, ids: Ids) -> None:
        """Make ``ids`` unknown again; those without a row are so already."""
        rows = ids[ids < len(self)]
        for name, column in self._columns.items():
            column[rows] = self._fresh[name]

    def where(self, ids: NDArray[np.integer[Any]]) -> Where:
        """Return the rows of ``ids``. Raises IndexError for an id that was never admitted."""
        if len(ids) == 0:
            return slice(0, 0)
        first, last = int(ids[0]), int(ids[-1])
        if last - first == len(ids) - 1 and (len(ids) < 3 or bool((np.diff(ids) == 1).all())):
            if last >= len(self):
                raise IndexError(f"series {last} was never admitted")
            return slice(first, last + 1)
        return ids.astype(np.int64, copy=False)

    def items(self) -> Iterator[tuple[str, NDArray[Any], Any]]:
        """Yield the name of each column, the column, and what one unknown holds."""
        for name, column in self._columns.items():
            yield name, column, self._fresh[name]

    def reorder(self, before: NDArray[np.int64]) -> None:
        """Give row i what row ``before[i]`` held; -1 = it is unknown."""
        for name, column in self._columns.items():
            moved = _full(len(before), self._fresh[name])
            known = before >= 0
            moved[known] = column[before[known]]
            self._columns[name] = moved
        self._reached = len(before)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return copies of all columns, up to the last row that was ever asked for."""
        return {name: column[: self._reached].copy() for name, column in self._columns.items()}

    def restore(self, state: Mapping[str, NDArray[Any]], rows: int | None = None) -> None:
        """
        Take back what ``state`` returned, of so many ``rows``; None = as many as there are.

        Raises Permanent where a column is missing or of another length.
        """
        kept = Kept(state)
        for name, value in self._fresh.items():
            self._reached = len(kept.array(name, value.dtype, rows, *value.shape))
            break
        self._columns = {
            name: kept.array(name, value.dtype, self._reached, *value.shape) for name, value in self._fresh.items()
        }


def rows_in(where: Where) -> NDArray[np.int64]:
    """Return rows one by one, whichever way they are told."""
    return np.arange(where.start, where.stop) if isinstance(where, slice) else where


def _full(size: int, value: NDArray[Any]) -> NDArray[Any]:
    return np.full((size, *value.shape), value, value.dtype)
