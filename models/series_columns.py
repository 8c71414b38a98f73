"""What a detector remembers of the series it hears, which may be few of all: columns with a row for each of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coldaisle.detector import Ids
from coldaisle.state import Kept
from models.columns import Columns, Where

_FIRST = 256
_NONE = -1


class SeriesColumns:
    """
    Columns of one length, named in ``fresh`` with the value that a series unknown so far holds.

    A series has a row from when it is admitted until it is forgotten. One that is never admitted costs the four
    bytes that say so.
    """

    def __init__(self, fresh: Mapping[str, Any]) -> None:
        self._columns = Columns(fresh)
        self._row = np.full(_FIRST, _NONE, np.int32)  # by id
        self._rows = 0  # one more than the largest row ever given
        self._free: list[int] = []

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._columns[name]

    def admit(self, ids: Ids) -> None:
        """Give rows to those of ``ids`` that have none."""
        need, have = int(ids.max(initial=-1)) + 1, len(self._row)
        if need > have:
            # An eighth more than there was: growing stays rare, and at worst a ninth of what is held is room to spare.
            self._row = np.append(self._row, np.full(max(need, have + have // 8) - have, _NONE, np.int32))
        fresh = ids[self._row[ids] == _NONE]
        again = [self._free.pop() for _ in range(min(len(fresh), len(self._free)))]
        more = np.arange(self._rows, self._rows + len(fresh) - len(again))
        self._rows += len(more)
        self._row[fresh] = np.concatenate([np.array(again, np.int64), more])
        self._columns.reach(more)

    def forget(self, ids: Ids) -> None:
        """Take back the rows of ``ids``."""
        rows = self.rows_of(ids)
        self._columns.clear(rows)
        self._free += rows.tolist()
        self._row[ids[ids < len(self._row)]] = _NONE

    def clear(self, ids: Ids) -> None:
        """Make ``ids`` unknown again, each in its row."""
        self._columns.clear(self.rows_of(ids))

    def rows_of(self, ids: Ids) -> NDArray[np.int64]:
        """Return the rows of those of ``ids`` that have one."""
        rows = self._row[ids[ids < len(self._row)]].astype(np.int64)
        return np.asarray(rows[rows != _NONE])

    def where(self, ids: Ids) -> Where:
        """Return the rows of ``ids``. Raises IndexError for an id that was never admitted."""
        rows = self._row[ids]
        if rows.min(initial=0) < 0:
            raise IndexError(f"series {int(ids[rows < 0][0])} was never admitted")
        return self._columns.where(rows)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the id that each row is of (-1 = nobody's), which rows are free, and each column."""
        owner = np.full(self._rows, _NONE, np.int32)
        ids = np.flatnonzero(self._row != _NONE)
        owner[self._row[ids]] = ids
        return {"id": owner, "free": np.array(self._free, np.int32), **self._columns.state()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take back what ``state`` returned. Raises Permanent where a column is missing or of another length."""
        kept = Kept(state)
        owner = kept.array("id", np.int32, None)
        self._columns.restore(state, len(owner))
        rows = np.flatnonzero(owner != _NONE)
        self._row = np.full(max(_FIRST, int(owner.max(initial=-1)) + 1), _NONE, np.int32)
        self._row[owner[rows]] = rows
        self._rows = len(owner)
        self._free = kept.array("free", np.int32, None).tolist()
