"""Scoring beside a bare decode loop and river's HalfSpaceTrees, in the same run."""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
from river.anomaly import HalfSpaceTrees

from cli import bench
from cli.progress import Progress


def half_space_trees(samples: int = 4000) -> float:
    """Return samples a second of river's HalfSpaceTrees with its defaults: one model a series, scored then taught."""
    values = np.random.default_rng(1).uniform(0.0, 1.0, samples).tolist()
    model = HalfSpaceTrees(seed=1)
    start = time.process_time()
    for value in values:
        model.score_one({"value": value})
        model.learn_one({"value": value})
    return samples / (time.process_time() - start)


def run(quick: bool = False) -> list[bench.Figure]:
    """Return the figures of ``coldaisle bench``, river's rate, and ours over river's and over bare decoding."""
    figures = bench.measure(bench.QUICK if quick else bench.FULL, Progress("bench", quiet=True))
    found = {figure.key: figure.value for figure in figures}
    river = half_space_trees()
    ours, bare = found["scoring_samples_per_second"], found["decode_samples_per_second"]
    return [
        *figures,
        bench.Figure("river_half_space_trees_samples_per_second", "river, HalfSpaceTrees", river),
        bench.Figure("scoring_over_river_ratio", "score over river", ours / river),
        bench.Figure("scoring_over_bare_decode_ratio", "score over bare decode", ours / bare),
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller fleets; rougher")
    parser.add_argument("--json", action="store_true", help="print one object instead of a table")
    args = parser.parse_args()
    on = bench.machine()
    figures = run(args.quick)
    if args.json:
        print(json.dumps({"machine": on, **{figure.key: figure.value for figure in figures}}))
        return
    print(bench.table(figures, on))


if __name__ == "__main__":
    main()
