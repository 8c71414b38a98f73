"""Regular series as windows of past and future, each scaled by its own past."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.clock import DAY, SECOND
from coldaisle.errors import ConfigError

Floats = NDArray[np.float64]

LEAST_KNOWN = 0.5
"""Of a window's past, this share must have been seen."""
FURTHEST = 50.0
"""Scaled values beyond this teach nothing more."""
FLOOR = 0.25
"""A window is never scaled by less than this share of what is usual for its series: a past that stood still says
nothing of how far a change goes."""


class Table(NamedTuple):
    """Series of one interval: times [steps] (Unix ns, evenly spaced) and values [series, steps], NaN = not seen."""

    times: NDArray[np.int64]
    values: Floats

    @property
    def step_seconds(self) -> float:
        """The interval."""
        return float(self.times[1] - self.times[0]) / SECOND

    def part(self, start: int, stop: int) -> Table:
        """Return the steps from ``start`` up to ``stop``."""
        return Table(self.times[start:stop], self.values[:, start:stop])


class Windows(NamedTuple):
    """Past and future of some series from some steps on, scaled: of n windows."""

    past: Floats  # [n, encoder]
    future: Floats  # [n, horizon], NaN = not seen
    clues: Floats  # [n, encoder + horizon, CLUES]: what is known of every step beforehand
    scaling: Scaling


class Scaling(NamedTuple):
    """How windows are scaled: by the median of their past and the mean distance from it."""

    centre: Floats  # [n]
    width: Floats  # [n]

    def there(self, values: Floats) -> Floats:
        """Scale ``values`` [n, steps]; what lies beyond :data:`FURTHEST` widths is held there."""
        return np.clip((values - self.centre[:, None]) / self.width[:, None], -FURTHEST, FURTHEST)

    def back(self, scaled: Floats) -> Floats:
        """Return the values [n, ...] of scaled ones."""
        shape = (len(self.centre),) + (1,) * (scaled.ndim - 1)
        return np.asarray(self.centre.reshape(shape) + self.width.reshape(shape) * scaled)


USUAL_CLUES = ("low", "middle", "high")
CLUES = ("ahead", "day_sine", "day_cosine", "week_sine", "week_cosine", *USUAL_CLUES)
"""What is known beforehand of each step: how far ahead, where in day and week, and where the series usually is."""


class Usual(NamedTuple):
    """Where series usually are, from a longer past than a window's; NaN = not known, then the window's past tells."""

    width: Floats  # [series] mean distance from the median
    places: Floats  # [series, 3] quantiles 0.05, 0.5 and 0.95

    def of(self, rows: NDArray[np.int64]) -> Usual:
        """Return that of some of the series."""
        return Usual(self.width[rows], self.places[rows])


def usual_of(values: Floats) -> Usual:
    """Return where each of ``values`` [series, steps] usually is."""
    width, places = np.full(len(values), np.nan), np.full((len(values), 3), np.nan)
    for row, each in enumerate(values):
        seen = each[np.isfinite(each)]
        if len(seen):
            places[row] = np.quantile(seen, (0.05, 0.5, 0.95))
            width[row] = np.abs(seen - places[row, 1]).mean()
    return Usual(width, places)


def filled(history: Floats) -> Floats:
    """Return ``history`` [n, steps] with each gap filled by what was seen before it, or first after it."""
    known = np.isfinite(history)
    last = np.maximum.accumulate(np.where(known, np.arange(history.shape[1]), -1), axis=1)
    first = np.where(known.any(axis=1), np.argmax(known, axis=1), 0)
    return np.asarray(np.take_along_axis(history, np.where(last < 0, first[:, None], last), axis=1))


def scaling_of(history: Floats, usual: Usual) -> Scaling:
    """Return how to scale windows of that past [n, steps], filled, of series that are ``usual`` [n]."""
    centre = np.median(history, axis=1)
    width = np.abs(history - centre[:, None]).mean(axis=1)
    width = np.fmax(width, FLOOR * usual.width)
    # One who never moved: any change is large, and a share of the value is all there is to measure it by.
    width = np.where(width > 0, width, np.maximum(1e-3 * np.abs(centre), 1e-9))
    return Scaling(centre, width)


def clues_of(
    last: NDArray[np.int64], step_ns: int, past: Floats, horizon: int, calendar: bool, scaling: Scaling, usual: Usual
) -> Floats:
    """Return what is known beforehand [n, encoder + horizon, CLUES] of windows whose past ends at ``last`` (ns)."""
    encoder = past.shape[1]
    steps = np.arange(1 - encoder, horizon + 1)
    clues = np.zeros((len(last), len(steps), len(CLUES)))
    clues[:, :, 0] = steps / horizon
    if calendar:
        times = last[:, None] + steps * step_ns
        for at, span in ((1, DAY), (3, 7 * DAY)):
            angle = 2.0 * np.pi * ((times % span) / span)
            clues[:, :, at], clues[:, :, at + 1] = np.sin(angle), np.cos(angle)
    own = np.quantile(past, (0.05, 0.5, 0.95), axis=1).T
    places = scaling.there(np.where(np.isfinite(usual.places), usual.places, own))
    clues[:, :, -len(USUAL_CLUES) :] = places[:, None, :]
    return clues


def windows_at(
    table: Table,
    series: NDArray[np.int64],
    origins: NDArray[np.int64],
    encoder: int,
    horizon: int,
    usual: Usual,
    calendar: bool,
) -> Windows:
    """Return the windows of ``series`` [n] whose past ends with the steps ``origins`` [n]."""
    past = filled(table.values[series[:, None], origins[:, None] + np.arange(1 - encoder, 1)])
    mine = usual.of(series)
    scaling = scaling_of(past, mine)
    future = table.values[series[:, None], origins[:, None] + np.arange(1, horizon + 1)]
    step_ns = int(table.times[1] - table.times[0])
    clues = clues_of(table.times[origins], step_ns, past, horizon, calendar, scaling, mine)
    return Windows(scaling.there(past), scaling.there(future), clues, scaling)


def has_calendar(table: Table) -> bool:
    """Tell whether a table is long enough for time of day and week to mean anything: two weeks."""
    return bool(table.times[-1] - table.times[0] >= 14 * DAY)


def usable(table: Table, encoder: int, horizon: int) -> NDArray[np.bool_]:
    """Return where a past may end [series, steps]: enough of it, its end and something of the future was seen."""
    seen = np.cumsum(np.pad(np.isfinite(table.values), ((0, 0), (1, 0))), axis=1)
    steps = table.values.shape[1]
    good = np.zeros(table.values.shape, np.bool_)
    at = np.arange(encoder - 1, steps - horizon)
    past = seen[:, at + 1] - seen[:, at + 1 - encoder]
    future = seen[:, at + 1 + horizon] - seen[:, at + 1]
    good[:, at] = (past >= LEAST_KNOWN * encoder) & (future > 0) & np.isfinite(table.values[:, at])
    return good


def drawn(
    table: Table, encoder: int, horizon: int, batch: int, batches: int, random: np.random.Generator
) -> Iterator[Windows]:
    """
    Yield ``batches`` of windows drawn at random, each series as often as it has windows.

    Raises ConfigError where the table is too short for one.
    """
    good = np.flatnonzero(usable(table, encoder, horizon))
    if len(good) == 0:
        raise ConfigError(
            f"forecast: no series has {encoder + horizon} steps of {table.step_seconds:g} s with half of them seen; "
            "give more history, or a shorter horizon"
        )
    usual = usual_of(table.values)
    for _ in range(batches):
        series, origins = np.divmod(random.choice(good, batch), table.values.shape[1])
        yield windows_at(table, series, origins, encoder, horizon, usual, has_calendar(table))
