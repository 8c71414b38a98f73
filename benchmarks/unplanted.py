"""How often ``coldaisle score`` calls in lives of eight metrics in which nothing is planted."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.detection_marks import alarms
from benchmarks.score_real_data import START
from coldaisle.clock import SECOND
from models.ensemble import Ensemble

Floats = NDArray[np.float64]
Rng = np.random.Generator
METRICS, DAY = 8, 1440
WEEK = 7 * DAY


def _follow(steps: Floats, kept: float) -> Floats:
    """Return a first-order autoregression of ``steps``, of which each row keeps a share of the row before."""
    values = np.empty_like(steps)
    now = np.zeros_like(steps[0])
    for row, step in enumerate(steps):
        now = kept * now + step
        values[row] = now
    return values


def strangers(rng: Rng, rows: int) -> Floats:
    """Metrics that have nothing to do with each other."""
    return _follow(rng.normal(0.0, 1.0, (rows, METRICS)), 0.9)


def walks(rng: Rng, rows: int) -> Floats:
    """Random walks, which seem to go together for hours."""
    return np.cumsum(rng.normal(0.0, 1.0, (rows, METRICS)), axis=0)


def slow(rng: Rng, rows: int) -> Floats:
    """Metrics that take half a day to return to where they belong."""
    return _follow(rng.normal(0.0, 1.0, (rows, METRICS)), 0.999)


def heavy(rng: Rng, rows: int) -> Floats:
    """Log-normal noise, one row in a hundred ten times as high."""
    peaks = 1.0 + 9.0 * (rng.random((rows, METRICS)) < 0.01)
    return np.asarray(np.exp(rng.normal(0.0, 1.2, (rows, METRICS))) * peaks)


def counts(rng: Rng, rows: int) -> Floats:
    """Counts, of which some are nearly always 0."""
    return rng.poisson([0.02, 0.1, 0.5, 1.0, 3.0, 10.0, 50.0, 2.0], (rows, METRICS)).astype(np.float64)


def jobs(rng: Rng, rows: int) -> Floats:
    """Jobs of hours that come and go, each with its own share of every metric; four metrics answer slowly."""
    wanted, row = np.empty((rows, METRICS)), 0
    while row < rows:
        last = row + int(rng.exponential(250.0)) + 20
        busy = rng.random() < 0.7
        wanted[row:last] = rng.uniform(0.5, 1.0, METRICS) * rng.uniform(0.3, 1.0) if busy else 0.05
        row = last
    wanted[:, 4:] = wanted[0, 4:] + _follow(0.2 * (wanted[:, 4:] - wanted[0, 4:]), 0.8)
    return 100.0 * wanted + rng.normal(0.0, 1.0, (rows, METRICS))


def days(rng: Rng, rows: int) -> Floats:
    """Daily waves, each with its own phase; half of the metrics rest at week-ends."""
    at = np.arange(rows)[:, None] / DAY
    one, two = rng.random((2, METRICS))
    waves = 10.0 * np.sin(2.0 * np.pi * (at + one)) + 3.0 * np.sin(4.0 * np.pi * (at + two))
    values = waves + _follow(rng.normal(0.0, 0.5, (rows, METRICS)), 0.95)
    values[:, METRICS // 2 :] *= np.where(np.arange(rows) // DAY % 7 < 5, 1.0, 0.4)[:, None]
    return np.asarray(values)


def settings(rng: Rng, rows: int) -> Floats:
    """A constant, a setting that is changed every other day, a counter, a rounded metric and four that go together."""
    load = _follow(rng.normal(0.0, 1.0, (rows, 1)), 0.98)
    values = load + rng.normal(0.0, 0.5, (rows, METRICS))
    values[:, 0] = 5.0
    values[:, 1] = np.arange(rows) // (2 * DAY)
    values[:, 2] = np.cumsum(rng.poisson(3.0, rows))
    values[:, 3] = np.round(values[:, 3])
    return np.asarray(values)


def gaps(rng: Rng, rows: int) -> Floats:
    """Metrics that go together; single values, a metric for hours and once all are missing."""
    load = _follow(rng.normal(0.0, 1.0, (rows, 1)), 0.98)
    values = load * rng.uniform(0.5, 2.0, METRICS) + rng.normal(0.0, 0.5, (rows, METRICS))
    values[rng.random((rows, METRICS)) < 0.05] = np.nan
    values[4000:4600, 2] = np.nan
    values[7000:7300] = np.nan
    return np.asarray(values)


def storms(rng: Rng, rows: int) -> Floats:
    """All metrics are loud or calm together, for an hour or two."""
    volume = np.exp(_follow(rng.normal(0.0, 0.15, (rows, 1)), 0.99))
    return np.asarray(volume * (rng.normal(0.0, 1.0, (rows, METRICS)) + 2.0))


def bursts(rng: Rng, rows: int) -> Floats:
    """Metrics that are 0 nine tenths of the time, each for itself."""
    lively = np.repeat(rng.random((rows // 50 + 1, METRICS)) < 0.1, 50, axis=0)[:rows]
    return np.asarray(np.abs(_follow(rng.normal(0.0, 1.0, (rows, METRICS)), 0.7)) * lively)


def shifts(rng: Rng, rows: int) -> Floats:
    """Three modes by turns, eight hours each, in which every metric has another level."""
    modes = rng.normal(0.0, 5.0, (3, METRICS))[np.arange(rows) // 480 % 3]
    wander = _follow(rng.normal(0.0, 0.3, (rows, 1)), 0.95)
    return np.asarray(modes + wander + rng.normal(0.0, 0.5, (rows, METRICS)))


KINDS: tuple[Callable[[Rng, int], Floats], ...] = (
    strangers, walks, slow, heavy, counts, jobs, days, settings, gaps, storms, bursts, shifts,
)  # fmt: skip


def calls_a_day(values: Floats, budget: float) -> list[float]:
    """Return the false events a day of each week."""
    times = START + np.arange(len(values)) * 60 * SECOND
    flagged = Ensemble(values.shape[1], budget).score(times, values).flagged
    weeks = flagged.reshape(-1, WEEK)
    return [alarms(np.zeros(WEEK, np.bool_), week).false / 7.0 for week in weeks]


def main() -> None:
    """Print a line for each kind, a column for each week."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--budget", type=float, default=0.2)
    parser.add_argument("--weeks", type=int, default=1)
    args = parser.parse_args()
    table = {
        f"{kind.__name__}: {kind.__doc__}": np.mean(
            [
                calls_a_day(kind(np.random.default_rng(seed), args.weeks * WEEK), args.budget)
                for seed in range(args.seeds)
            ],
            axis=0,
        )
        for kind in KINDS
    }
    frame = pd.DataFrame(table, index=[f"week {number + 1}" for number in range(args.weeks)]).T
    print(f"false events a day, {args.seeds} lives a kind, budget {args.budget:g}")
    print(pd.concat([frame, frame.mean().rename("mean").to_frame().T]).round(2).to_string())


if __name__ == "__main__":
    main()
