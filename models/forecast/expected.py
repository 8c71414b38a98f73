"""The bands of a whole span at once: by the light forecaster step by step over the past, then by trends ahead."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from coldaisle.clock import DAY, HOUR, MINUTE, SECOND
from coldaisle.expected import LEVELS, Expected, Past, Plan
from models.forecast.light import WARM_UP, Lasting, LightForecaster
from models.forecast.time_to_limit import TimeToLimit

Floats = NDArray[np.float64]

MOST_STEPS = 160
"""A span is worked on in at most so many steps: a chart of a thousand pixels shows no more of a band."""
STRETCH = 16
"""So many steps of the past are told by one forecaster, and the next ones by another that begins as much later."""
LEARNT = 64
"""Steps that each has seen before. They live side by side: a request costs LEARNT + STRETCH steps, and TREND ahead."""
SPACING = 1.5
"""A step is at least so many usual intervals: one without a sample is then a gap, and no accident of its edges."""
TREND = 48
"""Steps from which a trend is told; what lies further back hardly counts in it (``trends.FORGET``)."""
CHECKED = 2
"""A forecast reaches ahead by at most one step for so many that were seen."""
TWO_DAYS = 2 * DAY
"""Who lives for less knows nothing of the hours of a day."""
STEPS = tuple(
    [n * SECOND for n in (1, 2, 3, 5, 10, 15, 20, 30)]
    + [n * MINUTE for n in (1, 1.5, 2, 3, 5, 10, 15, 20, 30)]
    + [n * HOUR for n in (1, 1.5, 2, 3, 6, 12)]
)
"""Lengths of a step, ns: round, so that bands stay as they are while a span moves on with time."""


class LightExpecting:
    """
    Tells what the light forecaster expected; see :class:`coldaisle.expected.Expecting`.

    The reading of a step is its last one, not its mean: a band is about single readings, as the chart shows them.
    The past is cut into stretches at fixed times. Each stretch has a forecaster of its own, begun LEARNT steps before
    it; all take their steps side by side, as series of one :class:`LightForecaster`. Ahead speak the trends that
    foretell limits (:class:`TimeToLimit`); of what is drawn over days the light forecaster, which knows their hours.
    """

    def plan(self, pasts: Sequence[Past], start: int, end: int) -> Plan:
        """See the port."""
        usual = [float(np.median(np.diff(past.timestamps))) for past in pasts if len(past.timestamps) > 1]
        least = max((end - start) / MOST_STEPS, SPACING * max(usual, default=0.0))
        step = next((round(each) for each in STEPS if each >= least), max(1, -round(-least // DAY)) * DAY)
        return Plan(step, (_first_stretch(start, step) * STRETCH - LEARNT) * step)

    def expected(self, pasts: Sequence[Past], plan: Plan, start: int, end: int, ahead: int) -> list[Expected]:
        """See the port."""
        step = plan.step
        begin, last = _first_stretch(start, step) * STRETCH - LEARNT, end // step
        columns = last - begin + 1
        stretches = last // STRETCH - _first_stretch(start, step) + 1
        times = np.tile(np.arange(begin, last + 1) * step + step // 2, (len(pasts), 1))
        values = np.full((len(pasts), columns), np.nan)
        for row, past in enumerate(pasts):
            _fill(past, begin, step, end, times[row], values[row])
        horizon = max(1, min(-(-ahead // step), (LEARNT + STRETCH) // CHECKED))
        days = LEARNT * step >= TWO_DAYS
        light = LightForecaster(step / SECOND, horizon if days else 1, Lasting.DAYS if days else Lasting.HOURS)
        told, ids = _lived(light, values, begin, stretches)
        newest = values[:, (stretches - 1) * STRETCH :]
        future = light.predict(ids) if days else _trends(newest[:, -TREND:], step, horizon)
        shown = slice(max(0, start // step - begin), columns)
        every = []
        for row in range(len(pasts)):
            seen = int(np.isfinite(newest[row]).sum())
            fine = ahead > 0 and seen >= WARM_UP and np.isfinite(future[row, 0]).all()
            rows = min(horizon, seen // CHECKED) if fine else 0
            every.append(
                _joined(times[row, shown], values[row, shown], told[row, shown], future[row, :rows], step, end, seen)
            )
        return every


def _lived(light: LightForecaster, values: Floats, begin: int, stretches: int) -> tuple[Floats, NDArray[np.int64]]:
    """Return what was told [series, columns, LEVELS] of each step before it, and who lived last of each series."""
    series, columns = values.shape
    ids = np.arange(series * stretches).reshape(series, stretches)
    light.admit(ids.reshape(-1))
    told = np.full((series, columns, len(LEVELS)), np.nan)
    first = np.arange(stretches) * STRETCH
    for passed in range(LEARNT + STRETCH):
        at = first + passed
        inside = at < columns
        if not inside.any():
            break
        some = ids[:, inside].reshape(-1)
        if passed >= LEARNT:
            now = light.next(some).reshape(series, -1, len(LEVELS))
            now[np.isnan(values[:, at[inside] - 1])] = np.nan  # told from further back than a step
            told[:, at[inside]] = now
        moments = np.tile((begin + at[inside]) * light.step_ns, series)
        light.learn(some, moments, values[:, at[inside]].reshape(-1))
    return told, ids[:, -1]


def _trends(values: Floats, step: int, horizon: int) -> Floats:
    """Return quantiles [series, horizon, LEVELS] after the last of ``values`` [series, steps]."""
    trends, ids = TimeToLimit(step / SECOND, WARM_UP), np.arange(len(values))
    trends.admit(ids)
    for number, column in enumerate(values.T):
        trends.learn(ids, np.full(len(ids), number * step), column)
    return trends.quantiles(ids, np.arange(1.0, horizon + 1.0), LEVELS)


def _first_stretch(start: int, step: int) -> int:
    return start // step // STRETCH


def _fill(past: Past, begin: int, step: int, end: int, times: NDArray[np.int64], values: Floats) -> None:
    """Put the last reading of each step, and when it was, where they belong; later ones overwrite earlier ones."""
    at = past.timestamps // step - begin
    fine = np.isfinite(past.values) & (at >= 0) & (past.timestamps <= end)
    values[at[fine]], times[at[fine]] = past.values[fine], past.timestamps[fine]


def _joined(
    times: NDArray[np.int64], values: Floats, told: Floats, future: Floats, step: int, end: int, seen: int
) -> Expected:
    """Return the past up to its last reading, then what is told after it."""
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return Expected(times[:0], told[:0], values[:0], 0, max(0, WARM_UP - seen))
    past = int(known[-1]) + 1
    after = times[past - 1] + step * np.arange(1, len(future) + 1)
    if len(after) and after[-1] <= end:
        after, future = after[:0], future[:0]  # silent for longer than it can be foretold
    nothing = np.full(len(after), np.nan)
    return Expected(
        np.concatenate([times[:past], after]),
        np.concatenate([told[:past], future]),
        np.concatenate([values[:past], nothing]),
        past,
        max(0, WARM_UP - seen),
    )
