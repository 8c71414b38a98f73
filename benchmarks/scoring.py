"""Scoring beside a bare decode loop and river's HalfSpaceTrees, in the same run."""

from __future__ import annotations

import time

import numpy as np
from river.anomaly import HalfSpaceTrees

from cli import bench_scoring
from coldaisle.codec import LayoutCache, decode_frame


def bare_decode(nodes: int = 63, seconds: int = 20) -> float:
    """Return samples a second of decoding frames and nothing else: what any scorer pays first."""
    fleet, layouts = bench_scoring.Fleet(nodes), LayoutCache()
    used, samples = 0.0, 0
    for second in range(seconds):
        messages = fleet.scrape(second)
        start = time.process_time()
        samples += sum(len(decode_frame(message, layouts)) for message in messages)
        used += time.process_time() - start
    return samples / used


def half_space_trees(samples: int = 4000) -> float:
    """Return samples a second of river's HalfSpaceTrees with its defaults: one model a series, scored then taught."""
    values = np.random.default_rng(1).uniform(0.0, 1.0, samples).tolist()
    model = HalfSpaceTrees(seed=1)
    start = time.process_time()
    for value in values:
        model.score_one({"value": value})
        model.learn_one({"value": value})
    return samples / (time.process_time() - start)


def run() -> dict[str, float]:
    """Return our rates and the peers', and how many times river's rate ours is."""
    result = bench_scoring.run()
    result["bare_decode_samples_per_second"] = bare_decode()
    result["river_half_space_trees_samples_per_second"] = half_space_trees()
    ours = result["scoring_100k_series_samples_per_second"]
    result["scoring_over_river_ratio"] = ours / result["river_half_space_trees_samples_per_second"]
    result["cost_100k_over_1k_ratio"] = result["scoring_1k_series_samples_per_second"] / ours
    return result


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name}: {value:,.4g}")
