"""How often ``coldaisle score`` calls in lives of eight metrics in which nothing is planted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.planted import Planted, judged, options, show

Floats = NDArray[np.float64]
Rng = np.random.Generator
SEEDS = 3
ROWS, METRICS, DAY = 10_000, 8, 1440
DAYS = ROWS / DAY


def _follow(steps: Floats, kept: float) -> Floats:
    """Return a first-order autoregression of ``steps``, of which each row keeps a share of the row before."""
    values = np.empty_like(steps)
    now = np.zeros_like(steps[0])
    for row, step in enumerate(steps):
        now = kept * now + step
        values[row] = now
    return values


def strangers(rng: Rng) -> Floats:
    """Metrics that have nothing to do with each other."""
    return _follow(rng.normal(0.0, 1.0, (ROWS, METRICS)), 0.9)


def walks(rng: Rng) -> Floats:
    """Random walks, which seem to go together for hours."""
    return np.cumsum(rng.normal(0.0, 1.0, (ROWS, METRICS)), axis=0)


def slow(rng: Rng) -> Floats:
    """Metrics that take half a day to return to where they belong."""
    return _follow(rng.normal(0.0, 1.0, (ROWS, METRICS)), 0.999)


def heavy(rng: Rng) -> Floats:
    """Log-normal noise, one row in a hundred ten times as high."""
    peaks = 1.0 + 9.0 * (rng.random((ROWS, METRICS)) < 0.01)
    return np.asarray(np.exp(rng.normal(0.0, 1.2, (ROWS, METRICS))) * peaks)


def counts(rng: Rng) -> Floats:
    """Counts, of which some are nearly always 0."""
    return rng.poisson([0.02, 0.1, 0.5, 1.0, 3.0, 10.0, 50.0, 2.0], (ROWS, METRICS)).astype(np.float64)


def jobs(rng: Rng) -> Floats:
    """Jobs of hours that come and go, each with its own share of every metric; four metrics answer slowly."""
    wanted, row = np.empty((ROWS, METRICS)), 0
    while row < ROWS:
        last = row + int(rng.exponential(250.0)) + 20
        busy = rng.random() < 0.7
        wanted[row:last] = rng.uniform(0.5, 1.0, METRICS) * rng.uniform(0.3, 1.0) if busy else 0.05
        row = last
    wanted[:, 4:] = wanted[0, 4:] + _follow(0.2 * (wanted[:, 4:] - wanted[0, 4:]), 0.8)
    return 100.0 * wanted + rng.normal(0.0, 1.0, (ROWS, METRICS))


def days(rng: Rng) -> Floats:
    """Daily waves, each with its own phase; half of the metrics rest at week-ends."""
    at = np.arange(ROWS)[:, None] / DAY
    one, two = rng.random((2, METRICS))
    waves = 10.0 * np.sin(2.0 * np.pi * (at + one)) + 3.0 * np.sin(4.0 * np.pi * (at + two))
    values = waves + _follow(rng.normal(0.0, 0.5, (ROWS, METRICS)), 0.95)
    values[:, METRICS // 2 :] *= np.where(np.arange(ROWS) // DAY % 7 < 5, 1.0, 0.4)[:, None]
    return np.asarray(values)


def settings(rng: Rng) -> Floats:
    """A constant, a setting that is changed every other day, a counter, a rounded metric and four that go together."""
    load = _follow(rng.normal(0.0, 1.0, (ROWS, 1)), 0.98)
    values = load + rng.normal(0.0, 0.5, (ROWS, METRICS))
    values[:, 0] = 5.0
    values[:, 1] = np.arange(ROWS) // (2 * DAY)
    values[:, 2] = np.cumsum(rng.poisson(3.0, ROWS))
    values[:, 3] = np.round(values[:, 3])
    return np.asarray(values)


def gaps(rng: Rng) -> Floats:
    """Metrics that go together; single values, a metric for hours and once all are missing."""
    load = _follow(rng.normal(0.0, 1.0, (ROWS, 1)), 0.98)
    values = load * rng.uniform(0.5, 2.0, METRICS) + rng.normal(0.0, 0.5, (ROWS, METRICS))
    values[rng.random((ROWS, METRICS)) < 0.05] = np.nan
    values[4000:4600, 2] = np.nan
    values[7000:7300] = np.nan
    return np.asarray(values)


def storms(rng: Rng) -> Floats:
    """All metrics are loud or calm together, for an hour or two."""
    volume = np.exp(_follow(rng.normal(0.0, 0.15, (ROWS, 1)), 0.99))
    return np.asarray(volume * (rng.normal(0.0, 1.0, (ROWS, METRICS)) + 2.0))


def bursts(rng: Rng) -> Floats:
    """Metrics that are 0 nine tenths of the time, each for itself."""
    lively = np.repeat(rng.random((ROWS // 50, METRICS)) < 0.1, 50, axis=0)
    return np.asarray(np.abs(_follow(rng.normal(0.0, 1.0, (ROWS, METRICS)), 0.7)) * lively)


def shifts(rng: Rng) -> Floats:
    """Three modes by turns, eight hours each, in which every metric has another level."""
    modes = rng.normal(0.0, 5.0, (3, METRICS))[np.arange(ROWS) // 480 % 3]
    wander = _follow(rng.normal(0.0, 0.3, (ROWS, 1)), 0.95)
    return np.asarray(modes + wander + rng.normal(0.0, 0.5, (ROWS, METRICS)))


KINDS: tuple[Callable[[Rng], Floats], ...] = (
    strangers, walks, slow, heavy, counts, jobs, days, settings, gaps, storms, bursts, shifts,
)  # fmt: skip


def main() -> None:
    """Print a line for each kind."""
    args = options(__doc__, SEEDS)
    rows: dict[str, list[dict[str, float]]] = {}
    for kind in KINDS:
        for seed in range(args.seeds):
            values = kind(np.random.default_rng(seed))
            marks = judged(Planted(values, np.zeros(len(values), np.bool_)), 60, args.budget)
            rows.setdefault(f"{kind.__name__}: {kind.__doc__}", []).append({"false/day": marks["false/file"] / DAYS})
    show(rows, args)
    print(f"mean {np.mean([one['false/day'] for each in rows.values() for one in each]):.2f} a day")


if __name__ == "__main__":
    main()
