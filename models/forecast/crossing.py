"""The probability that a drifting, diffusing value crosses a limit within a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_SQRT_2PI = 2.5066282746310002


def normal_cdf(x: Floats) -> Floats:
    """Return the standard normal distribution function; error below 7.5e-8 (Abramowitz and Stegun 26.2.17)."""
    below = _mills(np.abs(x)) * np.exp(-0.5 * np.minimum(x * x, 1400.0)) / _SQRT_2PI
    return np.where(x > 0, 1.0 - below, below)


def first_passage(gap: Floats, drift: Floats, variance: Floats) -> Floats:
    """
    Return the probability that a Brownian path with a drift has passed ``gap`` above its start by the end of a span.

    ``drift`` is the mean displacement and ``variance`` (> 0) the displacement's variance at the span's end, all three
    of one shape. The inverse Gaussian distribution function (Schroedinger 1915; Folks and Chhikara 1978) with its
    second term written so that nothing overflows. 1 where ``gap`` is not positive.
    """
    deviation = np.sqrt(variance)
    direct = normal_cdf((drift - gap) / deviation)
    beyond = (gap + drift) / deviation
    # exp(2 m a / v) * cdf(-(a + m) / sqrt(v)): for a + m >= 0 both exponents join into one that is never positive.
    joined = np.exp(-0.5 * np.minimum(((gap - drift) / deviation) ** 2, 1400.0))
    mirrored = joined * _mills(np.maximum(beyond, 0.0)) / _SQRT_2PI
    falling = np.exp(np.clip(2.0 * drift * gap / variance, -1400.0, 0.0)) * normal_cdf(-beyond)
    passed = direct + np.where(beyond >= 0, mirrored, falling)
    return np.where(gap <= 0, 1.0, np.clip(passed, 0.0, 1.0))


def _mills(x: Floats) -> Floats:
    """Return the upper tail over the density, for x >= 0."""
    t = 1.0 / (1.0 + 0.2316419 * x)
    series = 0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429)))
    return np.asarray(t * series)
