"""Whether the bands that the pages draw hold what they promise, before and ahead, and what a request of them costs."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.forecasts import biohpc, mlperf
from coldaisle.clock import DAY, HOUR, MINUTE, SECOND
from coldaisle.errors import ConfigError
from coldaisle.expected import Past
from models.forecast.expected import LightExpecting

Floats = NDArray[np.float64]
AHEAD_SHARE = 4
"""A page draws a forecast for one part in so many of the span it shows."""


class Case(NamedTuple):
    """Series of one kind, and the span that a page would show of them."""

    name: str
    times: NDArray[np.int64]
    values: Floats  # [series, steps]
    shown: int  # ns


def made(seed: int, count: int = 40) -> Iterator[Case]:
    """Yield two hours of made series, a reading each ten seconds, of which one hour is shown."""
    random, steps = np.random.default_rng(seed), 3 * 360
    at, times = np.arange(steps), 10**18 + np.arange(steps) * 10 * SECOND
    noise = random.normal(0.0, 1.0, (count, steps))
    yield Case("noise", times, 60.0 + noise, HOUR)
    yield Case("random walk", times, 60.0 + np.cumsum(noise, axis=1), HOUR)
    yield Case("ramp in noise", times, 60.0 + np.outer(random.uniform(0.005, 0.05, count), at) + noise, HOUR)
    phase = random.uniform(0.0, 7.0, (count, 1))
    yield Case("wave of 40 min", times, 60.0 + 8.0 * np.sin(2 * np.pi * at / 240 + phase) + noise, HOUR)
    jobs = np.cumsum(random.random((count, steps)) < 1.0 / 120.0, axis=1) % 2
    yield Case("load that comes and goes", times, 2.0 + 5.0 * jobs + 0.05 * noise, HOUR)


def published() -> Iterator[Case]:
    """Yield the published sets that `benchmarks.forecasts` foretells. Raises ConfigError where they are not here."""
    hours, seconds = biohpc().table, mlperf().table
    yield Case("biohpc (hourly, 7 days)", hours.times, hours.values, 7 * DAY)
    yield Case("mlperf_power (2 s, 15 min)", seconds.times + 10**18, seconds.values, 15 * MINUTE)


def held(case: Case, moments: int) -> tuple[Floats, int]:
    """Return the shares that lay in the 80 % and the 98 % band, of the past and ahead, and how many were ahead."""
    forecaster, found = LightExpecting(), []
    lead = case.shown // AHEAD_SHARE
    first, last = int(case.times[0]) + case.shown, int(case.times[-1]) - lead
    for end in np.linspace(first, last, moments).astype(np.int64).tolist():
        known = np.searchsorted(case.times, end, side="right")
        for row in case.values:
            seen = np.isfinite(row[:known])
            past = Past(case.times[:known][seen], row[:known][seen])
            plan = forecaster.plan([past], end - case.shown, end)
            one = forecaster.expected([past], plan, end - case.shown, end, lead)[0]
            after = one.timestamps[one.ahead :]
            at = np.minimum(np.searchsorted(case.times, after), len(row) - 1)
            came = np.concatenate([one.observed[: one.ahead], row[at]])
            inside = [(came >= one.quantiles[:, low]) & (came <= one.quantiles[:, 4 - low]) for low in (1, 0)]
            told = np.isfinite(came) & np.isfinite(one.quantiles[:, 2])
            for part in (slice(None, one.ahead), slice(one.ahead, None)):
                some = told[part]
                found.append([*(float(each[part][some].sum()) for each in inside), float(some.sum())])
    sums = np.array(found).reshape(-1, 2, 3).sum(axis=0)
    return sums[:, :2] / np.maximum(sums[:, 2:], 1.0), int(sums[1, 2])


def cost(series: int, repeats: int = 15) -> tuple[float, float]:
    """Return the least and the median time (s of this thread) of the bands of an hour and a quarter ahead."""
    case = next(iter(made(9, series)))
    forecaster, end = LightExpecting(), int(case.times[-1])
    pasts = [Past(case.times, row) for row in case.values]
    spent = []
    for _ in range(repeats):
        began = time.thread_time()
        plan = forecaster.plan(pasts, end - HOUR, end)
        forecaster.expected(pasts, plan, end - HOUR, end, HOUR // AHEAD_SHARE)
        spent.append(time.thread_time() - began)
    return min(spent), float(np.median(spent))


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.expected_bands", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--moments", type=int, default=2, help="at so many moments of each series (default 2)")
    args = parser.parse_args()
    cases = list(made(args.seed))
    try:
        cases += published()
    except (ConfigError, ValueError) as error:  # pandas has nothing to join
        print(f"published sets left out: {error}", file=sys.stderr)
    print(f"{'':28}{'one step':>18}{'ahead':>18}{'readings':>10}")
    print(f"{'':28}{'in 80 %':>10}{'98 %':>8}{'80 %':>10}{'98 %':>8}{'ahead':>10}")
    for case in cases:
        (past, ahead), count = held(case, args.moments)
        print(f"{case.name:28}{past[0]:>10.0%}{past[1]:>8.0%}{ahead[0]:>10.0%}{ahead[1]:>8.0%}{count:>10,}")
    for series in (1, 4):
        least, usual = cost(series)
        print(f"{series} series: {1e3 * least:.0f} ms at best, {1e3 * usual:.0f} ms usually")
    return 0


if __name__ == "__main__":
    sys.exit(main())
