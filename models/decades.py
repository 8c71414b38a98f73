"""The tail of a statistic that is counted in decades of rarity already, known a little before anything was seen."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SHARE = 0.1
"""The share of rows whose statistic the exponential tail is fitted to."""
MOST = 8.0
"""Decades that are told apart."""
_BINS = 400


class Usual(NamedTuple):
    """What is known of a statistic before anything was seen."""

    start: float  # where its tail begins
    excess: float  # the mean excess beyond
    rows: float  # as how many rows this counts


NOISE = Usual(start=0.8, excess=0.28, rows=200.0)
"""The decades of one metric's views, for noise of many kinds (docs/detection.md)."""


class DecadeTail:
    """
    An exponential tail beyond the 90 % quantile, both learnt online from where noise usually has them.

    Decades of rarity have an exponential tail if the rarities are right (-log p of a uniform p), so one mean
    is all there is to learn, and a few hundred rows are enough. Rows forget with ``memory_rows``.
    """

    def __init__(self, memory_rows: float = 20_000.0, usual: Usual = NOISE) -> None:
        self._keep = 1.0 - 1.0 / memory_rows
        self._edges = np.arange(_BINS) * (MOST / _BINS)
        known = _beyond(np.append(self._edges, np.inf), usual)
        self._counts = np.diff(known, prepend=0.0)[1:] * -usual.rows
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


def _beyond(statistic: Floats, usual: Usual) -> Floats:
    """Return the share of usual rows beyond ``statistic``."""
    within = 1.0 - (1.0 - SHARE) * statistic / usual.start
    return np.asarray(np.where(
        statistic < usual.start, within, SHARE * np.exp(-(statistic - usual.start) / usual.excess)
    ))  # fmt: skip
