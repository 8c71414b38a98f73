"""The tail of a statistic that is counted in decades of rarity already, known a little before anything was seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SHARE = 0.1
"""The share of rows whose statistic the exponential tail is fitted to."""
USUAL_START, USUAL_EXCESS = 0.8, 0.28
"""Where that tail begins and its mean excess, for noise of many kinds (docs/detection.md)."""
BELIEVED = 200.0
"""That counts as much as so many rows."""
MOST = 8.0
"""Decades that are told apart."""
_BINS = 400


class DecadeTail:
    """
    An exponential tail beyond the 90 % quantile, both learnt online from where noise usually has them.

    Decades of rarity have an exponential tail if the rarities are right (-log p of a uniform p), so one mean
    is all there is to learn, and a few hundred rows are enough. Rows forget with ``memory_rows``.
    """

    def __init__(self, memory_rows: float = 20_000.0) -> None:
        self._keep = 1.0 - 1.0 / memory_rows
        self._edges = np.arange(_BINS) * (MOST / _BINS)
        self._counts = np.diff(_usual(np.append(self._edges, np.inf)), prepend=0.0)[1:] * -BELIEVED
        self._fit()

    def tail(self, statistic: Floats) -> Floats:
        """Return the probability that normal life goes as far; NaN stays NaN."""
        beyond = SHARE * np.exp(-np.maximum(statistic - self._start, 0.0) / self._excess)
        # Below the start, counts: nobody asks how usual the usual is, but the answer must fall with the statistic.
        within = np.interp(statistic, self._edges, self._beyond)
        return np.asarray(np.where(statistic < self._start, np.maximum(within, SHARE), beyond))

    def learn(self, statistic: Floats, weight: Floats) -> None:
        """Take note of rows, each weighted 0..1."""
        at = np.clip(np.nan_to_num(statistic) * (_BINS / MOST), 0, _BINS - 1).astype(np.int64)
        heard = np.where(np.isnan(statistic), 0.0, weight)
        self._counts *= self._keep ** float(heard.sum())
        self._counts += np.bincount(at, heard, _BINS)
        self._fit()

    def _fit(self) -> None:
        total = float(self._counts.sum())
        beyond = np.cumsum(self._counts[::-1])[::-1]
        first = int(np.searchsorted(-beyond, -SHARE * total))  # the first bin with at most the share at or beyond it
        first = min(first, _BINS - 1)
        self._beyond = beyond / total
        self._start = float(self._edges[first])
        middle = self._edges[first:] + MOST / _BINS / 2.0
        number = max(float(beyond[first]), 1.0)
        self._excess = max(float(self._counts[first:] @ (middle - self._start)) / number, 0.1)


def _usual(statistic: Floats) -> Floats:
    """Return the share of noise beyond ``statistic``."""
    start, excess = USUAL_START, USUAL_EXCESS
    return np.asarray(
        np.where(
            statistic < start, 1.0 - (1.0 - SHARE) * statistic / start, SHARE * np.exp(-(statistic - start) / excess)
        )
    )
