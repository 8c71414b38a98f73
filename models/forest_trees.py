"""An isolation forest as flat arrays: what is stored, checked, and served from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.errors import ConfigError

MOST_SAMPLES = 256
"""A tree's sample in Liu, Ting and Zhou (2008); at most this many also keeps every path within eight questions."""
DEEPEST = 8
LEAF = -1
_DTYPES = {
    "sizes": np.int32, "feature": np.int16, "threshold": np.float32, "left": np.int32, "right": np.int32,
    "samples": np.int32,
}  # fmt: skip

Floats = NDArray[np.float64]


class Trees(NamedTuple):
    """
    The nodes of all trees, tree after tree, each from its root down: children stand behind their parent.

    A row goes right where its feature is greater than the threshold. Children are counted from the start
    of their own tree.
    """

    sizes: NDArray[np.int32]  # [trees] nodes of each
    feature: NDArray[np.int16]  # [nodes] LEAF = no question is asked here
    threshold: NDArray[np.float32]  # [nodes] 0 at leaves
    left: NDArray[np.int32]  # [nodes] LEAF = none
    right: NDArray[np.int32]
    samples: NDArray[np.int32]  # [nodes] of the training sample that came by

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where each tree begins, [trees]."""
        return np.cumsum(self.sizes, dtype=np.int64) - self.sizes

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name, as an artefact or a snapshot keeps them."""
        return dict(zip(self._fields, self, strict=True))


def average_path(samples: NDArray[np.integer]) -> Floats:
    """Return the mean depth at which a random binary search tree of so many samples isolates one: c(n) of Liu 2008."""
    count = samples.astype(np.float64)
    found = np.zeros(len(count))
    found[samples == 2] = 1.0
    many = samples > 2
    least = count[many] - 1.0
    found[many] = 2.0 * (np.log(least) + np.euler_gamma) - 2.0 * least / count[many]
    return found


def depths(trees: Trees) -> NDArray[np.int64]:
    """Return how many questions lead to each node, [nodes]."""
    depth = np.zeros(len(trees.feature), np.int64)
    level = trees.starts
    while len(level):
        base = level - _within(trees, level)
        asks = trees.feature[level] != LEAF
        level, base = level[asks], base[asks]
        below = np.concatenate([base + trees.left[level], base + trees.right[level]])
        depth[below] = np.tile(depth[level] + 1, 2)
        level = below
    return depth


def path_lengths(trees: Trees) -> Floats:
    """Return depth + c(samples) of each node, [nodes]: what a row that ends there adds."""
    return depths(trees) + average_path(trees.samples)


def flatten(model: Any) -> Trees:
    """Return the trees of a fitted scikit-learn ``IsolationForest`` over all its features."""
    parts: list[list[NDArray[Any]]] = []
    for estimator, chosen in zip(model.estimators_, model.estimators_features_, strict=True):
        tree = estimator.tree_
        asks = tree.children_left >= 0
        feature = np.where(asks, chosen[np.where(asks, tree.feature, 0)], LEAF)
        threshold = np.where(asks, tree.threshold, 0.0)
        # scikit-learn asks ``float32 <= float64``: the largest float32 not above the threshold asks the same.
        below = threshold.astype(np.float32)
        below = np.where(below > threshold, np.nextafter(below, np.float32(-np.inf)), below)
        parts.append(
            [
                np.array([tree.node_count]), feature, below,
                np.where(asks, tree.children_left, LEAF), np.where(asks, tree.children_right, LEAF),
                tree.n_node_samples,
            ]
        )  # fmt: skip
    joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Trees(*(column.astype(dtype) for column, dtype in zip(joined, _DTYPES.values(), strict=True)))


def trees_of(arrays: Mapping[str, NDArray[Any]], features: int) -> Trees:
    """Return stored trees over ``features`` features. Raises ConfigError where they are no trees."""
    columns = {}
    for name, dtype in _DTYPES.items():
        column = arrays.get(name)
        if column is None:
            raise ConfigError(f"isolation forest: {name!r} is missing; train it again")
        if column.dtype != dtype or column.ndim != 1:
            raise ConfigError(f"isolation forest: {name!r} is not a row of {np.dtype(dtype)}; train it again")
        columns[name] = column
    trees = Trees(**columns)
    wrong = _wrong(trees, features)
    if wrong:
        raise ConfigError(f"isolation forest: {wrong}; train it again")
    return trees


def _within(trees: Trees, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where nodes stand in their own trees."""
    starts = trees.starts
    return np.asarray(nodes - starts[np.searchsorted(starts, nodes, side="right") - 1])


def _wrong(trees: Trees, features: int) -> str:
    """Return what keeps arrays from being trees, empty where nothing does: they may come from a damaged file."""
    sizes, feature, threshold, left, right, samples = trees
    total = len(feature)
    if not len(sizes) or (sizes < 1).any() or int(sizes.sum(dtype=np.int64)) != total:
        return "its trees do not add up"
    if any(len(column) != total for column in (threshold, left, right, samples)):
        return "its columns have different lengths"
    if (feature < LEAF).any() or (feature >= features).any():
        return f"it asks for a feature beyond its {features}"
    if not np.isfinite(threshold).all() or (samples < 1).any():
        return "a threshold or a count is impossible"
    asks = feature != LEAF
    within = np.arange(total) - np.repeat(trees.starts, sizes)
    size = np.repeat(sizes, sizes)
    for child in (left, right):
        if (child[~asks] != LEAF).any() or (child[asks] <= within[asks]).any() or (child[asks] >= size[asks]).any():
            return "a child does not stand behind its parent"
    # Each node but the roots is the child of exactly one: then every node is reached, once.
    base = (np.arange(total) - within)[asks]
    reached = np.bincount(np.concatenate([base + left[asks], base + right[asks]]), minlength=total)
    if (reached != (within > 0)).any():
        return "its nodes do not form trees"
    if int(depths(trees).max()) > DEEPEST:
        return f"a path is longer than {DEEPEST} questions"
    return ""
