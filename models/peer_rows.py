"""Gives series rows so that the members of a peer group lie side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from coldaisle.detector import Ids
from coldaisle.state import Kept

Positions = NDArray[np.int64]


class PeerRows:
    """
    The row of each series that has a group: sorted by group, then by id.

    Who joins or leaves is noted at once; rows move only in :meth:`settle`, once for however many.
    """

    def __init__(self) -> None:
        self._keys = np.full(256, -1, np.int64)  # by id; -1 = no group
        self._row = np.full(256, -1, np.int32)  # by id; -1 = none
        self._group = np.zeros(0, np.int32)  # by row
        self._groups = 0
        self._reached = 0  # one more than the largest id ever asked for
        self.settled = True

    def regroup(self, ids: Ids, keys: NDArray[np.int64]) -> Positions:
        """Take note of the groups of ``ids``, negative = none; return the rows of those that had another."""
        self._reach(int(ids.max(initial=-1)) + 1)
        moved = ids[self._keys[ids] != keys]
        self._keys[ids] = keys
        if len(moved):
            self.settled = False
        rows: Positions = self._row[moved].astype(np.int64)
        return np.asarray(rows[rows >= 0])

    def of(self, ids: Ids) -> Positions:
        """Return the rows of those of ``ids`` that have one."""
        known = ids[ids < len(self._row)]
        rows = self._row[known].astype(np.int64)
        return np.asarray(rows[rows >= 0])

    def settle(self) -> tuple[Ids, Positions]:
        """Sort the rows anew; return the id of each row, and the row that each was before, -1 = none."""
        ids = np.flatnonzero(self._keys >= 0)
        keys = self._keys[ids]
        order = np.argsort(keys, kind="stable")
        ids, keys = ids[order], keys[order]
        before = self._row[ids].astype(np.int64)
        self._row[:] = -1
        self._row[ids] = np.arange(len(ids), dtype=np.int32)
        starts = np.concatenate(([True], keys[1:] != keys[:-1])) if len(keys) else np.zeros(0, np.bool_)
        self._group = (np.cumsum(starts) - 1).astype(np.int32)
        self._groups = int(starts.sum())
        self.settled = True
        return ids, before

    def groups_of(self, ids: Ids, minimum: int) -> tuple[Positions, Positions, NDArray[np.int64]]:
        """
        Return positions in ``ids`` and their rows, group after group, and the number of each group's members.

        Groups of fewer than ``minimum`` present members are left out.
        """
        known = ids < len(self._row)
        rows = np.where(known, self._row[np.where(known, ids, 0)], -1)
        position = np.full(len(self._group), -1, np.int64)
        grouped = np.flatnonzero(rows >= 0)
        position[rows[grouped]] = grouped
        present = np.flatnonzero(position >= 0)
        group = self._group[present]
        counts = np.bincount(group, minlength=self._groups)
        enough = counts >= max(minimum, 1)
        if not enough.all():
            present = present[enough[group]]
        return position[present], present, counts[enough]

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what a snapshot keeps, by id; settled rows follow from the groups and need not be kept."""
        row = self._row[: 0 if self.settled else self._reached]
        return {"key": self._keys[: self._reached].copy(), "unsettled": row.copy()}

    def restore(self, kept: Kept) -> None:
        """Take back what ``state`` returned. Raises Permanent."""
        self._keys, row = kept.array("key", np.int64, None), kept.array("unsettled", np.int32, None)
        self._reached = len(self._keys)
        self._row = row if len(row) else np.full(self._reached, -1, np.int32)
        self.settled = not len(row)
        if self.settled:
            self.settle()

    def by_id(self, column: NDArray[Any], fresh: Any) -> NDArray[Any]:
        """Return a column of rows as one of ids, ``fresh`` for those without a row."""
        result = np.full(self._reached, fresh, column.dtype)
        ids = np.flatnonzero(self._row >= 0)
        result[ids] = column[self._row[ids]]
        return result

    def by_row(self, column: NDArray[Any]) -> NDArray[Any]:
        """Return a column of ids as one of rows; the opposite of :meth:`by_id`."""
        ids = np.flatnonzero(self._row >= 0)
        result = np.empty(len(ids), column.dtype)
        result[self._row[ids]] = column[ids]
        return result

    def _reach(self, need: int) -> None:
        self._reached = max(self._reached, need)
        have = len(self._keys)
        if need <= have:
            return
        room = max(need, have + have // 8)
        keys, row = np.full(room, -1, np.int64), np.full(room, -1, np.int32)
        keys[:have], row[:have] = self._keys, self._row
        self._keys, self._row = keys, row
