"""A whole AI hall in one object: jobs, physics, faults and telemetry, advanced step by step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from coldaisle.clock import SECOND
from coldaisle.frame import Frame
from coldaisle.series import Layout
from coldaisle.store.recording import RecordingWriter, Truth
from coldaisle.topology import Entity, Relation, RelationKind, Topology
from collectors.port import Step
from collectors.simulator.config import FaultPlan, SimulatorConfig
from collectors.simulator.effects import Effects
from collectors.simulator.faults import FAULTS
from collectors.simulator.hall import Hall
from collectors.simulator.physics import Physics
from collectors.simulator.schedule import ENDLESS_SECONDS, Injector, Planned, default_schedule, spread
from collectors.simulator.telemetry import COLLECTOR, Telemetry
from collectors.simulator.workload import Workload


class Simulator:
    """
    Plays a hall as a Feed. Equal configurations give equal samples, events and truth.

    Not thread-safe. Raises ConfigError when a planned fault names an entity that the hall does not have.
    """

    def __init__(self, config: SimulatorConfig) -> None:
        self.config = config
        self.hall = Hall(config.rows, config.racks_per_row, config.nodes_per_rack, config.cooling, config.seed)
        self._work = Workload(self.hall, config.seed)
        self._physics = Physics(self.hall, config.seed)
        self._effects = Effects(self.hall)
        self._telemetry = Telemetry(self.hall, config.seed)
        self.now = config.start_ns
        self._injector = Injector(self.hall, self._plan(), config.seed, config.start_ns)
        self._work.advance(self.now, 0.0, config.step_seconds, self._physics.slowest_clock(), self._effects)
        self._physics.settle(self._work, self._effects)

    def _plan(self) -> list[Planned]:
        config = self.config
        lasts = config.duration_seconds or ENDLESS_SECONDS
        rate, first = config.fault_rate, config.first_fault_after_seconds
        if config.faults == "default":
            return default_schedule(self.hall, config.seed, lasts, rate, first, config.build_up_seconds)
        if config.faults == "none":
            return []
        named = spread([fault for fault in config.faults if isinstance(fault, str)], rate, first)
        return named + [by_hand(fault) for fault in config.faults if isinstance(fault, FaultPlan)]

    @property
    def layout(self) -> Layout:
        """Every series the hall can have; a block's ``index`` points into it."""
        return self._telemetry.layout

    @property
    def truth(self) -> list[Truth]:
        """All faults that have begun so far, healed ones included."""
        return list(self._injector.truth)

    @property
    def schedule(self) -> list[Planned]:
        """What is planned, begun or not; places are drawn when a fault begins."""
        return list(self._injector.plan)

    def topology(self) -> Topology:
        """Return the hall as a graph, with the jobs that run now."""
        topology = Topology(self.hall.entities(), self.hall.relations())
        for job in self._work.jobs:
            topology.add(Entity("job", job.name))
            for node in job.nodes.tolist():
                topology.relate(Relation(RelationKind.RUNS, f"job/{job.name}", self.hall.node_entity(node)))
        return topology

    def step(self) -> Step:
        """Advance by ``step_seconds`` and return what the hall said."""
        dt = self.config.step_seconds
        self.now += round(dt * SECOND)
        elapsed = (self.now - self.config.start_ns) / SECOND
        events = self._injector.act(self.now, self._work, self._effects, self._telemetry.last)
        clock = self._physics.slowest_clock()
        events += self._work.advance(self.now, elapsed, dt, clock, self._effects)
        self._physics.advance(dt, self._work, self._effects)
        block = self._telemetry.read(self.now, self._physics, self._work, self._effects)
        return Step(self.now, block, tuple(sorted(events, key=lambda event: event.timestamp)))

    def steps(self) -> Iterator[Step]:
        """Yield steps until ``duration_seconds`` have passed, or for ever."""
        lasts = self.config.duration_seconds
        end = None if lasts is None else self.config.start_ns + round(lasts * SECOND)
        while end is None or self.now < end:
            yield self.step()

    def frames(self, step: Step) -> list[Frame]:
        """Return the step's block as frames for the bus, one a node and device; silent ones yield none."""
        return list(self._telemetry.frames(step.block))


def by_hand(fault: FaultPlan) -> Planned:
    """Return a fault of the configuration as planned; one that grows more slowly lasts longer by as much."""
    kind = FAULTS[fault.kind]
    later = 0.0 if fault.grows_seconds is None else max(0.0, fault.grows_seconds - kind.grows_seconds)
    lasts = fault.lasts_seconds or kind.lasts_seconds + later
    return Planned(fault.kind, fault.after_seconds, lasts, fault.entity, fault.grows_seconds)


def record(simulator: Simulator, duration_seconds: float, writer: RecordingWriter) -> None:
    """
    Write ``duration_seconds`` of the hall's life with its topology and truth; the caller closes ``writer``.

    A fault that outlasts the recording has no end in it. Raises Transient where the disk is full.
    """
    writer.write_topology(simulator.topology())
    end = simulator.now + round(duration_seconds * SECOND)
    while simulator.now < end:
        step = simulator.step()
        writer.write(step.block, COLLECTOR)
        for event in step.events:
            writer.write_event(event)
    for truth in simulator.truth:
        lasted = truth.end is None or truth.end > simulator.now
        writer.write_truth(replace(truth, end=None) if lasted else truth)
