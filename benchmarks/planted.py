"""Whether ``coldaisle score`` finds what is planted in single metrics with a daily life, or in noise."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.detection_marks import alarms, vus_pr
from benchmarks.score_real_data import START
from coldaisle.clock import SECOND
from models.ensemble import Ensemble

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
SEEDS = 10
DAY = 288
"""Rows a day; one each five minutes."""
DAYS = 14
FIRST_DAY, LAST_DAY = 9, 12
STARTS, ENDS = 108, 216
"""A job runs between these rows of a day."""


class Planted(NamedTuple):
    """One metric, and where it is strange."""

    values: Floats  # [rows] or [rows, metrics]
    labels: Flags  # [rows]


def _job(rng: np.random.Generator) -> tuple[Floats, slice]:
    """Return a metric that is 80 while a job runs and 20 otherwise, and the job of one of the later days."""
    phase = np.arange(DAYS * DAY) % DAY
    busy = (phase >= STARTS) & (phase < ENDS)
    noise = rng.normal(0.0, rng.uniform(0.5, 2.5), len(phase)) * np.where(busy, 2.0, 1.0)
    first = int(rng.integers(FIRST_DAY, LAST_DAY + 1)) * DAY
    return np.where(busy, 80.0, 20.0) + noise, slice(first + STARTS, first + ENDS)


def _planted(values: Floats, where: slice, instead: Floats | float) -> Planted:
    labels = np.zeros(len(values), np.bool_)
    values[where], labels[where] = instead, True
    return Planted(values, labels)


def higher(rng: np.random.Generator) -> Planted:
    """The job draws more than on other days."""
    values, where = _job(rng)
    return _planted(values, where, values[where] + rng.uniform(20.0, 60.0))


def lower(rng: np.random.Generator) -> Planted:
    """The job draws less."""
    values, where = _job(rng)
    return _planted(values, where, values[where] - rng.uniform(25.0, 40.0))


def missing(rng: np.random.Generator) -> Planted:
    """The job does not run."""
    values, where = _job(rng)
    return _planted(values, where, 20.0 + rng.normal(0.0, 1.0, ENDS - STARTS))


def flat(rng: np.random.Generator) -> Planted:
    """One value stands where the job should run."""
    values, where = _job(rng)
    return _planted(values, where, rng.uniform(20.0, 50.0))


def early(rng: np.random.Generator) -> Planted:
    """The job begins four hours early."""
    values, where = _job(rng)
    return _planted(values, slice(where.start - 48, where.start), 80.0 + rng.normal(0.0, 2.0, 48))


def frozen(rng: np.random.Generator) -> Planted:
    """A sensor with noise, a daily wave and few digits stands still."""
    at = np.arange(DAYS * DAY)
    wave = 50.0 + 8.0 * np.sin(2.0 * np.pi * at / DAY) + rng.normal(0.0, 2.0, len(at))
    values = np.round(wave, int(rng.integers(1, 4)))
    first = int(rng.integers(FIRST_DAY * DAY, LAST_DAY * DAY))
    return _planted(values, slice(first, first + int(rng.integers(30, 120))), values[first])


def frozen_walk(rng: np.random.Generator) -> Planted:
    """A level that wanders without a period stands still."""
    steps = rng.normal(0.0, 1.0, DAYS * DAY)
    values = np.zeros(len(steps))
    for row in range(1, len(steps)):
        values[row] = 0.95 * values[row - 1] + steps[row]
    first = int(rng.integers(FIRST_DAY * DAY, LAST_DAY * DAY))
    return _planted(values, slice(first, first + int(rng.integers(30, 120))), values[first])


def denser(rng: np.random.Generator) -> Planted:
    """Spikes come three times as often."""
    at = np.arange(DAYS * DAY)
    noise = rng.normal(0.0, 0.1, len(at))
    values = np.where(at % 12 == 0, 20.0, 0.0) + noise
    first = int(rng.integers(FIRST_DAY, LAST_DAY + 1)) * DAY
    where = slice(first, first + 250)
    return _planted(values, where, np.where(at[where] % 4 == 0, 20.0, 0.0) + noise[where])


def nothing(rng: np.random.Generator) -> Planted:
    """Every day is like the others."""
    values, _ = _job(rng)
    return Planted(values, np.zeros(len(values), np.bool_))


KINDS: tuple[Callable[[np.random.Generator], Planted], ...] = (
    higher, lower, missing, flat, early, frozen, frozen_walk, denser, nothing,
)  # fmt: skip


def judged(planted: Planted, interval_seconds: int, budget: float) -> dict[str, float]:
    """Return how well the event was found; NaN where there is none."""
    values, labels = planted
    matrix = values.reshape(len(values), -1)
    times = START + np.arange(len(values)) * interval_seconds * SECOND
    found = Ensemble(matrix.shape[1], budget).score(times, matrix)
    called = alarms(labels, found.flagged)
    known = labels.any()
    return {
        "VUS-PR": vus_pr(labels, np.nan_to_num(found.score)) if known else np.nan,
        "found": called.found / called.events if known else np.nan,
        "delay, rows": float(np.median(called.delays)) if called.delays else np.nan,
        "false/file": called.false,
    }  # fmt: skip


def options(says: str | None, seeds: int) -> argparse.Namespace:
    """Return how many files of each kind are made, and the budget."""
    parser = argparse.ArgumentParser(description=says)
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--budget", type=float, default=0.2)
    return parser.parse_args()


def show(rows: dict[str, list[dict[str, float]]], args: argparse.Namespace) -> None:
    """Print the means, a line for each kind."""
    print(f"{args.seeds} files a kind, budget {args.budget:g} false events a day")
    print(pd.DataFrame({name: pd.DataFrame(marks).mean() for name, marks in rows.items()}).T.round(2).to_string())


def main() -> None:
    """Print a line for each kind."""
    args = options(__doc__, SEEDS)
    rows = {}
    for kind in KINDS:
        cases = [kind(np.random.default_rng(seed)) for seed in range(args.seeds)]
        rows[f"{kind.__name__}: {kind.__doc__}"] = [judged(case, 300, args.budget) for case in cases]
    show(rows, args)


if __name__ == "__main__":
    main()
