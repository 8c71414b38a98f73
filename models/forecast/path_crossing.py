"""When quantile paths of a forecast cross a limit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coldaisle.expected import LEVELS
from models.forecast.time_to_limit import Crossing

Floats = NDArray[np.float64]


def crossing_of_paths(
    quantiles: Floats, limits: Floats, step_seconds: float, sides: NDArray[np.int8] | None = None
) -> Crossing:
    """
    Return when series whose forecast is ``quantiles`` [n, horizon, LEVELS] cross ``limits`` [n] (metric's unit).

    ``sides`` [n]: +1 = harmful above the limit (default), -1 = below; the horizon is the forecast's own. The chance of
    having crossed by a step is the largest chance of standing beyond the limit at any step until then: exact for what
    goes one way, too low for what wanders to and fro, since bands do not say how steps hang together.
    NaN where the forecast or the limit is.
    """
    side = np.ones(len(limits)) if sides is None else sides.astype(np.float64)
    turned = np.sort(quantiles * side[:, None, None], axis=2)
    beyond = 1.0 - _below(turned, (limits * side)[:, None])
    known = np.isfinite(quantiles).all(axis=(1, 2)) & np.isfinite(limits)
    chances = np.maximum.accumulate(np.where(known[:, None], beyond, 0.0), axis=1)
    found = [np.where(known, chances[:, -1], np.nan)]
    for share in (0.1, 0.5, 0.9):
        reached = chances >= share
        first = np.where(reached.any(axis=1), (np.argmax(reached, axis=1) + 1) * step_seconds, np.inf)
        found.append(np.where(known, first, np.nan))
    return Crossing(*found)


def _below(quantiles: Floats, value: Floats) -> Floats:
    """Return the chance [n, horizon] of lying below ``value`` [n, 1]: linear between quantiles, exponential outside."""
    levels = np.array(LEVELS)
    shape = quantiles.shape[:2]
    below = np.zeros(shape)
    value = np.broadcast_to(value, shape)
    for at in range(len(levels) - 1):
        low, high = quantiles[:, :, at], quantiles[:, :, at + 1]
        inside = (value >= low) & (value < high)
        part = (value - low) / np.where(high > low, high - low, 1.0)
        below = np.where(inside, levels[at] + part * (levels[at + 1] - levels[at]), below)
    # From 10 % to 1 % and from 90 % to 99 % a tail falls by ten; it goes on falling so.
    down = np.maximum(quantiles[:, :, 1] - quantiles[:, :, 0], 1e-300)
    up = np.maximum(quantiles[:, :, -1] - quantiles[:, :, -2], 1e-300)
    with np.errstate(over="ignore"):  # a band without width
        least = levels[0] * 10.0 ** np.clip((value - quantiles[:, :, 0]) / down, -300.0, 0.0)
        most = 1.0 - (1.0 - levels[-1]) * 10.0 ** np.clip((quantiles[:, :, -1] - value) / up, -300.0, 0.0)
    below = np.where(value < quantiles[:, :, 0], least, below)
    return np.where(value >= quantiles[:, :, -1], most, below)
