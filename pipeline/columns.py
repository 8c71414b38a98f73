"""Arrays indexed by small integers that grow together."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


def grown(array: NDArray[Any], capacity: int, fill: Any) -> NDArray[Any]:
    """Return ``array`` with room for ``capacity`` on its last axis, new places holding ``fill``."""
    have = array.shape[-1]
    if have >= capacity:
        return array
    # An eighth more than there was: growing stays rare, and at worst a ninth of what is held is room to spare.
    room = max(64, capacity, have + have // 8)
    larger = np.full((*array.shape[:-1], room), fill, dtype=array.dtype)
    larger[..., :have] = array
    return larger


def column(fill: Any, dtype: DTypeLike) -> NDArray[Any]:
    """Return an empty column that :func:`grown` can fill up."""
    return np.full(0, fill, dtype=dtype)
