"""Says which features isolate a row: what the questions on its ways down take off the expected length."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.forest_trees import DEEPEST, LEAF, Trees, depths, path_lengths

_ROWS = 256

Floats = NDArray[np.float64]


class Reasons:
    """
    What each question of a forest is worth.

    At every node the training sample has an expected path length; the answer to its question changes it, and
    the change is the feature's (Saabas 2014; for one path the exact share, as in Carletti, Terzi and Susto 2019).
    """

    def __init__(self, trees: Trees) -> None:
        asks = trees.feature != LEAF
        base, own = np.repeat(trees.starts, trees.sizes), np.arange(len(asks))
        self._starts = trees.starts
        self._feature = np.where(asks, trees.feature, 0).astype(np.int64)
        self._threshold = trees.threshold
        # A leaf leads to itself and changes nothing.
        self._left, self._right = np.where(asks, base + trees.left, own), np.where(asks, base + trees.right, own)
        self._expected = _expected(trees, self._left, self._right)

    def gains(self, rows: NDArray[np.float32]) -> Floats:
        """
        Return how many questions each feature spares on the way to each row's leaves, [n, f], a mean over the trees.

        A row sums to the mean path length of normal life less the row's own. ``rows`` [n, f] without NaN.
        """
        found = np.zeros(rows.shape)
        for start in range(0, len(rows), _ROWS):
            part = rows[start : start + _ROWS]
            found[start : start + len(part)] = self._gains(part)
        return found

    def shares(self, rows: NDArray[np.float32]) -> Floats:
        """Return each feature's part in what isolates each row, [n, f]: a row sums to 1, to 0 where nothing does."""
        positive = np.maximum(self.gains(rows), 0.0)
        total = positive.sum(axis=1, keepdims=True)
        found: Floats = np.divide(positive, total, out=np.zeros_like(positive), where=total > 0)
        return found

    def _gains(self, rows: NDArray[np.float32]) -> Floats:
        count, features = rows.shape
        row = np.arange(count)[:, None]
        node = np.tile(self._starts, (count, 1))
        expected = self._expected[node]
        found = np.zeros(count * features)
        for _ in range(DEEPEST):
            feature = self._feature[node]
            node = np.where(rows[row, feature] > self._threshold[node], self._right[node], self._left[node])
            before, expected = expected, self._expected[node]
            found += np.bincount((row * features + feature).ravel(), (before - expected).ravel(), len(found))
        return found.reshape(count, features) / len(self._starts)


def _expected(trees: Trees, left: NDArray[np.int64], right: NDArray[np.int64]) -> Floats:
    """Return the mean path length of the training sample that came by each node, [nodes]."""
    weight = trees.samples.astype(np.float64)
    total: Floats = path_lengths(trees) * weight
    depth = depths(trees)
    for level in range(int(depth.max()) - 1, -1, -1):
        nodes = np.flatnonzero((depth == level) & (trees.feature != LEAF))
        total[nodes] = total[left[nodes]] + total[right[nodes]]
    mean: Floats = total / weight
    return mean
