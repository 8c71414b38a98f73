"""What level, seasonal, peers and calibration cost a sample, from a thousand series to a hundred thousand."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from coldaisle.clock import SECOND
from coldaisle.detector import Batch, Detector, Traits
from models.calibrate import TailCalibrator
from models.level import Level
from models.peers import Peers
from models.seasonal import Seasonal


class Cost(NamedTuple):
    """The cost of one detector at one number of series."""

    detector: str
    series: int
    group: int
    nanoseconds_per_sample: float  # score, calibrate, learn
    bytes_per_series: float


def cost(make: Callable[[], Detector], series: int, group: int, seconds: float = 1.0) -> Cost:
    """
    Measure on Gaussian samples, after a warm-up, for about ``seconds``.

    The tenth quickest in a hundred ticks counts: what the code costs when little else runs.
    """
    random = np.random.default_rng(0)
    values = random.normal(50.0, 1.0, (16, series))
    ids, weight = np.arange(series), np.ones(series)
    family = (ids % 30).astype(np.int32)
    detector, calibrator = make(), TailCalibrator(1, 30)
    detector.admit(ids, Traits(np.zeros(series, np.int8), family * 0, (ids // group).astype(np.int32)))
    ticks: list[float] = []
    tick = 0
    while tick < 40 or sum(ticks) < seconds:
        batch = Batch(ids, np.full(series, tick * SECOND), values[tick % 16])
        start = time.perf_counter()
        score = detector.score(batch).score
        calibrator.tail(0, family, score)
        detector.learn(batch, weight)
        calibrator.learn(0, family, score, weight)
        if tick >= 40:
            ticks.append(time.perf_counter() - start)
        tick += 1
    held = sum(column.nbytes for column in detector.state().values()) / series
    return Cost(detector.name, series, group, float(np.quantile(ticks, 0.1)) / series * 1e9, held)


def main() -> None:
    """Print the table."""
    print(f"{'detector':10} {'series':>8} {'group':>7} {'ns/sample':>10} {'bytes/series':>13}")
    for make, group in ((Level, 8), (Seasonal, 8), (Peers, 8), (Peers, 1000)):
        for series in (1_000, 10_000, 100_000):
            one = cost(make, series, group)
            print(
                f"{one.detector:10} {one.series:8} {one.group:7} {one.nanoseconds_per_sample:10.0f} "
                f"{one.bytes_per_series:13.0f}"
            )


if __name__ == "__main__":
    main()
