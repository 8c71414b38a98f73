"""Which fault strikes what and when, and the truth about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from coldaisle.clock import SECOND
from coldaisle.errors import ConfigError
from coldaisle.event import Event
from coldaisle.store.recording import Truth
from collectors.simulator.effects import Effects
from collectors.simulator.faults import FAULTS, LOCAL, PLAIN, SHARES, Kind, Moment, Read
from collectors.simulator.hall import GPUS_PER_NODE, PSUS_PER_NODE, Hall, Indices
from collectors.simulator.workload import TRAINING, Workload

ENDLESS_SECONDS: Final = 24 * 3600.0
"""How far ahead a hall without an end is planned."""
OPENING: Final = ("rack_feed_lost", "gpu_off_bus", "switch_dead", "host_down")
"""Serious, and seen within seconds: one of them comes first."""
WARM_UP_SECONDS: Final = 600.0
"""Until then only faults come that an event or a flag gives away; detectors still learn."""


class Planned(NamedTuple):
    """A fault to come. ``entity`` None = a fitting place is drawn when it begins."""

    kind: str
    after_seconds: float
    lasts_seconds: float
    entity: str | None = None
    grows_seconds: float | None = None  # None = at its kind's own pace


def default_schedule(
    hall: Hall, seed: int, duration_seconds: float, rate: float = 12.0, first_after_seconds: float = 45.0,
    build_up_seconds: tuple[float, float] | None = None,
) -> list[Planned]:  # fmt: skip
    """
    Return a plan: first something serious and plain to see, then others with quiet between.

    ``rate`` faults an hour on average. Every kind the hall can have comes once, drawn by its share, before
    any comes again. The same ``seed`` gives the same plan. Faults that build up take as long as a number drawn
    evenly by its logarithm between ``build_up_seconds``, and begin early enough to be full before
    ``duration_seconds``; None = at their kind's own pace, whenever.
    """
    rng = np.random.default_rng([seed, 3])
    possible = [name for name, kind in FAULTS.items() if _possible(hall, kind)]
    gap = 3600.0 / rate
    plan: list[Planned] = []
    left: list[str] = []
    at = first_after_seconds
    while at < duration_seconds:
        left = left or list(possible)
        if not plan:
            name = str(rng.choice([name for name in OPENING if name in left]))
        else:
            early = [name for name in left if name in PLAIN] if at < WARM_UP_SECONDS else []
            if build_up_seconds is not None and at + build_up_seconds[1] > duration_seconds:
                early = [name for name in left if not FAULTS[name].grows_seconds]  # others would not be full in time
                if not early:
                    early = [name for name in possible if not FAULTS[name].grows_seconds]
                    left += early
            choice = early or left
            weights = np.sqrt([SHARES[name] for name in choice])  # softened: the rare ones matter as much to us
            name = str(rng.choice(choice, p=weights / weights.sum()))
        left.remove(name)
        kind = FAULTS[name]
        lasts = kind.lasts_seconds * float(rng.uniform(0.7, 1.2))
        grows = None
        if kind.grows_seconds and build_up_seconds is not None:
            grows = round(float(np.exp(rng.uniform(*np.log(build_up_seconds)))), 3)
            lasts += grows - kind.grows_seconds
        plan.append(Planned(name, round(at, 3), round(lasts, 3), None, grows))
        at += gap * float(rng.uniform(0.6, 1.4))
    return plan


def _possible(hall: Hall, kind: Kind) -> bool:
    if kind.needs == "air":
        return not bool(hall.node_liquid.all())
    return bool(hall.node_liquid.any()) if kind.needs == "liquid" else True


def spread(kinds: list[str], rate: float, first_after_seconds: float) -> list[Planned]:
    """Return a plan of ``kinds`` in this order, evenly at ``rate`` an hour."""
    gap = 3600.0 / rate
    return [
        Planned(kind, first_after_seconds + number * gap, FAULTS[kind].lasts_seconds)
        for number, kind in enumerate(kinds)
    ]


@dataclass(slots=True)
class _Active:
    kind: Kind
    truth: Truth
    target: int
    rng: np.random.Generator
    grows_seconds: float
    memory: dict[str, float] = field(default_factory=dict)
    before: float = -1.0


class Injector:
    """Begins, drives and ends the faults of a plan."""

    def __init__(self, hall: Hall, plan: list[Planned], seed: int, start: int) -> None:
        self._hall, self._seed, self._start = hall, seed, start
        self.plan = sorted(plan, key=lambda planned: planned.after_seconds)
        for planned in self.plan:
            if planned.entity is not None:
                self._position(FAULTS[planned.kind], planned.entity)
        self._next = 0
        self._active: list[_Active] = []
        self.truth: list[Truth] = []
        self.skipped: list[Planned] = []  # no place in the hall fitted when their time came

    def act(self, now: int, work: Workload, effects: Effects, read: Read) -> list[Event]:
        """Advance every fault to ``now``: reset ``effects``, let the active ones write them, return their events."""
        events: list[Event] = []
        healed = [one for one in self._active if one.truth.end is not None and one.truth.end <= now]
        self._active = [one for one in self._active if one not in healed]
        elapsed = (now - self._start) / SECOND
        while self._next < len(self.plan) and self.plan[self._next].after_seconds <= elapsed:
            self._begin(self.plan[self._next], work)
            self._next += 1
        effects.reset(bool(self._active))
        for one in healed:
            if one.kind.after is not None:
                moment = self._moment(one, now, effects, read)
                one.kind.after(moment)
                events += moment.events
        for one in self._active:
            moment = self._moment(one, now, effects, read)
            one.kind.act(moment)
            one.before = moment.age
            events += moment.events
        return events

    def _moment(self, one: _Active, now: int, effects: Effects, read: Read) -> Moment:
        age = (now - one.truth.start) / SECOND
        own = one.kind.grows_seconds
        stretch = one.grows_seconds / own if own else 1.0
        return Moment(
            self._hall, effects, read, one.rng, one.target, one.before, age, now, one.memory, one.grows_seconds, stretch
        )

    def _begin(self, planned: Planned, work: Workload) -> None:
        kind = FAULTS[planned.kind]
        number = self._next
        rng = np.random.default_rng([self._seed, 4, number])
        target = self._target(kind, planned.entity, work, rng)
        if target is None:
            self.skipped.append(planned)
            return
        start = self._start + round(planned.after_seconds * SECOND)
        grows = kind.grows_seconds if planned.grows_seconds is None else planned.grows_seconds
        truth = Truth(
            id=f"fault-{number + 1:03d}",
            fault=kind.name,
            entity=self.entity(kind.unit, target),
            affected=tuple(self._affected(kind, target, work)),
            start=start,
            end=start + round(planned.lasts_seconds * SECOND),
            severity=kind.severity.value,
            full_at=start + round(grows * SECOND) if kind.grows_seconds else None,
        )
        self.truth.append(truth)
        self._active.append(_Active(kind, truth, target, rng, grows))

    # --- where -------------------------------------------------------------------------------------------------

    def _target(self, kind: Kind, entity: str | None, work: Workload, rng: np.random.Generator) -> int | None:
        if entity is not None:
            return self._position(kind, entity)
        taken = {entity for one in self._active for entity in (one.truth.entity, *one.truth.affected)}
        candidates = [
            place
            for place in rng.permutation(self._fitting(kind, work))[:64].tolist()
            if self.entity(kind.unit, place) not in taken
        ]
        return candidates[0] if candidates else None

    def _fitting(self, kind: Kind, work: Workload) -> Indices:
        """Return the places that can have such a fault, busy ones where there are any."""
        hall = self._hall
        node_of = {
            "gpu": hall.gpu_node, "node": np.arange(hall.nodes), "port": np.arange(hall.nodes), "psu": hall.psu_node
        }.get(kind.unit)  # fmt: skip
        if node_of is None:
            if kind.unit == "cooling":
                return np.flatnonzero(hall.row_liquid) if kind.needs == "liquid" else np.arange(hall.rows)
            return np.arange(hall.pdus if kind.unit == "pdu" else hall.switches)
        fits = np.ones(hall.nodes, bool)
        if kind.needs == "air":
            fits = ~hall.node_liquid
        elif kind.needs == "liquid":
            fits = hall.node_liquid.copy()
        training = fits & work.training()
        if kind.needs == "training" or training.any():
            fits = training
        return np.flatnonzero(fits[node_of])

    def _names(self, unit: str) -> list[str]:
        hall = self._hall
        return {
            "gpu": hall.gpu_names, "node": hall.node_names, "psu": hall.psu_names, "pdu": hall.pdu_names,
            "port": hall.port_names, "switch": hall.switch_names, "cooling": hall.cooling_names,
        }[unit]  # fmt: skip

    def entity(self, unit: str, target: int) -> str:
        """Return ``kind/name`` of a place."""
        return self._hall.cooling_entity(target) if unit == "cooling" else f"{unit}/{self._names(unit)[target]}"

    def _position(self, kind: Kind, entity: str) -> int:
        names = self._names(kind.unit)
        name = entity.partition("/")[2]
        if name not in names or self.entity(kind.unit, names.index(name)) != entity:
            raise ConfigError(
                f"simulator: fault {kind.name}: {entity!r} is no {kind.unit} of this hall; "
                f"name one like {self.entity(kind.unit, 0)!r}"
            )
        return names.index(name)

    def _node(self, unit: str, target: int) -> int | None:
        if unit in ("node", "port"):
            return target
        return {"gpu": target // GPUS_PER_NODE, "psu": target // PSUS_PER_NODE}.get(unit)

    def _affected(self, kind: Kind, target: int, work: Workload) -> list[str]:
        """Return what the fault's consequences can reach, the root cause left out."""
        hall = self._hall
        reached: list[str] = []
        node = self._node(kind.unit, target)
        nodes: list[int] = [] if node is None else [node]
        fed: list[int] = []  # supplies that lose their input or take over from those that do
        if kind.unit == "pdu":
            nodes = np.flatnonzero(hall.node_rack == target // 2).tolist()
            reached += [f"pdu/{hall.pdu_names[feed]}" for feed in (target, target ^ 1)]
            fed = [psu for n in nodes for psu in range(n * PSUS_PER_NODE, (n + 1) * PSUS_PER_NODE)]
        elif kind.unit == "psu" and node is not None:
            fed = list(range(node * PSUS_PER_NODE, (node + 1) * PSUS_PER_NODE))
            rack = int(hall.node_rack[node])
            reached += [f"pdu/{hall.pdu_names[2 * rack + feed]}" for feed in (0, 1)]
        elif kind.unit == "switch":
            nodes = np.flatnonzero(hall.node_switch == target).tolist()
            reached += [f"port/{hall.port_names[n]}" for n in nodes]
        elif kind.unit == "cooling":
            nodes = np.flatnonzero(hall.node_row == target).tolist()
            reached.append(f"row/{hall.row_names[target]}")
        elif kind.name == "host_down" and node is not None:
            reached.append(f"port/{hall.port_names[node]}")
            fed = list(range(node * PSUS_PER_NODE, (node + 1) * PSUS_PER_NODE))
        reached += [f"psu/{hall.psu_names[psu]}" for psu in fed]
        whole_node = kind.unit in ("node", "switch", "cooling", "port")
        for n in nodes:
            reached.append(hall.node_entity(n))
            if whole_node or kind.name not in LOCAL:
                reached += hall.gpu_entities(n)
        if kind.name not in LOCAL:
            reached += self._job_members(nodes, work)
        return [entity for entity in dict.fromkeys(reached) if entity != self.entity(kind.unit, target)]

    def _job_members(self, nodes: list[int], work: Workload) -> list[str]:
        jobs = {job.name: job for job in map(work.job_of, nodes) if job is not None and job.kind == TRAINING}
        members = [self._hall.node_entity(n) for job in jobs.values() for n in job.nodes.tolist()]
        return [*(f"job/{name}" for name in jobs), *members]
