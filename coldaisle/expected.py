"""The Expecting port: what was and is expected of a few series, told step by step and ahead, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from coldaisle.frame import Times, Values

LEVELS: Final = (0.01, 0.1, 0.5, 0.9, 0.99)
"""Quantiles that every forecaster gives: the middle one is the median, the others bound bands of 80 % and 98 %."""


class Past(NamedTuple):
    """Samples of one series, sorted by time: Unix ns and values, NaN = could not be read."""

    timestamps: Times
    values: Values


class Plan(NamedTuple):
    """How a span is worked on: in steps of ``step`` ns; samples since ``begin`` (Unix ns), before the span, help."""

    step: int
    begin: int


class Expected(NamedTuple):
    """
    What is expected of one series; row ``i`` of each array belongs to ``timestamps[i]``, which rise.

    A row of the past was told one step before, from nothing later; rows from ``ahead`` on are told from the last
    sample. NaN = not told: too little was known, or nothing was seen the step before.
    """

    timestamps: Times  # [n] Unix ns
    quantiles: Values  # [n, LEVELS] in the metric's unit
    observed: Values  # [n] the reading that the row was about; NaN = none, and always ahead
    ahead: int  # the first row beyond the last sample
    lacking: int  # steps that must still be seen before anything is told ahead; 0 = enough


class Expecting(Protocol):
    """Tells what is expected of series. Pure: equal input gives equal bands. Work is bounded however long the span."""

    def plan(self, pasts: Sequence[Past], start: int, end: int) -> Plan:
        """Return how ``start`` to ``end`` (Unix ns) will be worked on, given the samples in it."""
        ...

    def expected(self, pasts: Sequence[Past], plan: Plan, start: int, end: int, ahead: int) -> list[Expected]:
        """
        Return for each of ``pasts`` what was expected from ``start`` to ``end``, and after it.

        The span may be a later part of the planned one: then less work is done for the same steps.

        Ahead reaches at most ``ahead`` ns beyond the last sample, and less where less was seen; nothing is told
        ahead of a series that has been silent for longer than that. Samples after ``end`` are not looked at.
        """
        ...
