"""Whether stated probabilities come true on normal life, and whether the alert budget is kept."""

from __future__ import annotations

import argparse
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection_marks import alarms
from benchmarks.score_real_data import START, Case, cases
from coldaisle.clock import SECOND
from coldaisle.detector import Batch, Traits
from models.calibrate import TailCalibrator
from models.ensemble import Ensemble
from models.level import Level

Floats = NDArray[np.float64]

STATED = (1e-1, 1e-2, 1e-3, 1e-4)
BUDGETS = (0.05, 0.2, 1.0)
SETS = ("smd", "asd", "ms_cloud")
SETTLED_ROWS = 1000
"""Rows before the pipeline's calibrator is held to its word: its detectors warm up, and a day must have been seen."""


class Normal(NamedTuple):
    """Normal life of one entity."""

    values: Floats  # [rows, metrics]
    usual: NDArray[np.bool_]  # [rows] not labelled
    interval_seconds: int


def normal(case: Case) -> Normal:
    """Return the half without incidents where a set has one, else all rows, those not labelled being usual."""
    if case.train is not None:
        return Normal(case.train, np.ones(len(case.train), np.bool_), case.interval_seconds)
    return Normal(case.values, ~case.labels, case.interval_seconds)


class Stated(NamedTuple):
    """Tail probabilities that were stated on normal life, and how often people would have been called."""

    tails: Floats  # NaN = nothing stated
    false_events_per_day: float


def of_rows(entity: Normal, budget: float) -> Stated:
    """Return what ``coldaisle score`` states of an entity, row by row, from nothing before."""
    metrics = entity.values.shape[1]
    scorer = Ensemble(metrics, budget)
    times = START + np.arange(len(entity.values)) * entity.interval_seconds * SECOND
    found = scorer.score(times, entity.values)
    called = alarms(~entity.usual, found.flagged)
    days = len(found.tail) * entity.interval_seconds / 86_400.0
    return Stated(found.tail[entity.usual], called.false / days)


def of_series(entities: list[Normal]) -> Floats:
    """Return what level and calibrator state of every sample; a metric of all entities is a family."""
    rows = min(len(entity.values) for entity in entities)
    metrics = entities[0].values.shape[1]
    values = np.concatenate([entity.values[:rows] for entity in entities], axis=1)
    ids = np.arange(values.shape[1])
    family = (ids % metrics).astype(np.int32)
    level, calibrator = Level(), TailCalibrator(1, metrics)
    level.admit(ids, Traits(np.zeros(len(ids), np.int8), family, np.full(len(ids), -1, np.int32)))
    every, tails = np.ones(len(ids)), np.full(values.shape, np.nan)
    for row in range(rows):
        batch = Batch(ids, np.full(len(ids), START + row * entities[0].interval_seconds * SECOND), values[row])
        score = level.score(batch).score
        tails[row] = calibrator.tail(0, family, score)
        level.learn(batch, every)
        calibrator.learn(0, family, np.nan_to_num(score), (~np.isnan(score)).astype(np.float64))
    return np.asarray(tails[SETTLED_ROWS:].ravel(), np.float64)


def reliability(tails: Floats) -> str:
    """Return a line: for each stated probability, the share that was stated to be as rare, over what was stated."""
    told = tails[~np.isnan(tails)]
    cells = []
    for stated in STATED:
        observed = float((told <= stated).mean()) if len(told) else np.nan
        enough = len(told) * stated >= 5.0
        cells.append(f"{observed / stated:8.2f}" if enough else f"{'-':>8}")
    return " ".join(cells) + f"   {len(told):,}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=list(SETS))
    parser.add_argument("--most", type=int, default=None, help="entities of each set")
    args = parser.parse_args()
    heads = " ".join(f"{stated:8g}" for stated in STATED)
    print("observed share over stated probability on normal life (1 = honest, above 1 = cries too often)")
    print(f"{'set':10} {'what':16} {heads}   stated")
    budgets: list[str] = []
    for which in args.sets:
        entities = [normal(case) for case in list(cases(which))[: args.most]]
        for budget in BUDGETS:
            stated = [of_rows(entity, budget) for entity in entities]
            events = np.array([one.false_events_per_day for one in stated])
            if budget == BUDGETS[1]:
                print(f"{which:10} {'rows, score':16} {reliability(np.concatenate([one.tails for one in stated]))}")
            budgets.append(
                f"{which:10} {budget:8g} {events.mean():12.3f} {events.mean() / budget:9.2f} {np.median(events):8.3f} "
                f"{events.max():8.3f}"
            )
        if which != "ms_cloud":
            print(f"{which:10} {'samples, level':16} {reliability(of_series(entities))}")
    print("\nfalse events a day and entity against the budget")
    print(f"{'set':10} {'budget':>8} {'measured':>12} {'ratio':>9} {'median':>8} {'worst':>8}")
    print("\n".join(budgets))


if __name__ == "__main__":
    main()
