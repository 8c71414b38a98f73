"""Says which features isolate a row: what the questions on its ways down take off the expected length."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.forest_trees import LEAF, Trees, depths, path_lengths

Floats = NDArray[np.float64]


def gains(trees: Trees, rows: NDArray[np.float32]) -> Floats:
    """
    Return how many questions each feature spares on the way to each row's leaves, [n, f], a mean over the trees.

    At every node the training sample has an expected path length; the answer to its question changes it, and
    the change is the feature's (Saabas 2014; for one path the exact share, as in Carletti, Terzi and Susto 2019).
    A row of ``gains`` sums to the mean path length of normal life less the row's own. ``rows`` [n, f] without NaN.
    """
    expected = _expected(trees)
    found: Floats = np.zeros(rows.shape)
    count = len(rows)
    starts = trees.starts
    every = np.arange(count)
    for start in starts.tolist():
        node = np.full(count, start)
        going = every
        while len(going):
            here = node[going]
            feature = trees.feature[here]
            asked = feature != LEAF
            going, here, feature = going[asked], here[asked], feature[asked]
            right = rows[going, feature] > trees.threshold[here]
            below = start + np.where(right, trees.right[here], trees.left[here])
            found[going, feature] += expected[here] - expected[below]
            node[going] = below
    found /= len(starts)
    return found


def shares(trees: Trees, rows: NDArray[np.float32]) -> Floats:
    """Return each feature's part in what isolates each row, [n, f]: 0..1, a row sums to 1, to 0 where nothing does."""
    positive = np.maximum(gains(trees, rows), 0.0)
    total = positive.sum(axis=1, keepdims=True)
    found: Floats = np.divide(positive, total, out=np.zeros_like(positive), where=total > 0)
    return found


def _expected(trees: Trees) -> Floats:
    """Return the mean path length of the training sample that came by each node, [nodes]."""
    weight = trees.samples.astype(np.float64)
    total: Floats = np.where(trees.feature == LEAF, path_lengths(trees) * weight, 0.0)
    depth = depths(trees)
    base = np.repeat(trees.starts, trees.sizes)
    for level in range(int(depth.max()) - 1, -1, -1):
        nodes = np.flatnonzero((depth == level) & (trees.feature != LEAF))
        total[nodes] = total[base[nodes] + trees.left[nodes]] + total[base[nodes] + trees.right[nodes]]
    mean: Floats = total / weight
    return mean
