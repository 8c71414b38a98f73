"""What was and is expected of a few lines: asked of the forecaster, held to what can be, and said in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from coldaisle.catalogue import Drive, Kind, metric_of
from coldaisle.errors import ColdaisleError
from coldaisle.expected import Expected, Past
from coldaisle.store import Line
from dashboard import words
from dashboard.reader import Reader

MOST_LINES: Final = 4
"""Bands of more lines than this hide one another."""
AHEAD_SHARE: Final = 4
"""A forecast is drawn for one part in so many of what is shown."""
_MOST_POINTS = 4000
"""Of each line, before what is shown; a forecaster takes one reading a step, and its steps are some hundred."""
_MOST_SERIES = 64
"""As many as are looked for on the page itself."""
_ENOUGH = 30
"""Readings from which a share of them says something."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What is expected of each line, one of them per line; ``why_not`` says in words why there is nothing."""

    told: tuple[Expected, ...] = ()
    step: int = 0  # ns
    why_not: str = ""

    @property
    def reach(self) -> int:
        """How far (ns) the longest forecast reaches beyond its last sample."""
        ends = [int(one.timestamps[-1] - one.timestamps[one.ahead - 1]) for one in self.told if one.ahead]
        return max(ends, default=0)

    @property
    def inside(self) -> float | None:
        """Share of the readings shown that lay within their 80 % band; None of too few."""
        hits = count = 0
        for one in self.told:
            seen, low, high = one.observed, one.quantiles[:, 1], one.quantiles[:, 3]
            both = np.isfinite(seen) & np.isfinite(low)
            count += int(both.sum())
            hits += int(((seen >= low) & (seen <= high) & both).sum())
        return hits / count if count >= _ENOUGH else None


def of(reader: Reader, match: str, lines: Sequence[Line], start: int, end: int, ahead: int) -> Expectation:
    """
    Return what is expected of ``lines`` of one metric, shown from ``start`` to ``end`` and ``ahead`` ns beyond.

    One more question to the store, for what came before; never more than :data:`MOST_LINES` lines.
    """
    forecaster = reader.backends.expecting
    if forecaster is None or not lines:
        return Expectation(why_not="no forecaster runs beside these pages")
    metric = metric_of(lines[0].series.metric)
    if metric.drive is Drive.STATE:
        return Expectation(why_not="a state or a setting changes at once: nothing is expected of it")
    if len(lines) > MOST_LINES:
        return Expectation(why_not=f"what is expected is drawn of up to {MOST_LINES} series: choose fewer")
    shown = [Past(line.timestamps, line.values) for line in lines]
    plan = forecaster.plan(shown, start, end)
    try:
        before = reader.lines(metric.name, match, plan.begin, start - 1, _MOST_POINTS, _MOST_SERIES)
    except ColdaisleError as error:
        return Expectation(why_not=f"the store did not tell what came before: {error}")
    early = {line.series: line for line in before}
    pasts = [_joined(early.get(line.series), past) for line, past in zip(lines, shown, strict=True)]
    told = tuple(
        _possible(one, line)
        for one, line in zip(forecaster.expected(pasts, plan, start, end, ahead), lines, strict=True)
    )
    if not any(np.isfinite(one.quantiles).any() for one in told):
        lacking = min(one.lacking for one in told)
        if lacking == 0:
            return Expectation(why_not="it was read too seldom to expect anything")
        more = words.span(lacking * plan.step)
        return Expectation(why_not=f"too little history to expect anything: it takes about {more} more")
    return Expectation(told, plan.step)


def ahead_of(reader: Reader, lines: Sequence[Line], start: int, now: int, ahead: int) -> list[Expected | None]:
    """Return what is expected of each of ``lines`` (since ``start``) within ``ahead`` ns; None where nothing can be."""
    forecaster = reader.backends.expecting
    if forecaster is None or not lines:
        return [None] * len(lines)
    pasts = [Past(line.timestamps, line.values) for line in lines]
    plan = forecaster.plan(pasts, start, now)
    found = forecaster.expected(pasts, plan, now - plan.step, now, ahead)
    return [None if one.lacking else _possible(one, line) for one, line in zip(found, lines, strict=True)]


def _possible(one: Expected, line: Line) -> Expected:
    """Return it held within what a working sensor can say; a counter is drawn as its rate, never below 0."""
    metric = metric_of(line.series.metric)
    low, high = (0.0, np.inf) if metric.kind is Kind.COUNTER else (metric.low, metric.high)
    return one._replace(quantiles=np.clip(one.quantiles, low, high))


def _joined(before: Line | None, shown: Past) -> Past:
    if before is None:
        return shown
    return Past(np.concatenate([before.timestamps, shown.timestamps]), np.concatenate([before.values, shown.values]))
