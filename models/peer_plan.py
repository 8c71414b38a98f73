"""Says how the samples of a batch fall into peer groups, and remembers it for as long as the same ids come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.detector import Ids, Traits
from coldaisle.state import Kept
from models.cohorts import Cohorts
from models.columns import Columns, Where
from models.level import CHUNK
from models.peer_rows import PeerRows

_PLANS = 8
_KEPT = 2.0
"""Times as many samples as there are rows: plans for more would weigh more than what is remembered of the series."""


class Part(NamedTuple):
    """Some whole groups of a batch, few enough to be worked on in the processor's cache."""

    members: NDArray[np.int64]  # positions in the batch
    rows: Where  # of the memory
    cohorts: Cohorts


class _Plan(NamedTuple):
    ids: NDArray[np.int32]
    parts: list[Part]


class GroupedMemory:
    """
    Columns indexed by row: members of a group lie side by side, so that a whole tick is read from end to end.

    ``minimum`` is how many members of a group must be present; with two nobody can tell which is odd.
    """

    def __init__(self, fresh: Mapping[str, Any], minimum: int) -> None:
        self._minimum = minimum
        self._rows = PeerRows()
        self._columns = Columns(fresh)
        self._plans: dict[tuple[int, int, int], _Plan] = {}

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._columns[name]

    def admit(self, ids: Ids, traits: Traits) -> NDArray[np.int64]:
        """Take note of the groups of ``ids``; return the rows of those that were in another one before."""
        keys = (traits.group.astype(np.int64) << 32) | traits.family.astype(np.int64)
        keys[traits.group < 0] = -1
        rows = self._rows.regroup(ids, keys)
        self._plans.clear()
        return rows

    def forget(self, ids: Ids) -> None:
        """Drop ``ids``, their group included."""
        rows = self._rows.regroup(ids, np.full(len(ids), -1, np.int64))
        self._columns.clear(rows)
        self._plans.clear()

    def rows_of(self, ids: Ids) -> NDArray[np.int64]:
        """Return the rows of those of ``ids`` that have a group."""
        self._settle()
        return self._rows.of(ids)

    def parts(self, ids: Ids) -> list[Part]:
        """Return who belongs together among ``ids``; the same few sets of ids come tick after tick."""
        name = (len(ids), int(ids[0]), int(ids[-1])) if len(ids) else (0, 0, 0)
        known, narrow = self._plans.pop(name, None), ids.astype(np.int32)
        if known is None or not np.array_equal(known.ids, narrow):
            self._settle()
            members, rows, counts = self._rows.groups_of(ids, self._minimum)
            parts = [
                Part(members[part], self._columns.where(rows[part]), Cohorts(counts[groups]))
                for part, groups in _parts(counts)
            ]
            known = _Plan(narrow, parts)
            self._make_room(len(ids))
        self._plans[name] = known  # the newest used stands last
        return known.parts

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what a snapshot keeps: by series id, whatever the order of the rows."""
        kept = {name: self._rows.by_id(column, fresh) for name, column, fresh in self._columns.items()}
        return {**self._rows.state(), **kept}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take back what ``state`` returned. Raises Permanent where a column is missing or of another length."""
        kept, size = Kept(state), len(state["key"])
        self._rows.restore(kept)
        columns = {name: kept.array(name, fresh.dtype, size) for name, _, fresh in self._columns.items()}
        self._columns.restore({name: self._rows.by_row(column) for name, column in columns.items()})
        self._plans.clear()

    def _make_room(self, samples: int) -> None:
        """Let plans go that were not used for longest, until one for so many ``samples`` has its place."""
        held = samples + sum(len(plan.ids) for plan in self._plans.values())
        while self._plans and (len(self._plans) >= _PLANS or held > _KEPT * len(self._columns)):
            held -= len(self._plans.pop(next(iter(self._plans))).ids)

    def _settle(self) -> None:
        if self._rows.settled:
            return
        _, before = self._rows.settle()
        self._columns.reorder(before)
        self._plans.clear()


def _parts(counts: NDArray[np.int64]) -> Iterator[tuple[slice, slice]]:
    """Yield the members and the groups of parts of about ``CHUNK`` members each."""
    stops = np.cumsum(counts)
    group, start = 0, 0
    while group < len(counts):
        last = max(group + 1, int(np.searchsorted(stops, start + CHUNK, side="right")))
        stop = int(stops[last - 1])
        yield slice(start, stop), slice(group, last)
        group, start = last, stop
