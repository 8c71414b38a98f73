"""The newest value of every series with what was expected of it; what a page is drawn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coldaisle.frame import Times, Values
from coldaisle.series import Series


@dataclass(frozen=True, slots=True, eq=False)
class LiveView:
    """
    A copy of the scorer's arrays at one instant, safe to keep. Row ``i`` of every array is ``series[i]``.

    ``series`` and ``entities`` are the same tuples from view to view while ``version`` stays the same.
    """

    now: int  # event time of the newest sample, ns
    version: int
    series: tuple[Series, ...]
    entities: tuple[str, ...]  # kind/name
    timestamps: Times  # [n] of the newest sample; 0 = none yet
    values: Values  # [n] newest value; counters as their rate a second
    scores: NDArray[np.float32]  # [n] 0 usual .. 1 never seen, NaN while warming up
    expected: NDArray[np.float32]  # [n] NaN while warming up
    low: NDArray[np.float32]  # [n] expected band
    high: NDArray[np.float32]
    groups: NDArray[np.int32]  # [n] peer group, -1 = none
