"""The EntityDetector port: scores what several metrics of one thing say together, and decides nothing."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from coldaisle.state import State


class EntityRows(NamedTuple):
    """
    What detectors think of the metrics of several entities of one kind, at one instant.

    A feature is a metric and whose opinion of it: ``gpu_power_watts/peers`` is how many spreads the power is
    from its siblings'. Rows are in the order of the entities' names.
    """

    kind: str  # of entity
    features: tuple[str, ...]  # [f]
    values: NDArray[np.float32]  # [n, f] signed spreads, NaN = unknown


class EntityDetector(Protocol):
    """Scores rows of features; which samples made them and what is done about them is the pipeline's business."""

    @property
    def name(self) -> str:
        """The word for this detector in configuration, explanations and pages."""
        ...

    def model_of(self, kind: str) -> str:
        """Return the version of the model that scores ``kind``; empty = there is none (yet)."""
        ...

    def score(self, rows: EntityRows) -> NDArray[np.float64]:
        """Return how strange each row is, [n], in spreads of normal life, 0 = usual; NaN = no opinion. Pure."""
        ...

    def reasons(self, rows: EntityRows) -> NDArray[np.float64]:
        """Return the share of each feature in the strangeness of each row, [n, f], 0..1, a row sums to 1 or 0."""
        ...

    def learn(self, rows: EntityRows, at: int) -> None:
        """Take note of rows of normal life at event time ``at`` (Unix ns)."""
        ...

    def move(self, at: int) -> bool:
        """Let event time reach ``at``; return whether a model has changed."""
        ...

    def state(self) -> dict[str, Any]:
        """Return what a snapshot keeps."""
        ...

    def restore(self, state: State) -> None:
        """Take back what ``state`` returned. Raises Permanent that names the key."""
        ...
