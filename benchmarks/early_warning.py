"""How good early warnings are in simulated halls: precision, lead before a fault is full, stated against come true."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from cli.settings import ModelsConfig, Settings
from cli.trained import forecaster_of
from coldaisle.anomaly import Anomaly
from coldaisle.clock import HOUR, MINUTE
from coldaisle.detector import Ids
from coldaisle.prediction import Outcome, Prediction, by_rule, calibration, median, score
from coldaisle.selfstats import SelfStats
from coldaisle.store.recording import Truth
from collectors.simulator.config import SimulatorConfig
from collectors.simulator.simulator import Simulator
from models.early_warning import EarlyWarning
from models.early_warning_signs import HAZARDS
from models.limit_warning import LimitWarning
from pipeline.engine_settings import EngineSettings
from pipeline.predictions import Foresight
from pipeline.rounds import Round
from pipeline.rules import load
from pipeline.watch import Watch, ground_of

SEEDS = (301, 302, 303, 304, 305, 306, 307, 308, 309, 310)
"""Never looked at while signs and rules were made; that was done with 101 to 110 and 201 to 210."""
RULES = Path(__file__).resolve().parents[1] / "config" / "rules"
FIRST_AFTER_SECONDS = 1800.0
TOGETHER = 10 * MINUTE


class Shape(NamedTuple):
    """What kind of hall, and of life in it."""

    hours: float
    faults_per_hour: float
    build_up_minutes: tuple[float, float]
    step_seconds: float

    def config(self, seed: int) -> SimulatorConfig:
        """Return two rows (air and liquid) of eight nodes each."""
        shortest, longest = self.build_up_minutes
        return SimulatorConfig(
            rows=2, racks_per_row=2, nodes_per_rack=4, seed=seed, step_seconds=self.step_seconds,
            fault_rate=max(self.faults_per_hour, 0.001), faults="default" if self.faults_per_hour > 0 else "none",
            build_up_seconds=(60.0 * shortest, 60.0 * longest), duration_seconds=3600.0 * self.hours,
            first_fault_after_seconds=FIRST_AFTER_SECONDS,
        )  # fmt: skip


@dataclass(frozen=True)
class Lived:
    """What was predicted in a hall, and what really was."""

    predictions: list[Prediction]
    truth: list[Truth]
    gpu_days: float
    leads: dict[str, list[float | None]] = field(default_factory=dict)  # of each fault that builds up; None = untold


class _Deaf:
    """A court that judges nothing: warnings come from the watch alone."""

    def reset(self, ids: Ids) -> None:
        """Nothing is remembered."""

    def admit(self, ids: Ids) -> None:
        """Nobody is admitted."""

    def withhold(self, ids: Ids, at: int) -> None:
        """Nothing is believed anyway."""

    def accept(self, ids: Ids, at: int) -> None:
        """Nothing was found strange."""

    def set_budget(self, gpus: int, series: int) -> None:
        """Nothing is spent."""

    def hear(self, _end: int, _samples: Round) -> list[Anomaly]:
        """Find nothing."""
        return []

    def gone(self, _ids: Ids, _now: int) -> list[Anomaly]:
        """Close nothing."""
        return []


def lived(seed: int, shape: Shape, models: Path | None = None) -> Lived:
    """Let a hall live, and return what was predicted of it; with the forecaster that decides in ``models``."""
    simulator = Simulator(shape.config(seed))
    topology, settings = simulator.topology(), EngineSettings()
    rules = load(RULES)
    house = Settings(models=ModelsConfig(folder=models))
    forecaster = None if models is None else forecaster_of(house, rules, SelfStats())
    foresight = Foresight((EarlyWarning(), LimitWarning(forecaster)), warn_probability=settings.warn_probability)
    ground = ground_of(topology, settings)
    watch = Watch(ground, topology, rules, settings, SelfStats(), lambda _groups: _Deaf(), foresight)
    known: dict[str, Prediction] = {}
    for step in simulator.steps():
        watch.observe(step.events)
        found = watch.process([step.block], step.now) if len(step.block) else watch.advance(step.now)
        known.update((each.prediction.id, each.prediction) for each in found if each.prediction is not None)
    days = len(topology.of_kind("gpu")) * shape.hours * HOUR / (24 * HOUR)
    told = list(known.values())
    return Lived(told, simulator.truth, days, _leads(told, simulator.truth))


def _leads(predictions: list[Prediction], truth: list[Truth]) -> dict[str, list[float | None]]:
    """Return in minutes how long before each fault that builds up was full people were warned of its own entity."""
    leads: dict[str, list[float | None]] = {}
    for fault in truth:
        if fault.full_at is None:
            continue
        mine = [
            one
            for one in predictions
            if one.warned_at is not None
            and one.entity in (fault.entity, *fault.affected)
            and fault.start <= one.warned_at <= (fault.end or fault.full_at)
        ]
        # A warning of the culprit counts before one of what it touches.
        own = [one for one in mine if one.entity == fault.entity] or mine
        first = max(((fault.full_at - one.stated_at) / MINUTE for one in own), default=None)
        leads.setdefault(fault.fault, []).append(first)
    return leads


def _together(predictions: list[Prediction]) -> list[float]:
    """Return the share that came true of each run of warnings of one kind: one row that warms is one warning."""
    shares = []
    for rule in by_rule(predictions):
        told = [one for one in predictions if one.kind == rule and one.warned_at is not None and one.settled]
        several: list[Prediction] = []
        for one in sorted(told, key=lambda each: each.stated_at):
            if several and one.stated_at - several[-1].stated_at > TOGETHER:
                shares.append(sum(each.outcome is Outcome.HIT for each in several) / len(several))
                several = []
            several.append(one)
        if several:
            shares.append(sum(each.outcome is Outcome.HIT for each in several) / len(several))
    return shares


def report(runs: Sequence[Lived]) -> str:
    """Return the marks of all halls together."""
    every = [one for run in runs for one in run.predictions]
    told = [one for one in every if one.warned_at is not None]
    devices = {hazard.rule for hazard in HAZARDS}
    groups = {
        "all warnings": told,
        "of faults": [one for one in told if one.rule in devices],
        "of limits": [one for one in told if one.rule not in devices],
    }
    lines = [f"{'':24} {'settled':>8} {'hits':>6} {'precision':>10} {'lead min':>9} {'withdrawn':>10}"]
    for name, some in (
        *groups.items(),
        *((f"  {rule}", [one for one in told if one.kind == rule]) for rule in by_rule(told)),
    ):
        fared = score(some)
        precision = "-" if fared.precision is None else f"{fared.precision:.3f}"
        lead = "-" if fared.median_lead_seconds is None else f"{fared.median_lead_seconds / 60:.1f}"
        settled = fared.hits + fared.misses
        lines.append(f"{name:24} {settled:>8} {fared.hits:>6} {precision:>10} {lead:>9} {fared.withdrawn:>10}")
    shares = [share for run in runs for share in _together(run.predictions)]
    if shares:
        mean = sum(shares) / len(shares)
        lines.append(
            f"warnings of one kind within {TOGETHER / MINUTE:.0f} min count once: {len(shares)}, {mean:.3f} true"
        )
    lines += ["", "faults that build up: minutes from the warning of the culprit to the full fault; - = no warning"]
    leads = [lead for run in runs for some in run.leads.values() for lead in some]
    for fault in sorted({fault for run in runs for fault in run.leads}):
        each = [lead for run in runs for lead in run.leads.get(fault, [])]
        lines.append(f"  {fault:22} " + " ".join("-" if lead is None else f"{lead:.0f}" for lead in each))
    warned = [lead for lead in leads if lead is not None]
    if leads:
        middle, with_untold = median(warned), median([lead or 0.0 for lead in leads])
        lines.append(
            f"warned of {len(warned)} of {len(leads)}, median lead {middle or 0:.0f} min "
            f"({with_untold:.0f} min where one without a warning counts as 0)"
        )
    lines += ["", "stated, and came true (all predictions, those nobody was told of among them)"]
    lines += [
        f"  {one.low:.0%} to {one.high:.0%}: {one.settled:>4}, stated {one.stated:.2f}, {one.came_true:.2f} true"
        for one in calibration(every)
    ]
    days = sum(run.gpu_days for run in runs)
    unasked = sum(one.outcome is Outcome.MISS for one in told)
    lines += [
        "",
        f"{unasked} false warnings in {days:.0f} GPU days: {1000 * unasked / max(days, 1e-9):.2f} per 1,000 GPUs a day",
    ]
    return "\n".join(lines)


def main(argv: Sequence[str]) -> int:
    """Print the marks of halls with faults, or with ``--rate 0`` of halls in which nothing breaks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks early_warning", description=__doc__)
    parser.add_argument("seeds", nargs="*", type=int, default=list(SEEDS))
    parser.add_argument("--hours", type=float, default=6.0)
    parser.add_argument("--rate", type=float, default=6.0, help="faults begun an hour; 0 = none")
    parser.add_argument("--step", type=float, default=10.0, help="seconds between samples")
    parser.add_argument("--build-up", type=float, nargs=2, default=(30.0, 120.0), metavar=("SHORTEST", "LONGEST"))
    parser.add_argument("--models", type=Path, metavar="DIR", help="a registry: warn with its forecaster too")
    parser.add_argument("--jobs", type=int, default=1, help="halls at a time, each in a process")
    args = parser.parse_args(argv)
    shape = Shape(args.hours, args.rate, (args.build_up[0], args.build_up[1]), args.step)
    with ProcessPoolExecutor(args.jobs) as pool:
        runs = list(pool.map(partial(lived, shape=shape, models=args.models), args.seeds))
    print(report(runs))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
