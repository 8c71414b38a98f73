"""Why a limit is expected to be passed, in words: by the trend of a series, or by a trained network."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from coldaisle.catalogue import Metric
from coldaisle.prediction import Reason

_SYMBOLS: Final = {"celsius": "°C", "percent": "%", "litres_per_minute": "l/min", "watts": "W", "volts": "V"}


def words(row: Metric) -> str:
    """Return what a metric is, without its unit."""
    stem = row.name.removesuffix("_" + row.unit) if row.unit else row.name
    return stem.replace("_", " ")


def said(value: float, row: Metric) -> str:
    """Return a value with its unit."""
    if row.unit == "ratio":
        return f"{100.0 * value:.3g} %"
    return f"{value:.3g} {_SYMBOLS.get(row.unit, row.unit)}".rstrip()


def by_trend(row: Metric, level: float, per_second: float, limit: float, probability: float) -> Reason:
    """Return what level and trend (of a second) say."""
    way = "rises" if per_second > 0 else "falls"
    text = (
        f"{words(row)} is {said(level, row)} and {way} by {said(abs(per_second) * 3600.0, row)} an hour; "
        f"the limit is {said(limit, row)}"
    )
    return Reason(row.name, text, _weight(probability), level, limit=limit)


def by_network(
    row: Metric, kind: str, band: NDArray[np.float64], after_seconds: float, limit: float, probability: float
) -> Reason:
    """Return what a network of ``kind`` says: ``band`` is 10 %, 50 % and 90 % at ``after_seconds``."""
    low, middle, high = (said(float(each), row) for each in band)
    text = (
        f"{words(row)} is expected at {middle} in {after_seconds / 60.0:.0f} min (80 %: {low} to {high}) "
        f"by the trained forecaster {kind}; the limit is {said(limit, row)}"
    )
    return Reason(row.name, text, _weight(probability), float(band[1]), limit=limit)


def _weight(probability: float) -> float:
    inside = min(max(probability, 1e-6), 1.0 - 1e-6)
    return float(np.log(inside / (1.0 - inside)))
