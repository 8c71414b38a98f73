"""When a collector is due: a fixed grid with a little jitter, so that a fleet does not scrape in step."""

from __future__ import annotations

import random
from typing import Self

from pydantic import Field, model_validator

from coldaisle.clock import SECOND
from coldaisle.config import Section


class ScrapeConfig(Section):
    """What every collector's section holds beside its own keys."""

    name: str = Field("", description="the label `collector`; the collector's own word where empty")
    node: str = Field("", description="the node it speaks of; the machine it runs on where empty")
    interval_seconds: float = Field(15.0, gt=0, le=3600, description="time between two scrapes")
    deadline_seconds: float = Field(10.0, gt=0, le=3600, description="a scrape that takes longer has failed")

    @model_validator(mode="after")
    def _deadline_within_interval(self) -> Self:
        if self.deadline_seconds > self.interval_seconds:
            raise ValueError(
                f"deadline_seconds is {self.deadline_seconds:g}, longer than interval_seconds "
                f"({self.interval_seconds:g}); make it shorter"
            )
        return self


class Schedule:
    """
    The due times of one collector: ``start + k * interval``, each up to ``jitter`` of an interval later.

    Jitter comes from ``seed`` alone, so that the same configuration scrapes at the same phase after a restart.
    """

    def __init__(self, interval_seconds: float, start: int, seed: str, jitter: float = 0.1) -> None:
        self._interval = round(interval_seconds * SECOND)
        self._random = random.Random(seed)
        self._jitter = jitter * self._interval
        self._grid = start
        self.due = start + self._wobble()

    def passed(self, now: int) -> int:
        """Move on to the next due time after ``now``; return how many were missed meanwhile."""
        steps = max(1, (now - self._grid) // self._interval + 1)
        self._grid += steps * self._interval
        self.due = self._grid + self._wobble()
        return steps - 1

    def agree(self, now: int) -> None:
        """Bring the next due time back where the machine's clock was set back behind it."""
        if self.due - now > 2 * self._interval:
            self._grid = now
            self.due = now + self._wobble()

    def _wobble(self) -> int:
        return round(self._random.random() * self._jitter)
