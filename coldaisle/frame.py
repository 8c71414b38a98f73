"""The columnar record that flows through everything."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.series import Layout, Series

Times = NDArray[np.int64]
"""Unix nanoseconds, UTC, event time."""
Values = NDArray[np.float64]
"""Values in the base unit that the metric's name ends with; NaN = could not be read."""


class Sample(NamedTuple):
    """One value of a series at a time. Exists only inside a collector, never on the hot path."""

    series: Series
    timestamp: int
    value: float


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Everything one collector read of one node in one scrape; the message on the bus."""

    collector: str
    node: str
    layout: Layout
    timestamps: Times  # [n], n = len(layout)
    values: Values  # [n]
    sender: str = ""  # the agent that sent it; two at once for one collector of one node are two hosts with one name

    def __post_init__(self) -> None:
        """Refuse columns that do not fit the layout; raises ValueError."""
        if not len(self.layout) == len(self.timestamps) == len(self.values):
            raise ValueError(
                f"a frame of {len(self.layout)} series has {len(self.timestamps)} timestamps "
                f"and {len(self.values)} values"
            )

    def __len__(self) -> int:
        return len(self.values)

    @classmethod
    def of(cls, collector: str, node: str, samples: Iterable[Sample]) -> Frame:
        """Turn the samples of one scrape into columns."""
        rows = list(samples)
        return cls(
            collector=collector,
            node=node,
            layout=Layout(row.series for row in rows),
            timestamps=np.fromiter((row.timestamp for row in rows), np.int64, len(rows)),
            values=np.fromiter((row.value for row in rows), np.float64, len(rows)),
        )

    def samples(self) -> list[Sample]:
        """Return the frame as objects; for tests and pages, not for the hot path."""
        pairs = zip(self.timestamps.tolist(), self.values.tolist(), strict=True)
        return [Sample(s, t, v) for s, (t, v) in zip(self.layout.series, pairs, strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """
    Samples of many nodes side by side; how recordings and simulated halls enter the pipeline.

    Each sample names its series by its position in one ``layout``, so a block of a whole hall needs no
    object per node. Sorted by timestamp.
    """

    layout: Layout
    index: NDArray[np.int64]  # [n] positions in layout.series
    timestamps: Times  # [n]
    values: Values  # [n]

    def __len__(self) -> int:
        return len(self.values)
