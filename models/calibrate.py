"""The calibrator: turns detectors' scores into the probability that normal life goes as far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.state import Kept

Floats = NDArray[np.float64]

LEAST = 1e-16
"""The smallest probability ever stated."""
_SHIFT = 19  # drops all but 4 bits of a float32's mantissa: 16 bins per doubling, each 3 to 6 % wide
_LOWEST = int(np.float32(2.0**-5).view(np.int32)) >> _SHIFT
_BINS = (int(np.float32(2.0**15).view(np.int32)) >> _SHIFT) - _LOWEST + 1
_MOST_PER_CALL = 8192


def _edges() -> Floats:
    """Return the lower edge of every bin, [_BINS]; the first bin reaches down to 0."""
    bits = (np.arange(_BINS, dtype=np.int32) + np.int32(_LOWEST)) << np.int32(_SHIFT)
    edges = bits.view(np.float32).astype(np.float64)
    edges[0] = 0.0
    return edges


def _bins(score: Floats) -> NDArray[np.int32]:
    """Return the bin of each score's magnitude, without a logarithm: a float's own bits are one already."""
    with np.errstate(over="ignore"):
        magnitude = np.abs(score).astype(np.float32)
    bins = magnitude.view(np.int32)
    np.right_shift(bins, _SHIFT, out=bins)
    np.subtract(bins, _LOWEST, out=bins)
    return np.clip(bins, 0, _BINS - 1, out=bins)


class TailSettings(NamedTuple):
    """How long a family must have lived, how long it is remembered and how much of it is its tail."""

    minimum: float = 100.0  # samples before a family has an opinion
    memory_ticks: float = 200_000.0  # calls of ``learn`` after which a count weighs 1/e
    tail_share: float = 0.02  # the share of scores to which the tail is fitted
    tail_least: float = 20.0  # and the fewest


class TailCalibrator:
    """
    Streaming histograms of |score| per detector and family, and a fitted tail beyond what they hold.

    Within the data the probability is ``(n_beyond + 1) / (n + 1)`` (Davison and Hinkley 1997, 4.2: never
    0). Beyond the tail's threshold u it is the generalised Pareto distribution (Pickands 1975) with
    moments' estimates (Hosking and Wallis 1987), the shape never below 0 and raised by its standard
    error, 1/sqrt(k), so that few data give large probabilities. Tables are rebuilt every so often in
    ``learn``; ``tail`` only looks up and is pure. A higher |score| never gives a higher probability.
    """

    def __init__(self, detectors: int, families: int, settings: TailSettings = TailSettings()) -> None:  # noqa: B008
        self._settings = settings
        self._edges = _edges()
        self._middles = np.append((self._edges[:-1] + self._edges[1:]) / 2.0, self._edges[-1])
        self._counts = np.zeros((detectors, families, _BINS))
        self._calls = np.zeros(detectors, np.int64)
        self._rebuilt = np.zeros(detectors, np.int64)
        self._tables = np.full((detectors, families, _BINS), np.nan)

    def tail(self, detector: int, family: NDArray[np.int32], score: Floats) -> Floats:
        """Return the probability (0..1] that normal life gives a score at least as far from 0; NaN = cannot tell."""
        families = self._tables.shape[1]
        bins = _bins(score)
        known = family < families
        if known.all():
            bins += family * np.int32(_BINS)
            probability: Floats = np.take(self._tables[detector].reshape(-1), bins)
        else:
            probability = np.full(len(score), np.nan)
            probability[known] = self._tables[detector][family[known], bins[known]]
        probability[np.isnan(score)] = np.nan
        return probability

    def learn(self, detector: int, family: NDArray[np.int32], score: Floats, weight: Floats) -> None:
        """Take note of scores; of a large batch an evenly spread part stands for the whole."""
        self._reach(int(family.max(initial=-1)) + 1)
        calls = int(self._calls[detector])
        stride = -(-len(score) // _MOST_PER_CALL) or 1
        part = slice(calls % stride, None, stride)
        family, score, weight = family[part], score[part], weight[part] * stride
        taught = (weight > 0) & ~np.isnan(score)
        counts = self._counts[detector]
        where = family[taught] * _BINS + _bins(score[taught])
        counts += np.bincount(where, weight[taught], counts.size).reshape(counts.shape)
        self._calls[detector] = calls + 1
        since = calls + 1 - int(self._rebuilt[detector])
        if since >= min(64, 1 + calls // 8):
            counts *= np.exp(-since / self._settings.memory_ticks)
            self._rebuild(detector)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what a snapshot keeps."""
        return {
            "counts": self._counts.copy(), "tables": self._tables.copy(),
            "calls": self._calls.copy(), "rebuilt": self._rebuilt.copy(),
        }  # fmt: skip

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take back what ``state`` returned. Raises Permanent where it is of other bins or detectors."""
        kept, detectors = Kept(state), self._counts.shape[0]
        self._counts = kept.array("counts", np.float64, detectors, None, _BINS)
        self._tables = kept.array("tables", np.float64, *self._counts.shape)
        self._calls, self._rebuilt = (
            kept.array("calls", np.int64, detectors),
            kept.array("rebuilt", np.int64, detectors),
        )

    def _reach(self, families: int) -> None:
        detectors, size, _ = self._counts.shape
        if families <= size:
            return
        more = (detectors, max(families, 2 * size) - size, _BINS)
        self._counts = np.concatenate((self._counts, np.zeros(more)), axis=1)
        self._tables = np.concatenate((self._tables, np.full(more, np.nan)), axis=1)

    def _rebuild(self, detector: int) -> None:
        self._rebuilt[detector] = self._calls[detector]
        self._tables[detector] = np.nan
        lived = np.flatnonzero(self._counts[detector].sum(axis=1) >= self._settings.minimum)
        counts = self._counts[detector, lived]  # of many families most have no opinion yet
        total = counts.sum(axis=1, keepdims=True)
        beyond = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]
        table = (beyond + 1.0) / (total + 1.0)

        wanted = np.maximum(self._settings.tail_least, self._settings.tail_share * total)
        start = np.maximum((beyond >= wanted).sum(axis=1) - 1, 0)  # the last bin with enough at or beyond it
        rows = np.arange(len(counts))
        threshold = self._edges[start][:, None]
        exceeding = np.where(np.arange(_BINS) >= start[:, None], counts, 0.0)
        number = np.maximum(exceeding.sum(axis=1, keepdims=True), 1.0)
        excess = self._middles - threshold
        mean = np.maximum((exceeding * excess).sum(axis=1, keepdims=True) / number, 1e-3)
        variance = (exceeding * (excess - mean) ** 2).sum(axis=1, keepdims=True) / number
        shape = np.clip(0.5 * (1.0 - mean**2 / np.maximum(variance, 1e-12)), 0.0, 0.45) + 1.0 / np.sqrt(number)
        scale = mean * (1.0 - np.minimum(shape, 0.5))
        above = np.maximum(self._edges - threshold, 0.0)
        fitted = table[rows, start][:, None] * (1.0 + shape * above / scale) ** (-1.0 / shape)
        # Where counts are plenty they speak, where they are few the tail does; the larger is the careful one.
        plenty = beyond >= 10.0
        table = np.where(plenty, np.maximum(table, fitted), fitted)
        self._tables[detector, lived] = np.minimum.accumulate(np.clip(table, LEAST, 1.0), axis=1)
