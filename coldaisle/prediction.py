"""A prediction: what is likely to fail within how long, and what became of that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from itertools import pairwise
from typing import NamedTuple

from coldaisle.clock import SECOND


class Outcome(StrEnum):
    """
    What became of a prediction.

    ``withdrawn``: nobody can know any more, since the thing was reset, replaced or left. That signs go away by
    themselves withdraws nothing: time passes, and it is a miss.
    """

    OPEN = "open"
    HIT = "hit"
    MISS = "miss"
    WITHDRAWN = "withdrawn"


class Within(NamedTuple):
    """In how many seconds it is expected: as likely as not by ``median``; not after ``high``, else it is a miss."""

    low: float
    median: float
    high: float


@dataclass(frozen=True, slots=True)
class Reason:
    """One sign that speaks for a prediction. ``weight`` is what it adds to the log-odds."""

    metric: str
    text: str  # with the trend that was observed: "corrected memory errors rise: 48 in 10 min"
    weight: float
    value: float | None = None  # what was observed, in the sign's own measure
    since: int | None = None  # Unix ns
    limit: float | None = None  # what it must not pass, in the metric's unit; None = there is no such thing


@dataclass(frozen=True, slots=True)
class Prediction:
    """
    What is expected to befall one entity. Times are Unix ns, probabilities 0..1.

    ``probability`` is the one it was stated with: when it was made, or when people were warned. Calibration is
    measured on it; ``latest`` follows the signs while it is open.
    """

    id: str
    rule: str  # which kind of prediction; precision is measured for each
    entity: str
    what: str  # in words: "uncorrectable memory error"
    probability: float
    within: Within
    made_at: int
    settles_at: int
    updated_at: int
    latest: float
    reasons: tuple[Reason, ...] = ()
    model: str = ""
    version: str = ""
    warned_at: int | None = None  # when it was certain enough to become a finding; ``probability`` is that of then
    outcome: Outcome = Outcome.OPEN
    settled_at: int | None = None
    lead_seconds: float | None = None  # of a hit: from when it was stated to when it came true

    @property
    def stated_at(self) -> int:
        """When it was made, or when people were warned."""
        return self.made_at if self.warned_at is None else self.warned_at

    @property
    def kind(self) -> str:
        """Whose record it counts to."""
        return kind_of(self.rule, self.model)

    @property
    def settled(self) -> bool:
        """Whether it came true or did not."""
        return self.outcome in (Outcome.HIT, Outcome.MISS)


def prediction_id(rule: str, entity: str, made_at: int) -> str:
    """Return 16 hex digits that are the same whenever the same prediction is made again."""
    return blake2b("\x1f".join(("prediction", rule, entity, str(made_at))).encode(), digest_size=8).hexdigest()


def kind_of(rule: str, model: str) -> str:
    """Return whose record predictions of ``rule`` by ``model`` count to: a trained model's is kept apart."""
    trained = model.partition("/")[2]
    return f"{rule} ({trained})" if trained else rule


def newer(known: Prediction | None, told: Prediction) -> bool:
    """Return whether ``told`` says more than what is ``known``; messages come twice and old ones come again."""
    if known is None:
        return True
    if (known.outcome is not Outcome.OPEN) != (told.outcome is not Outcome.OPEN):
        return known.outcome is Outcome.OPEN
    return told.updated_at > known.updated_at


@dataclass(frozen=True, slots=True)
class Score:
    """How predictions fared. Shares and times are None where there is nothing to tell them from."""

    made: int
    open: int
    hits: int
    misses: int
    withdrawn: int
    stated: float | None  # mean probability that the settled ones were stated with
    precision: float | None
    median_lead_seconds: float | None


class Bin(NamedTuple):
    """Settled predictions that were stated with a probability between ``low`` and ``high``."""

    low: float
    high: float
    settled: int
    stated: float  # their mean
    came_true: float  # share


BINS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def score(predictions: Iterable[Prediction]) -> Score:
    """Count what became of ``predictions``."""
    every = list(predictions)
    settled = [one for one in every if one.settled]
    hits = [one for one in settled if one.outcome is Outcome.HIT]
    leads = [one.lead_seconds for one in hits if one.lead_seconds is not None]
    return Score(
        made=len(every),
        open=sum(one.outcome is Outcome.OPEN for one in every),
        hits=len(hits),
        misses=len(settled) - len(hits),
        withdrawn=sum(one.outcome is Outcome.WITHDRAWN for one in every),
        stated=sum(one.probability for one in settled) / len(settled) if settled else None,
        precision=len(hits) / len(settled) if settled else None,
        median_lead_seconds=median(leads),
    )


def by_rule(predictions: Iterable[Prediction]) -> Mapping[str, Score]:
    """Return the score of each kind of prediction, sorted: its rule's name, and the trained model where one made it."""
    kinds: dict[str, list[Prediction]] = {}
    for one in predictions:
        kinds.setdefault(one.kind, []).append(one)
    return {rule: score(kinds[rule]) for rule in sorted(kinds)}


def calibration(predictions: Iterable[Prediction]) -> list[Bin]:
    """Return what was stated beside what came true, in bins of the stated probability; empty bins are left out."""
    settled = [one for one in predictions if one.settled]
    found = []
    for low, high in pairwise(BINS):
        inside = [one for one in settled if low <= one.probability < high or (high == 1.0 == one.probability)]
        if inside:
            stated = sum(one.probability for one in inside) / len(inside)
            true = sum(one.outcome is Outcome.HIT for one in inside) / len(inside)
            found.append(Bin(low, high, len(inside), stated, true))
    return found


def median(values: Iterable[float]) -> float | None:
    """Return the median, None of nothing."""
    ordered = sorted(values)
    if not ordered:
        return None
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def likely_at(prediction: Prediction) -> int:
    """Return when (Unix ns) it has come true as likely as not."""
    return prediction.stated_at + round(prediction.within.median * SECOND)
