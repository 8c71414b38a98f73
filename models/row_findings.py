"""What a detector of whole rows thought of each row of a table."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOST_NAMED = 3
"""So many metrics are named at most."""


class Findings(NamedTuple):
    """What was thought of each row; one entry per row."""

    score: Floats  # 0 usual .. 1 never seen; NaN while warming up and where nothing was measured
    flagged: NDArray[np.bool_]
    tail: Floats  # tail probability, NaN as above
    ranked: NDArray[np.int64]  # [rows, up to 3] metrics that contribute most, first = most; -1 = no other worth naming
    expected: Floats  # what the first of them was expected to be
    fits: NDArray[np.bool_]  # the expectation comes from the metric's own past, not from the other metrics
    still: NDArray[np.int64]  # rows for which the value has stood still, where that is what is strange; 0 elsewhere
    begins: NDArray[np.bool_]  # no anomaly was under way; where one is, ``ranked`` stays as it was when it began


def nothing_found(rows: int, metrics: int) -> Findings:
    """Return findings that say nothing yet of ``rows`` rows, to be filled in."""
    return Findings(
        np.full(rows, np.nan), np.zeros(rows, np.bool_), np.full(rows, np.nan),
        np.zeros((rows, min(MOST_NAMED, metrics)), np.int64), np.full(rows, np.nan), np.ones(rows, np.bool_),
        np.zeros(rows, np.int64), np.ones(rows, np.bool_),
    )  # fmt: skip


def part(found: Findings, rows: slice) -> Findings:
    """Return views of some rows, to be filled in."""
    return Findings(
        found.score[rows], found.flagged[rows], found.tail[rows],
        found.ranked[rows], found.expected[rows], found.fits[rows],
        found.still[rows], found.begins[rows],
    )  # fmt: skip
