"""Questions about the topology that correlation asks again and again, remembered between changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from coldaisle.topology import RelationKind, Topology, kind_of

_INSIDE = frozenset({"gpu", "nic", "port", "psu"})


class Graph:
    """The topology as correlation sees it. Answers are kept until the topology's version changes."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self._version = topology.version
        self._causes: dict[str, frozenset[str]] = {}
        self._units: dict[str, str] = {}
        self._counts: dict[str, Counter[str]] = {}

    def refresh(self) -> None:
        """Forget what was remembered if the topology has changed."""
        if self._version != self.topology.version:
            self._version = self.topology.version
            self._causes.clear()
            self._units.clear()
            self._counts.clear()

    def unit(self, entity: str) -> str:
        """Return the smallest thing that is repaired as one: the node of a GPU, else the entity itself."""
        known = self._units.get(entity)
        if known is None:
            known = entity
            if kind_of(entity) in _INSIDE:
                known = self.topology.within(entity, "node") or entity
            self._units[entity] = known
        return known

    def causes(self, entity: str) -> frozenset[str]:
        """Return what can harm ``entity``, itself included, and the jobs that run on its node."""
        known = self._causes.get(entity)
        if known is None:
            above = self._above(entity)
            known = self._causes[entity] = frozenset(above | set(self.jobs(entity)) | {self.site(entity)})
        return known

    def _above(self, entity: str) -> set[str]:
        feeds = self.topology.sources(entity, RelationKind.FEEDS) if kind_of(entity) == "psu" else []
        if not feeds:
            return self.topology.causes(entity)
        # A node hangs on all its feeds, one of its supplies only on its own.
        return {entity, *self.topology.ancestors(entity)}.union(*(self.topology.causes(feed) for feed in feeds))

    def reach_counts(self, candidate: str) -> Counter[str]:
        """Return how many entities of each kind ``candidate`` can harm, itself not counted."""
        known = self._counts.get(candidate)
        if known is None:
            if kind_of(candidate) == "job":
                below: Iterable[str] = self.topology.targets(candidate, RelationKind.RUNS)
            elif kind_of(candidate) == "site" and not self.topology.children(candidate):
                # No file declares a hall: everything the telemetry names is of this one site.
                below = (entity.id for entity in self.topology)
            else:
                below = self.topology.reach(candidate)
            known = Counter(kind_of(entity) for entity in below if entity != candidate)
            self._counts[candidate] = known
        return known

    def linked(self, entity: str) -> list[str]:
        """Return what a cable ties ``entity`` to."""
        return self.topology.targets(entity, RelationKind.LINKS) + self.topology.sources(entity, RelationKind.LINKS)

    def site(self, entity: str) -> str:
        """Return the site of ``entity``; one that no file places is of ``site/site``."""
        return self.topology.within(entity, "site") or "site/site"

    def jobs(self, entity: str) -> list[str]:
        """Return the jobs that run on ``entity`` or its node."""
        return self.topology.sources(self.unit(entity), RelationKind.RUNS)
