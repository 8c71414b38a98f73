"""Scores rows with an isolation forest, some hundred rows a bit of a word at a time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.forest_trees import DEEPEST, LEAF, Trees, average_path, depths, path_lengths

BLOCK = 4096
"""Rows at once: with fewer a comparison along a row of NumPy's costs several times as much."""
_WORD = 64
_CODES = 1 << DEEPEST
_FEW = 512
_BUFFER = 512  # from so many rows on NumPy's own buffer (8192) is in the way of short rows
# Turns eight bytes of eight bits over (Warren, Hacker's Delight, 7-3): distance and mask of each exchange.
_EXCHANGES = ((7, 0x00AA00AA00AA00AA), (14, 0x0000CCCC0000CCCC), (28, 0x00000000F0F0F0F0))

Words = NDArray[np.uint64]
Floats = NDArray[np.float64]


class _Level(NamedTuple):
    """The questions of one depth, tree after tree."""

    answers: NDArray[np.int64]  # [questions] where their answers stand
    sources: NDArray[np.int64]  # [questions] in (left, right) of the level above
    trees: NDArray[np.int64]  # [some] trees that ask here
    starts: NDArray[np.int64]  # [some] the first question of each of them


class Kernel:
    """
    The scores of scikit-learn's ``score_samples``, from flat arrays and with NumPy alone.

    A question of the forest is answered for a block of rows at once: one comparison along the block, packed to a
    bit a row. Level by level the bits of who comes to a node are split by its answer; the bits of who went
    right at each depth, eight at most, name the leaf that a row ends in, and a table its path length. No row is
    followed by itself, so nothing is looked up at random but those path lengths.
    """

    def __init__(self, trees: Trees, features: int) -> None:
        self._trees = len(trees.sizes)
        asks = np.flatnonzero(trees.feature != LEAF)
        order = asks[np.lexsort((trees.threshold[asks], trees.feature[asks]))]
        self._thresholds = trees.threshold[order][:, None].copy()
        self._bounds = np.searchsorted(trees.feature[order], np.arange(features + 1)).tolist()
        self._widest = max((b - a for a, b in zip(self._bounds, self._bounds[1:], strict=False)), default=0)
        answers = np.zeros(len(trees.feature), np.int64)
        answers[order] = np.arange(len(order))
        self._levels, self._lengths = _levels(trees, answers)
        self._offsets = np.arange(self._trees)[:, None] * _CODES
        self._usual = self._trees * float(average_path(trees.samples[:1])[0])

    def score(self, rows: NDArray[np.float32]) -> Floats:
        """
        Return the score of each row of ``rows`` [n, features], -1 (isolated at once) to 0; no value may be NaN.

        Pure; equal to scikit-learn's up to the order of a sum.
        """
        found = np.empty(len(rows))
        for start in range(0, len(rows), BLOCK):
            part = rows[start : start + BLOCK]
            found[start : start + len(part)] = self._lengths_of(part)[: len(part)]
        # A tree of one sample isolates nothing: scikit-learn gives such a forest's rows a length of 1.
        if self._usual > 0:
            found /= -self._usual
        else:
            found[:] = -1.0
        np.exp2(found, out=found)
        return np.negative(found, out=found)

    def _lengths_of(self, rows: NDArray[np.float32]) -> Floats:
        """Return the sum of the path lengths of up to BLOCK rows, some rows more for the last word."""
        room = -(-len(rows) // _WORD) * _WORD
        columns = np.zeros((rows.shape[1], room), np.float32)
        columns[:, : len(rows)] = rows.T
        answers = self._answers(columns)
        planes = np.zeros((self._trees, DEEPEST, room // 8), np.uint8)
        went: Words | None = None
        for number, level in enumerate(self._levels):
            answered = np.take(answers, level.answers, axis=0)
            if went is None:
                here = np.full_like(answered, np.iinfo(np.uint64).max)
            else:
                here = np.take(went, level.sources, axis=0)
            went = np.empty((2 * len(answered), answered.shape[1]), np.uint64)
            left, right = went[: len(answered)], went[len(answered) :]
            np.bitwise_and(here, answered, out=right)
            np.bitwise_xor(here, right, out=left)
            plane = planes[:, number].view(np.uint64)
            plane[level.trees] = np.bitwise_or.reduceat(right, level.starts, axis=0)
        return self._summed(_turned(planes))

    def _answers(self, columns: NDArray[np.float32]) -> Words:
        """Return a bit a row for each question, [questions, words]: 1 = goes right."""
        room = columns.shape[1]
        packed = np.empty((len(self._thresholds), room // 8), np.uint8)
        wide = np.empty((self._widest, room), np.bool_)
        buffer = np.getbufsize()
        if _BUFFER <= room < 4096:
            np.setbufsize(room)
        try:
            for feature, column in enumerate(columns):
                start, stop = self._bounds[feature], self._bounds[feature + 1]
                if start < stop:
                    greater = np.greater(column, self._thresholds[start:stop], out=wide[: stop - start])
                    packed[start:stop] = np.packbits(greater, axis=1, bitorder="little")
        finally:
            np.setbufsize(buffer)
        return packed.view(np.uint64)

    def _summed(self, codes: NDArray[np.uint8]) -> Floats:
        if codes.shape[1] <= _FEW:
            # A call of NumPy's for each tree would cost more than the few rows.
            found: Floats = np.take(self._lengths, codes + self._offsets).sum(axis=0)
            return found
        total, one = np.zeros(codes.shape[1]), np.empty(codes.shape[1])
        for lengths, code in zip(self._lengths, codes, strict=True):
            total += np.take(lengths, code, out=one, mode="clip")
        return total


def _levels(trees: Trees, answers: NDArray[np.int64]) -> tuple[list[_Level], Floats]:
    """
    Return the questions by depth, and the path length by tree and code, [trees, _CODES].

    A code has a bit a depth, 1 = went right; of depths that a path does not reach it is 0.
    """
    starts, depth, length = trees.starts, depths(trees), path_lengths(trees)
    tree = np.repeat(np.arange(len(trees.sizes)), trees.sizes)
    code = np.zeros(len(depth), np.int64)
    lengths = np.zeros((len(trees.sizes), _CODES))
    levels: list[_Level] = []
    place = np.zeros(len(depth), np.int64)  # of a node in (left, right) of the level above
    for at in range(int(depth.max()) + 1):
        nodes = np.flatnonzero(depth == at)
        ends = nodes[trees.feature[nodes] == LEAF]
        lengths[tree[ends], code[ends]] = length[ends]
        asking = nodes[trees.feature[nodes] != LEAF]
        if not len(asking):
            break
        which, first = np.unique(tree[asking], return_index=True)
        levels.append(_Level(answers[asking], place[asking], which, first))
        left, right = starts[tree[asking]] + trees.left[asking], starts[tree[asking]] + trees.right[asking]
        code[left], code[right] = code[asking], code[asking] | 1 << at
        place[left], place[right] = np.arange(len(asking)), np.arange(len(asking)) + len(asking)
    return levels, lengths


def _turned(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a byte a row, [trees, rows], of a plane a bit, [trees, 8, bytes]."""
    words = np.ascontiguousarray(planes.transpose(0, 2, 1)).view(np.uint64)[:, :, 0]
    moved = np.empty_like(words)
    for distance, mask in _EXCHANGES:
        by = np.uint64(distance)
        np.right_shift(words, by, out=moved)
        moved ^= words
        moved &= np.uint64(mask)
        words ^= moved
        moved <<= by
        words ^= moved
    return words.view(np.uint8)
