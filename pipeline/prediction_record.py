"""How the predictions of one rule fared, and what that says of the next ones."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from coldaisle.prediction import Within

LEADS = 64
_ENOUGH_LEADS = 8


@dataclass(slots=True)
class Record:
    """How the predictions of one rule fared here: what corrects the probabilities of the next ones."""

    settled: int = 0
    hits: int = 0
    stated: float = 0.0  # sum of the model's own probabilities
    leads: deque[float] = field(default_factory=lambda: deque(maxlen=LEADS))

    def corrected(self, probability: float, trust: float) -> float:
        """
        Return ``probability`` as the record bears it out.

        The share that came true is a beta-binomial mean: what the model says counts as ``trust`` predictions, the
        settled ones as one each. By as much as its log-odds differ from what the model said on average, every
        probability of this rule is moved.
        """
        if not self.settled:
            return probability
        said = self.stated / self.settled
        true = (trust * said + self.hits) / (trust + self.settled)
        return _probability(_odds(probability) + _odds(true) - _odds(said))

    def within(self, told: Within) -> Within:
        """Return ``told`` with the times that hits took, once there are some."""
        if len(self.leads) < _ENOUGH_LEADS:
            return told
        leads = sorted(self.leads)
        low, median = leads[len(leads) // 10], leads[len(leads) // 2]
        return Within(min(low, told.high), min(median, told.high), told.high)


def _odds(probability: float) -> float:
    inside = min(max(probability, 1e-6), 1.0 - 1e-6)
    return math.log(inside / (1.0 - inside))


def _probability(odds: float) -> float:
    return 1.0 / (1.0 + math.exp(-odds))
