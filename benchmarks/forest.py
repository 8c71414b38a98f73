"""Rows a second of an isolation forest beside scikit-learn's own scoring of the same rows, in the same run."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

from models.forest_kernel import Kernel
from models.forest_reasons import Reasons
from models.forest_trees import LEAF, Trees, average_path, flatten, path_lengths

FEATURES = 30
LEARNT = 20_000
Rows = NDArray[np.float32]
Way = Callable[[Rows], NDArray[np.float64]]


def per_tree(model: Any) -> Way:
    """Return scoring by scikit-learn's compiled ``tree_.apply``, tree by tree, without what surrounds it."""
    lengths = [
        (estimator.tree_, path_lengths(trees))
        for estimator, trees in zip(model.estimators_, _each(flatten(model)), strict=True)
    ]
    usual = len(lengths) * float(average_path(np.array([model.max_samples_]))[0])

    def score(rows: Rows) -> NDArray[np.float64]:
        total = np.zeros(len(rows))
        for tree, length in lengths:
            total += length[tree.apply(rows)]
        return np.asarray(-(2.0 ** (-total / usual)))

    return score


def level_by_level(trees: Trees) -> Way:
    """Return scoring that follows every row down every tree with NumPy look-ups, one level at a time."""
    base = np.repeat(trees.starts, trees.sizes)
    leaf = trees.feature == LEAF
    own = np.arange(len(leaf))
    left, right = np.where(leaf, own, base + trees.left), np.where(leaf, own, base + trees.right)
    feature, length = np.where(leaf, 0, trees.feature).astype(np.int64), path_lengths(trees)
    usual = len(trees.sizes) * float(average_path(trees.samples[:1])[0])

    def score(rows: Rows) -> NDArray[np.float64]:
        found = np.empty(len(rows))
        for start in range(0, len(rows), 1024):
            part = rows[start : start + 1024]
            row = np.arange(len(part))[:, None]
            node = np.tile(trees.starts, (len(part), 1))
            for _ in range(8):
                goes = part[row, feature[node]] > trees.threshold[node]
                node = np.where(goes, right[node], left[node])
            found[start : start + len(part)] = length[node].sum(axis=1)
        return np.asarray(-(2.0 ** (-found / usual)))

    return score


def _each(trees: Trees) -> list[Trees]:
    stops = np.cumsum(trees.sizes)
    spans = [slice(stop - size, stop) for size, stop in zip(trees.sizes.tolist(), stops.tolist(), strict=True)]
    return [
        Trees(
            trees.sizes[number : number + 1], trees.feature[span], trees.threshold[span], trees.left[span],
            trees.right[span], trees.samples[span],
        )
        for number, span in enumerate(spans)
    ]  # fmt: skip


def rates(ways: dict[str, Way], rows: Rows, seconds: float) -> dict[str, float]:
    """Return rows a second by way; they take turns, so that what else runs here bears on all alike; the best counts."""
    best = dict.fromkeys(ways, np.inf)
    began = time.perf_counter()
    while time.perf_counter() - began < seconds or np.isinf(list(best.values())).any():
        for name, way in ways.items():
            start = time.process_time()
            way(rows)
            best[name] = min(best[name], max(time.process_time() - start, 1e-9))
    return {name: len(rows) / taken for name, taken in best.items()}


def main(argv: Sequence[str]) -> int:
    """Print a row a size of batch; return 1 where the scores differ from scikit-learn's."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks forest", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[1, 64, 1_000, 10_000, 100_000])
    parser.add_argument("--trees", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=8.0, help="for each size")
    args = parser.parse_args(argv)
    random = np.random.default_rng(0)
    model = IsolationForest(n_estimators=args.trees, max_samples=256, random_state=1, n_jobs=1)
    model.fit(random.normal(size=(LEARNT, FEATURES)).astype(np.float32))
    trees = flatten(model)
    start = time.perf_counter()
    kernel = Kernel(trees, FEATURES)
    print(
        f"{args.trees} trees of 256 samples, {len(trees.feature):,} nodes, {FEATURES} features; "
        f"made ready in {1e3 * (time.perf_counter() - start):.0f} ms; one thread, rows a second of processor time"
    )
    ways: dict[str, Way] = {
        "ours": kernel.score,
        "scikit-learn": model.score_samples,
        "its trees' apply": per_tree(model),
        "NumPy look-ups": level_by_level(trees),
    }
    print(f"{'rows':>8}" + "".join(f"{name:>18}" for name in ways) + f"{'ours / sklearn':>16}{'difference':>12}")
    worst = 0.0
    for count in args.rows:
        rows = (2.0 * random.normal(size=(count, FEATURES))).astype(np.float32)
        some = rows[:10_000]
        worst = max(worst, float(np.abs(kernel.score(some) - model.score_samples(some)).max()))
        found = rates(ways, rows, args.seconds)
        print(
            f"{count:8}" + "".join(f"{rate:18,.0f}" for rate in found.values())
            + f"{found['ours'] / found['scikit-learn']:16.1f}{worst:12.0e}", flush=True
        )  # fmt: skip
    strange = (3.0 * random.normal(size=(100, FEATURES))).astype(np.float32)
    reasons = Reasons(trees)
    start = time.process_time()
    reasons.shares(strange)
    print(
        f"reasons: {1e3 * (time.process_time() - start) / len(strange):.2f} ms a row, for rows that are findings only"
    )
    return 1 if worst > 1e-6 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
