"""How often what time to limit says comes true, on simulated ramps, walks, noise and loads that come and go."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.clock import SECOND
from models.forecast.time_to_limit import TimeToLimit

Floats = NDArray[np.float64]

STEP_SECONDS = 30.0
HORIZON_STEPS = 40
SERIES, STEPS = 400, 500
KINDS = ("noise", "random walk", "returning walk", "ramp in noise", "drifting walk", "heating and cooling")


class Life(NamedTuple):
    """What series do: the level [steps, series], what is read of it, and the limit of each; none knows the other."""

    level: Floats
    read: Floats
    limits: Floats


def life(kind: str, random: np.random.Generator) -> Life:
    """Return one of KINDS: scales, onsets, slopes and limits are drawn anew for each series."""
    scale = random.lognormal(0.0, 1.0, SERIES)
    noise = scale * random.normal(size=(STEPS, SERIES))
    steps = np.arange(STEPS)[:, None]
    since = np.maximum(steps - random.integers(50, STEPS - 100, SERIES), 0)
    if kind == "noise":
        return Life(noise * 0.0, noise, scale * random.uniform(1, 6, SERIES))
    if kind == "random walk":
        walk = np.cumsum(noise, axis=0)
        return Life(walk, walk, scale * random.uniform(1, 40, SERIES))
    if kind == "returning walk":
        keep, walk = random.choice([0.5, 0.8, 0.9, 0.95, 0.98], SERIES), np.zeros((STEPS, SERIES))
        for step in range(1, STEPS):
            walk[step] = keep * walk[step - 1] + noise[step]
        return Life(walk, walk, scale * random.uniform(2, 12, SERIES))
    if kind == "ramp in noise":
        level = since * scale * 10 ** random.uniform(-2.0, 0.3, SERIES)
        return Life(level, level + noise, scale * 10 ** random.uniform(0.7, 2.0, SERIES))
    if kind == "drifting walk":
        walk = np.cumsum(noise + (since > 0) * scale * 10 ** random.uniform(-1.5, 0.0, SERIES), axis=0)
        return Life(walk, walk, scale * 3 * random.uniform(1, 40, SERIES))
    target, level = np.zeros(SERIES), np.zeros((STEPS, SERIES))
    slow = random.uniform(2, 20, SERIES)
    for step in range(1, STEPS):
        moves = random.random(SERIES) < 0.01
        target = np.where(moves, random.choice([0.0, 1.0], SERIES) * random.uniform(5, 30, SERIES), target)
        level[step] = level[step - 1] + (target - level[step - 1]) / slow
    return Life(level * scale, level * scale + noise, scale * random.uniform(10, 45, SERIES))


def crossings(kind: str, seed: int) -> None:
    """Print, for one kind of life, how often it came as said."""
    level, read, limits = life(kind, np.random.default_rng(seed))
    time_to_limit, ids = TimeToLimit(), np.arange(SERIES)
    time_to_limit.admit(ids)
    said, came = [], []
    told: dict[str, list[NDArray[np.bool_]]] = {"seconds_low": [], "seconds_median": [], "seconds_high": []}
    crossed = level >= limits
    for step in range(STEPS):
        time_to_limit.learn(ids, np.full(SERIES, round((step + 1) * STEP_SECONDS * SECOND)), read[step])
        if step < 60 or step % 10:
            continue
        crossing = time_to_limit.within(ids, limits, HORIZON_STEPS * STEP_SECONDS)
        first = np.where(crossed[step:].any(axis=0), crossed[step:].argmax(axis=0), STEPS * 99)
        below = first > 0
        if step + HORIZON_STEPS < STEPS:
            said.append(crossing.probability[below])
            came.append(first[below] <= HORIZON_STEPS)
        for name, answers in told.items():
            steps = getattr(crossing, name) / STEP_SECONDS
            known = below & (steps + step < STEPS)
            answers.append(first[known] <= steps[known])
    probability, truth = np.concatenate(said), np.concatenate(came)
    bins = []
    for low, high in ((0.0, 0.05), (0.05, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.01)):
        some = (probability >= low) & (probability < high)
        words = f"{probability[some].mean():.2f} > {truth[some].mean():.2f}" if some.sum() >= 20 else "-"
        bins.append(f"{words:>12}")
    answers_of = [np.concatenate(each) for each in told.values()]
    shares = [f"{each.mean():5.0%}" if len(each) >= 20 else "    -" for each in answers_of]
    print(
        f"  {kind:20} {' '.join(bins)}   {' '.join(shares)}   {int((probability > 0.8).sum()):5} of {len(probability)}"
    )


def main(seed: int = 11) -> None:
    """Print the table."""
    print(f"\ntime to limit: said > came, by what was said of {HORIZON_STEPS} steps ahead; then how many of 10 %, 50 %")
    print("and 90 % times that came true; then how often more than 80 % was said")
    for kind in KINDS:
        crossings(kind, seed)


if __name__ == "__main__":
    main()
