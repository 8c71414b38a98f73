"""Whether ``coldaisle score`` finds what is planted in eight metrics that go together, beside a PCA."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection_marks import vus_pr
from benchmarks.planted import Planted, judged, options, show
from benchmarks.score_real_data import pca_scores

Floats = NDArray[np.float64]
Rng = np.random.Generator
SEEDS = 5
ROWS, METRICS, DAY = 10_000, 8, 1440
LEARNT = 3000
"""The PCA is fitted to so many first rows, in which nothing is planted."""
FIRST, LAST = 6000, 9000


def life(rng: Rng) -> Floats:
    """Return a week of one-minute rows of eight metrics that follow one load, each with its own lag and noise."""
    at = np.arange(ROWS)
    wander = np.zeros(ROWS)
    steps = rng.normal(0.0, 0.05, ROWS)
    for row in range(1, ROWS):
        wander[row] = 0.97 * wander[row - 1] + steps[row]
    load = 0.5 + 0.3 * np.sin(2.0 * np.pi * at / DAY) + wander
    metrics = []
    for _ in range(METRICS):
        answer = np.exp(-np.arange(10) / rng.uniform(0.5, 5.0))
        late = np.convolve(np.append(np.full(9, load[0]), load), answer / answer.sum(), "valid")
        metrics.append(rng.uniform(10.0, 60.0) + rng.uniform(5.0, 30.0) * late)
    return np.stack(metrics, axis=1) + rng.normal(0.0, 0.3, (ROWS, METRICS)) * rng.uniform(0.5, 3.0, METRICS)


def one_shifts(values: Floats, rows: slice, rng: Rng) -> None:
    """One metric stands three deviations higher."""
    metric = int(rng.integers(METRICS))
    values[rows, metric] += 3.0 * values[:, metric].std()


def three_shift(values: Floats, rows: slice, rng: Rng) -> None:
    """Three metrics stand 1.5 deviations higher."""
    some = rng.choice(METRICS, 3, replace=False)
    values[rows, some] += 1.5 * values[:, some].std(axis=0)


def one_drifts(values: Floats, rows: slice, rng: Rng) -> None:
    """One metric climbs by four deviations."""
    metric = int(rng.integers(METRICS))
    values[rows, metric] += np.linspace(0.0, 4.0 * values[:, metric].std(), rows.stop - rows.start)


def one_is_noisy(values: Floats, rows: slice, rng: Rng) -> None:
    """One metric is loud."""
    metric = int(rng.integers(METRICS))
    values[rows, metric] += rng.normal(0.0, 1.5 * values[:, metric].std(), rows.stop - rows.start)


def one_is_late(values: Floats, rows: slice, rng: Rng) -> None:
    """One metric follows what the load was twelve hours ago."""
    metric = int(rng.integers(METRICS))
    values[rows, metric] = values[rows.start - 720 : rows.stop - 720, metric].copy()


def one_spikes(values: Floats, rows: slice, rng: Rng) -> None:
    """One metric is five deviations higher for two rows."""
    metric = int(rng.integers(METRICS))
    values[rows.start : rows.start + 2, metric] += 5.0 * values[:, metric].std()


def one_is_frozen(values: Floats, rows: slice, rng: Rng) -> None:
    """One metric stands still."""
    metric = int(rng.integers(METRICS))
    values[rows, metric] = values[rows.start, metric]


def all_spike(values: Floats, rows: slice, rng: Rng) -> None:
    """All metrics are three deviations higher for two rows."""
    values[rows.start : rows.start + 2] += 3.0 * values.std(axis=0)


KINDS: tuple[Callable[[Floats, slice, Rng], None], ...] = (
    one_shifts, three_shift, one_drifts, one_is_noisy, one_is_late, one_spikes, one_is_frozen, all_spike,
)  # fmt: skip


def plant(kind: Callable[[Floats, slice, Rng], None], rng: Rng) -> Planted:
    """Return a life with one event of one to two hours."""
    values = life(rng)
    before = values.copy()
    first = int(rng.integers(FIRST, LAST))
    kind(values, slice(first, first + int(rng.integers(60, 120))), rng)
    return Planted(values, np.asarray((values != before).any(axis=1)))


def main() -> None:
    """Print a line for each kind."""
    args = options(__doc__, SEEDS)
    rows: dict[str, list[dict[str, float]]] = {}
    for kind in KINDS:
        for seed in range(args.seeds):
            case = plant(kind, np.random.default_rng(seed))
            marks = judged(case, 60, args.budget)
            pca = pca_scores(case.values[:LEARNT], case.values[LEARNT:])
            marks["VUS-PR, PCA"] = vus_pr(case.labels[LEARNT:], pca)
            rows.setdefault(f"{kind.__name__}: {kind.__doc__}", []).append(marks)
    show(rows, args)


if __name__ == "__main__":
    main()
