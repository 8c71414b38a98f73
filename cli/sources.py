"""Everything that a process collects: collectors on their schedules, and simulated halls at the pace of real time."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from cli.service import Stop, Worker
from cli.settings import Configured
from coldaisle.clock import SECOND, Clock
from coldaisle.event import Event
from coldaisle.selfstats import SelfStats
from collectors.port import Step
from collectors.registry import spec_of
from collectors.runner import Runner, Ship
from collectors.simulator.config import SimulatorConfig
from collectors.simulator.simulator import Simulator

_LONGEST_WAIT_SECONDS = 0.5


class Sources:
    """The collectors and halls of one process, all shipping to one place. Raises ConfigError when they are built."""

    def __init__(
        self, configured: Sequence[Configured], ship: Ship, clock: Clock, stats: SelfStats, node: str, stop: Stop
    ) -> None:
        self._clock, self._stop = clock, stop
        specs, self._halls = [], []
        for kind, config in configured:
            if isinstance(config, SimulatorConfig):
                self._halls.append(_Hall(config, ship, clock, stop))
            else:
                specs.append(spec_of(kind, config, clock, stats, node))
        self._runner = Runner(specs, ship, clock, stats)
        self.names = [spec.collector.name for spec in specs] + [hall.name for hall in self._halls]
        self._working = ExitStack()

    def start(self) -> None:
        """Start collecting."""
        self._runner.start()
        for hall in self._halls:
            self._working.enter_context(Worker("simulator", hall.step, self._stop))

    def stop(self) -> None:
        """Collect no more; safe to call twice."""
        self._runner.stop()
        self._working.close()


class _Hall:
    """A simulated hall whose time is the clock's: it began when the process did."""

    def __init__(self, config: SimulatorConfig, ship: Ship, clock: Clock, stop: Stop) -> None:
        self._clock, self._stop, self._ship = clock, stop, ship
        self._simulator = Simulator(config.model_copy(update={"start": clock.now()}))
        self._steps = self._simulator.steps()
        self._next: Step | None = None
        self._events: list[Event] = []
        gpus = 8 * config.rows * config.racks_per_row * config.nodes_per_rack
        self.name = f"a simulated hall of {gpus:,} GPUs"

    def step(self) -> None:
        """Tell the next step if its time has come, else wait a little."""
        self._next = self._next or next(self._steps, None)
        if self._next is None:
            self._stop.wait(_LONGEST_WAIT_SECONDS)  # the hall's duration is over; what else is collected goes on
            return
        early_seconds = (self._next.now - self._clock.now()) / SECOND
        if early_seconds > 0:
            self._stop.wait(min(early_seconds, _LONGEST_WAIT_SECONDS))
            return
        # A hall that has fallen silent still has its events; they leave with the next frame there is.
        self._events += self._next.events
        for frame in self._simulator.frames(self._next):
            self._ship(frame, self._events)
            self._events = []
        self._next = None
