"""Whether the alert budget is kept: days of a simulated hall in which nothing breaks, and who would have been told."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

from cli.progress import Progress
from cli.settings import Settings
from cli.wiring import alerter_of, copy_of, engine_of, rules_of
from coldaisle.clock import HOUR, SECOND
from coldaisle.incident import Incident
from coldaisle.selfstats import SelfStats
from coldaisle.severity import Severity
from coldaisle.store import IncidentQuery, Notification
from coldaisle.store.memory_incidents import MemoryIncidentStore
from coldaisle.topology import Topology
from collectors.port import Step
from collectors.simulator.config import SimulatorConfig
from collectors.simulator.simulator import Simulator

SEEDS = (41, 42, 43)
GPUS_PER_RACK_OF_FOUR = 32


class Life(NamedTuple):
    """What hall, and how long it is watched."""

    days: float
    racks_per_row: int
    step_seconds: float
    budgets: tuple[float, ...]

    def config(self, seed: int) -> SimulatorConfig:
        """Return the hall of ``seed``, of two rows; jobs come and go, save checkpoints and follow the day."""
        return SimulatorConfig(
            rows=2, racks_per_row=self.racks_per_row, nodes_per_rack=4, seed=seed, step_seconds=self.step_seconds,
            faults="none",
        )  # fmt: skip

    @property
    def gpus(self) -> int:
        """How many the hall has."""
        return 2 * self.racks_per_row * GPUS_PER_RACK_OF_FOUR


class Told(NamedTuple):
    """What one budget would have told people in one hall. Every one is false, since nothing broke."""

    seed: int
    budget: float  # false pages per thousand GPUs a day; fewer GPUs have the budget of a thousand
    days: float
    gpus: int
    pages: int
    tickets: int
    early: int  # of both, in the first two hours
    rules: Counter[str]

    @property
    def a_day(self) -> float:
        """Pages and tickets a day for each thousand GPUs, as the budget counts them."""
        return (self.pages + self.tickets) / self.days / max(1.0, self.gpus / 1000)


class House:
    """Engine and alerter with one budget."""

    def __init__(self, budget: float, topology: Topology) -> None:
        plain = Settings()
        engine = plain.engine.model_copy(update={"alert_budget_per_1000_gpus_per_day": budget})
        settings = plain.model_copy(update={"engine": engine})
        rules, stats = rules_of(settings), SelfStats()
        self.budget = budget
        self._store = MemoryIncidentStore()
        self._engine = engine_of(settings, rules, copy_of(topology), stats)
        self._alerter = alerter_of(settings, rules, copy_of(topology), self._store, _nobody, stats)

    def hear(self, step: Step) -> None:
        """Take one step of the hall's life."""
        self._engine.observe(step.events)
        self._alerter.take(self._engine.process([step.block], step.now), step.events, step.now)

    def incidents(self) -> list[Incident]:
        """Return what people were told."""
        everything = self._store.find(IncidentQuery(limit=1_000_000))
        return [incident for incident in everything if incident.severity is not Severity.INFO]


def _nobody(incident: Incident, kind: str) -> list[Notification]:
    return []


def lived(seed: int, life: Life) -> list[Told]:
    """Return what each budget would have told people in the hall of ``seed``."""
    simulator = Simulator(life.config(seed))
    start, topology = simulator.now, simulator.topology()
    houses = [House(budget, topology) for budget in life.budgets]
    steps, progress = round(life.days * 86_400 / life.step_seconds), Progress(f"seed {seed}")
    for number in range(steps):
        step = simulator.step()
        for house in houses:
            house.hear(step)
        progress.show(number / steps)
    progress.done()
    told = []
    for house in houses:
        incidents = house.incidents()
        pages = sum(incident.severity is Severity.PAGE for incident in incidents)
        told.append(
            Told(
                seed, house.budget, life.days, life.gpus, pages, len(incidents) - pages,
                sum(incident.opened_at - start < 2 * HOUR for incident in incidents),
                Counter(alert.name for incident in incidents for alert in incident.alerts[:1]),
            )
        )  # fmt: skip
        for incident in incidents:
            print(
                f"    {seed} {house.budget:g} +{(incident.opened_at - start) / SECOND / 3600:.2f} h "
                f"{incident.severity.value}: {incident.title}"
            )
    return told


def main(argv: Sequence[str]) -> int:
    """Print each hall and budget, then each budget over all halls."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks normal_life", description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--days", type=float, default=1.0)
    parser.add_argument("--racks", type=int, default=2, help="racks in each of the two rows, of 32 GPUs")
    parser.add_argument("--step", type=float, default=10.0, help="seconds between samples")
    parser.add_argument("--budgets", type=float, nargs="+", default=(0.2, 1.0, 5.0))
    parser.add_argument("--jobs", type=int, default=1, help="halls at a time, each in a process")
    args = parser.parse_args(argv)
    life = Life(args.days, args.racks, args.step, tuple(args.budgets))
    everything: list[Told] = []
    print(f"{'seed':>6} {'budget':>7} {'pages':>6} {'tickets':>8} {'early':>6}  a day for a thousand GPUs (or fewer)")
    with ProcessPoolExecutor(args.jobs) as pool:
        for several in pool.map(partial(lived, life=life), args.seeds):
            for one in several:
                print(
                    f"{one.seed:>6} {one.budget:>7g} {one.pages:>6} {one.tickets:>8} {one.early:>6}  {one.a_day:.2f} "
                    f"{dict(one.rules) or ''}",
                    flush=True,
                )
            everything += several
    for budget in life.budgets:
        mine = [one for one in everything if one.budget == budget]
        mean = sum(one.a_day for one in mine) / len(mine)
        days = sum(one.days for one in mine)
        verdict = "kept" if mean <= budget else "within a factor of two" if mean <= 2 * budget else "BROKEN"
        print(f"budget {budget:g}: {mean:.2f} false a day over {days:g} days of {life.gpus} GPUs: {verdict}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
