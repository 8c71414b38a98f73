"""Says which series are comparable: the peer groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple
from zlib import crc32

import numpy as np

from coldaisle.detector import Ids
from coldaisle.series import Labels
from coldaisle.state import Kept, State
from coldaisle.topology import KINDS, RelationKind, Topology, kind_of
from pipeline.series_table import LOAD, STEADY, Interner, SeriesTable

_NOT_SHAPE = frozenset(KINDS) | {"collector", "sku"}


class GroupKey(NamedTuple):
    """What the members of a peer group have in common; the same in every process."""

    metric: str
    kind: str  # of entity
    shape: Labels  # what tells sensors of one entity apart
    drive: int
    job: str  # ``job/x``, ``alone:node/y``, empty where no job is known
    sku: str  # of the hardware, or of the set of metrics that it has

    @property
    def cohort(self) -> str:
        """With whom load is compared, in one word."""
        return f"{self.job}|{self.sku}"


def shape_of(labels: Labels) -> Labels:
    """Return the labels that tell sensors of one entity apart."""
    return tuple(pair for pair in labels if pair[0] not in _NOT_SHAPE)


class PeerGroups:
    """
    Groups series of one metric, kind of entity and sensor label whose owners are comparable.

    * A metric that load moves: the nodes that run the same job with the same hardware. A node without a job stands
      alone, since what idles and what serves requests have nothing in common: the GPUs and fans within it are
      each other's peers. Where no job is known at all, everything of the same hardware is one group.
    * A steady metric (inlets, voltages): everything of that kind on the site, whatever runs there.
    * Flags, settings and error counters: none; rules read them.

    Hardware is the attribute ``sku`` of the entity and of its node: one board in air and in coolant are two things.
    Where no topology says it, nodes that carry the same set of metrics count as the same hardware.
    """

    def __init__(self, table: SeriesTable, topology: Topology) -> None:
        self._table = table
        self._topology = topology
        self._numbers = Interner()
        self._shapes: dict[Labels, Labels] = {}

    def key(self, group: int) -> GroupKey:
        """Return what the members of a group have in common. Raises IndexError."""
        key: GroupKey = self._numbers.values[group]
        return key

    def members(self, sources: Iterable[int]) -> Ids:
        """Return the ids of the series of ``sources``."""
        table = self._table
        wanted = np.zeros(len(table.sources), np.bool_)
        wanted[np.fromiter(sources, np.int64)] = True
        return np.flatnonzero(table.used[: table.size] & wanted[table.source[: table.size]])

    def add(self, ids: Ids) -> set[int]:
        """Return the sources of new series, which :meth:`regroup` must look at."""
        return set(self._table.source[ids].tolist())

    def regroup(self, sources: Iterable[int]) -> tuple[Ids, Ids]:
        """Give the series of ``sources`` their groups; return the ids that got one, and those that had another."""
        changed: list[int] = []
        moved: list[int] = []
        table = self._table
        jobs_known = bool(self._topology.of_kind("job"))
        for source, members in self._by_source(sources):
            name = table.sources.values[source]
            job = self._job(name) or (f"alone:{name}" if jobs_known else "")
            sku = self._sku(name) or self._likeness(members)
            for number in members:
                group = self._group(number, job, sku)
                if group != table.group[number]:
                    if table.group[number] >= 0:
                        moved.append(number)
                    table.group[number] = group
                    changed.append(number)
        return np.array(sorted(changed), np.int64), np.array(sorted(moved), np.int64)

    def regroup_all(self) -> tuple[Ids, Ids]:
        """Give every series its group; return what :meth:`regroup` does."""
        return self.regroup(range(len(self._table.sources)))

    def state(self) -> State:
        """Return what a snapshot keeps; whose series is whose stands in the table."""
        return {"groups": [[*key] for key in self._numbers.values]}

    def restore(self, state: State) -> None:
        """Take back what ``state`` returned. Raises Permanent."""
        groups = Kept(state).rows("groups", str, str, object, int, str, str)
        self._numbers.restore(
            GroupKey(metric, kind, tuple((name, value) for name, value in shape), drive, job, sku)
            for metric, kind, shape, drive, job, sku in groups
        )

    def _by_source(self, sources: Iterable[int]) -> Iterator[tuple[int, list[int]]]:
        """Yield each source that has series, with their ids; worked out when it is asked for, since that is seldom."""
        ids = self.members(sources)
        owner = self._table.source[ids]
        order = np.argsort(owner, kind="stable")
        ids, owner = ids[order], owner[order]
        starts = np.flatnonzero(np.concatenate(([True], owner[1:] != owner[:-1])))[: len(ids)].tolist()
        for start, stop in pairwise([*starts, len(ids)]):
            yield int(owner[start]), ids[start:stop].tolist()

    def _group(self, number: int, job: str, sku: str) -> int:
        table = self._table
        drive = int(table.drive[number])
        if drive not in (LOAD, STEADY):
            return -1
        entity = table.entities.values[table.entity[number]]
        if drive == LOAD:
            own = self._own_sku(entity)
            sku = f"{own} in {sku}" if own and own != sku else sku
        else:
            job = sku = ""
        shape = self._shape(table.series(number).labels)
        return self._numbers.number(GroupKey(table.row(number).name, kind_of(entity), shape, drive, job, sku))

    def _likeness(self, members: list[int]) -> str:
        """Return a word that is the same for sources with the same metrics."""
        names = sorted({self._table.row(number).name for number in members})
        return f"metrics-{crc32(' '.join(names).encode()):08x}"

    def _shape(self, labels: Labels) -> Labels:
        known = self._shapes.get(labels)
        if known is None:
            known = shape_of(labels)
            if len(self._shapes) > 4096:
                self._shapes.clear()
            self._shapes[labels] = known
        return known

    def _job(self, source: str) -> str:
        jobs = self._topology.sources(source, RelationKind.RUNS)
        return min(jobs) if jobs else ""

    def _own_sku(self, entity: str) -> str:
        known = self._topology.get(entity)
        return known.attributes.get("sku", "") if known else ""

    def _sku(self, source: str) -> str:
        return self._own_sku(source)
