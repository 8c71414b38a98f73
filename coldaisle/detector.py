"""The Detector port: scores how unusual samples are, and decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from coldaisle.frame import Times, Values

Ids = NDArray[np.int64]
"""The small integers that the series table gives to series."""


class Traits(NamedTuple):
    """What a detector may know of the series it is shown; one entry per admitted series."""

    harm: NDArray[np.int8]  # +1 harmful when high, -1 when low, 0 both ways
    family: NDArray[np.int32]  # series of one metric and entity kind share a family; calibration is per family
    group: NDArray[np.int32]  # peer group, -1 = none


class Batch(NamedTuple):
    """Samples of one instant: each series at most once, no missing values."""

    ids: Ids  # [n]
    timestamps: Times  # [n]
    values: Values  # [n]


class Scores(NamedTuple):
    """What a detector thinks of a batch. NaN = no opinion (warming up, no peers); never 0 for "don't know"."""

    score: NDArray[np.float64]  # [n] how unusual, in the detector's own scale, higher is stranger, signed by direction
    expected: NDArray[np.float64]  # [n] the value it expected, in the metric's unit
    spread: NDArray[np.float64]  # [n] one robust standard deviation around it, in the metric's unit


class Detector(Protocol):
    """
    Scores how unusual samples are. It does not decide what is an anomaly.

    State lives in NumPy arrays indexed by series id. The pipeline calls ``score`` before ``learn``; what
    is learnt is the pipeline's choice.
    """

    @property
    def name(self) -> str:
        """The word for this detector in configuration, explanations and pages."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever equal input may score differently."""
        ...

    def admit(self, ids: Ids, traits: Traits) -> None:
        """Make room for new series, or begin anew with ids whose slot was freed; also called on regrouping."""
        ...

    def score(self, batch: Batch) -> Scores:
        """Return one score per sample. Pure: calling it twice changes nothing."""
        ...

    def learn(self, batch: Batch, weight: NDArray[np.float64]) -> None:
        """Update the state of the batch's series; ``weight`` 0..1 per sample, 0 = do not learn from it."""
        ...

    def forget(self, ids: Ids) -> None:
        """Drop what was learnt of ``ids``."""
        ...

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what a snapshot keeps."""
        ...

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take back what ``state`` returned."""
        ...


@runtime_checkable
class Teachable(Protocol):
    """A detector to which a person may say: this is normal."""

    def accept(self, ids: Ids) -> None:
        """Take what ``ids`` show now as normal; what was never admitted is left alone."""
        ...


class Calibrator(Protocol):
    """Says how rare a score is in its family's normal life, so that different detectors become comparable."""

    def tail(self, detector: int, family: NDArray[np.int32], score: NDArray[np.float64]) -> NDArray[np.float64]:
        """
        Return the probability (0..1] that normal life gives a score at least as far from 0.

        ``detector`` is the detector's position in the pipeline's list. NaN where ``score`` is NaN or the
        family has not lived long enough to tell. Pure.
        """
        ...

    def learn(
        self, detector: int, family: NDArray[np.int32], score: NDArray[np.float64], weight: NDArray[np.float64]
    ) -> None:
        """Take note of scores, each weighted 0..1."""
        ...

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what a snapshot keeps."""
        ...

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take back what ``state`` returned."""
        ...


def surprise(tail_probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """
    Return the anomaly score of tail probabilities: 0 = usual, 1 = as good as never seen; NaN stays NaN.

    ``clip(-log10(p) / 16, 0, 1)``. Sixteen decades, since doubles do not resolve more below 1 and no
    fleet lives long enough to tell rarer things apart.
    """
    with np.errstate(divide="ignore"):
        return np.clip(-np.log10(tail_probability) / 16.0, 0.0, 1.0)
