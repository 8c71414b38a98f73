"""Views of one metric's past: each says by how much the newest rows depart from it, in its own scale."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SIGMA_OF_MAD = 1.4826
"""Standard deviation of a Gaussian over its median absolute deviation."""
SHORTEST_PERIOD = 6
CORRELATED = 0.3
"""From this autocorrelation on a period is one."""
NEARLY_BEST = 0.9
"""The shortest lag whose autocorrelation is at least this share of the best is the period, the others its multiples."""
SHORTEST_WINDOW, USUAL_WINDOW, LONGEST_WINDOW = 10, 32, 128
"""Rows of a window: a period, within the outer two; the middle one where there is no period."""
_PERIODS, _SLACK_ROWS, _LASTING_ROWS = 7, 1, 6
"""Season looks so many periods back (of days a week, so that the median is a working day), so many rows to either side
of the same phase, and at the mean of so many rows: what is missing stays away, and no single row is sure."""
_ALIKE = 0.5
"""It speaks where a row differs from one a period ago by half the usual spread at most: slopes seem to have periods."""
_LAGS = 16
_RIDGE = 0.01
_KEPT_VARIANCE = 0.9
_REMEMBERED = 3000
"""Rows whose windows are compared with."""
_FARTHEST = 6.0
_OFTEN = 0.98
"""No place counts for farther than six robust deviations from the middle, unless two rows in a hundred go there: the
pulses of a job that mostly rests are its life."""


class Seen(NamedTuple):
    """What a view said of each of the newest rows; NaN = nothing yet."""

    score: Floats  # departure, at least 0, the larger the stranger
    expected: Floats  # NaN where the view expects no value


class View(Protocol):
    """One way to look at a metric's past."""

    def see(self, rows: Floats, known: int, period: int) -> Seen:
        """Judge ``rows[known:]`` by ``rows[:known]``, each also by those before it; ``period`` 0 = none, in rows."""
        ...


def scale_of(values: Floats) -> tuple[float, float]:
    """Return median and robust deviation; a quarter of the plain one at least, for what rarely moves."""
    middle = float(np.median(values))
    robust = SIGMA_OF_MAD * float(np.median(np.abs(values - middle)))
    plain = float(np.std(values))
    return middle, max(robust, 0.25 * (min(plain, 10.0 * robust) if robust > 0 else plain))


def period_of(rows: Floats) -> int:
    """Return the period in rows by the autocorrelation of ``rows``, their trend removed; 0 = none."""
    size = len(rows)
    middle, spread = scale_of(rows)
    if size < 4 * SHORTEST_PERIOD or spread <= 0:
        return 0
    held = np.clip((rows - middle) / spread, -4.0, 4.0)
    at = np.arange(size) - (size - 1) / 2.0
    held = held - held.mean() - at * (at @ held) / (at @ at)
    power = np.abs(np.fft.rfft(held, 2 * size)) ** 2
    correlation = np.fft.irfft(power)[: size // 3]
    if correlation[0] <= 0:
        return 0
    correlation = correlation / correlation[0] * size / (size - np.arange(len(correlation)))
    low = np.flatnonzero(correlation < 0.1)
    start = max(int(low[0]) if len(low) else size, SHORTEST_PERIOD)
    if start >= len(correlation) - 2:
        return 0
    best = float(correlation[start:].max())
    inner = correlation[1:-1]
    peaks = np.flatnonzero((inner >= correlation[:-2]) & (inner >= correlation[2:])) + 1
    peaks = peaks[(peaks >= start) & (correlation[peaks] >= NEARLY_BEST * best)]
    return int(peaks[0]) if best >= CORRELATED and len(peaks) else 0


class Standing:
    """How far a row stands from the median of thousands before it, in robust deviations."""

    def see(self, rows: Floats, known: int, period: int) -> Seen:
        """Judge each row."""
        middle, spread = scale_of(rows[:known])
        spread = max(spread, 1e-9 * abs(middle), 1e-12)
        new = rows[known:]
        return Seen(np.minimum(np.abs(new - middle) / spread, 1e6), np.full(len(new), middle))


class Change:
    """How much a row differs from the one before it, in robust deviations of such differences."""

    def see(self, rows: Floats, known: int, period: int) -> Seen:
        """Judge each row."""
        change = np.diff(rows[max(0, known - 1001) :])
        new = len(rows) - known
        seen = Standing().see(change, len(change) - new, 0)
        return Seen(seen.score, np.full(new, np.nan))


class _Pace:
    """Says when to learn anew: as often as the past has grown by a tenth, then every eighth of what is remembered."""

    def __init__(self) -> None:
        self._learnt = 0
        self._next = 0

    def due(self, known: int, new: int) -> bool:
        """Take note of ``new`` more rows; return whether to learn from the ``known`` ones before them."""
        seen = max(self._learnt, known)
        self._learnt = seen + new
        if seen < self._next:
            return False
        self._next = seen + min(max(seen // 10, new), _REMEMBERED // 8)
        return True


class Prediction:
    """How far a row is from a linear prediction by the rows just before it and one and two periods ago."""

    def __init__(self) -> None:
        self._pace = _Pace()
        self._lags: NDArray[np.int64] = np.empty(0, np.int64)
        self._weights: Floats = np.empty(0)
        self._middle, self._scale, self._error = 0.0, 1.0, 1.0
        self._farthest = _FARTHEST

    def see(self, rows: Floats, known: int, period: int) -> Seen:
        """Judge each row."""
        new = len(rows) - known
        if known >= 2 * _LAGS and self._pace.due(known, new):
            self._learn(rows[max(0, known - 4000) : known], period)
        longest = int(self._lags.max(initial=0))
        if longest == 0 or known < longest:
            return Seen(np.full(new, np.nan), np.full(new, np.nan))
        place = (rows[known - longest :] - self._middle) / self._scale
        place = np.clip(place, -self._farthest, self._farthest)
        guess = self._before(place, longest) @ self._weights
        expected = self._middle + self._scale * guess
        far = np.minimum(np.abs(rows[known:] - expected) / self._scale, 50.0) / self._error
        return Seen(far, expected)

    def _before(self, place: Floats, longest: int) -> Floats:
        at = np.arange(longest, len(place))
        return np.asarray(place[at[:, None] - self._lags])

    def _learn(self, rows: Floats, period: int) -> None:
        """Fit by ridge regression, what fits badly counting less the second time (Huber 1964)."""
        self._middle, spread = scale_of(rows)
        self._scale = spread if spread > 0 else 1.0
        place = (rows - self._middle) / self._scale
        self._farthest = max(_FARTHEST, float(np.quantile(np.abs(place), _OFTEN)))
        place = np.clip(place, -self._farthest, self._farthest)
        lags = list(range(1, _LAGS + 1))
        if period > _LAGS + 2 and len(rows) > 2 * period + 4 * _LAGS:
            lags += [period - 1, period, period + 1, 2 * period]
        self._lags = np.array(lags, np.int64)
        longest = int(self._lags.max())
        if len(place) < longest + 2 * len(lags):
            self._lags = self._lags[: max(2, len(place) // 4)]
            longest = int(self._lags.max())
        inputs, wanted = self._before(place, longest), place[longest:]
        weight = np.ones(len(wanted))
        for _ in range(2):
            heavy = inputs * weight[:, None]
            penalty = _RIDGE * len(wanted) * np.eye(len(self._lags))
            self._weights = np.asarray(np.linalg.solve(heavy.T @ inputs + penalty, heavy.T @ wanted), np.float64)
            left = wanted - inputs @ self._weights
            typical = SIGMA_OF_MAD * float(np.median(np.abs(left))) + 1e-9
            weight = np.minimum(1.0, 2.0 * typical / np.maximum(np.abs(left), 1e-12))
        self._error = max(scale_of(left)[1], 1e-6)


class Season:
    """How far the last rows are from what came at the same phase of the periods before; silent without a period."""

    def see(self, rows: Floats, known: int, period: int) -> Seen:
        """Judge the mean of the rows that end at each row."""
        new = len(rows) - known
        half = period // 2
        reach = _LASTING_ROWS - 1 + half
        periods = min(_PERIODS, (known - _SLACK_ROWS - reach) // period) if period else 0
        middle, spread = scale_of(rows[:known])
        spread = max(spread, 1e-9 * abs(middle), 1e-12)
        if periods < 2 or _change(rows[:known], period) > _ALIKE * spread:
            nothing = np.full(new, np.nan)
            return Seen(nothing, nothing)
        at = np.arange(known - reach, len(rows))
        aside = np.arange(-_SLACK_ROWS, _SLACK_ROWS + 1)
        before = rows[at[:, None, None] - period * np.arange(1, periods + 1)[:, None] + aside]
        away = rows[at][:, None, None] - before  # [rows, periods, rows aside]
        nearest = np.abs(away).argmin(axis=2)[:, :, None]
        away = np.take_along_axis(away, nearest, axis=2)[:, :, 0]
        left = np.median(away, axis=1)
        # A week-end is no anomaly: what has lasted for half a period is an offset, what came a week ago is usual.
        choices = [left[half:], left[half:] - np.median(sliding_window_view(left, half)[:-1], axis=1)]
        if periods == _PERIODS:
            choices.append(away[half:, -1])
        left = np.take_along_axis(np.stack(choices), np.abs(choices).argmin(axis=0)[None], axis=0)[0]
        lasting = np.convolve(left, np.full(_LASTING_ROWS, 1.0 / _LASTING_ROWS), "valid")
        return Seen(np.minimum(np.abs(lasting) / spread, 1e6), rows[known:] - left[_LASTING_ROWS - 1 :])


def _change(rows: Floats, period: int) -> float:
    """Return the robust deviation of a row from what the same phase is usually like."""
    return scale_of(rows[period:] - rows[:-period])[1] / math.sqrt(2.0)


def _window(period: int, known: int, share: int) -> int:
    wanted = min(max(period, SHORTEST_WINDOW), LONGEST_WINDOW) if period else USUAL_WINDOW
    return min(wanted, known // share)


class Reconstructed:
    """How badly the window of rows that ends here is rebuilt from the main shapes of the windows before."""

    def __init__(self) -> None:
        self._pace = _Pace()
        self._size = 0
        self._middle, self._scale = 0.0, 1.0
        self._mean: Floats = np.empty(0)
        self._shapes: Floats = np.empty((0, 0))

    def see(self, rows: Floats, known: int, period: int) -> Seen:
        """Judge the window that ends at each row."""
        new = len(rows) - known
        nothing = np.full(new, np.nan)
        if _window(period, known, 3) < SHORTEST_PERIOD:
            return Seen(nothing, nothing)
        if self._pace.due(known, new):
            self._learn(rows[max(0, known - _REMEMBERED) : known], _window(period, known, 3))
        held = np.clip((rows[known - self._size + 1 :] - self._middle) / self._scale, -20.0, 20.0)
        away = sliding_window_view(held, self._size) - self._mean
        left = (away**2).sum(axis=1) - ((away @ self._shapes) ** 2).sum(axis=1)
        return Seen(np.sqrt(np.maximum(left, 0.0) / self._size), nothing)

    def _learn(self, rows: Floats, size: int) -> None:
        self._size = size
        self._middle, spread = scale_of(rows)
        self._scale = spread if spread > 0 else 1.0
        windows = sliding_window_view(np.clip((rows - self._middle) / self._scale, -6.0, 6.0), size)
        self._mean = windows.mean(axis=0).astype(np.float64)
        away = windows - self._mean
        variances, vectors = np.linalg.eigh(away.T @ away)
        variances, vectors = np.maximum(variances[::-1], 0.0), vectors[:, ::-1]
        told = np.cumsum(variances) / max(float(variances.sum()), 1e-12)
        self._shapes = vectors[:, : min(int(np.searchsorted(told, _KEPT_VARIANCE)) + 1, size - 1)]


class Nearest:
    """How far the window of rows that ends here is from the most similar window before it (a left matrix profile)."""

    def __init__(self) -> None:
        self._row = 0  # of the first one to judge, counted from the first one ever
        self._due = 0
        self._size = 0
        self._middle, self._scale = 0.0, 1.0
        self._windows: Floats = np.empty((0, 0))
        self._squares: Floats = np.empty(0)
        self._ends: NDArray[np.int64] = np.empty(0, np.int64)

    def see(self, rows: Floats, known: int, period: int) -> Seen:
        """Judge the window that ends at each row, its own mean removed."""
        new = len(rows) - known
        at = self._row + np.arange(new)
        self._row += new
        nothing = np.full(new, np.nan)
        size = _window(period, known, 4)
        if size < SHORTEST_PERIOD:
            return Seen(nothing, nothing)
        if at[0] >= self._due:
            self._learn(rows[max(0, known - _REMEMBERED) : known], size, int(at[0]))
            self._due = int(at[0]) + max(size, 2 * new)
        now = self._centred(rows[known - self._size + 1 :])
        distance = now @ self._windows.T
        distance *= -2.0
        distance += self._squares
        distance[self._ends > at[:, None] - self._size] = np.inf  # what overlaps is similar in any case
        nearest = distance.min(axis=1, initial=np.inf) + (now**2).sum(axis=1)
        nearest[np.isinf(nearest)] = np.nan
        return Seen(np.sqrt(np.maximum(nearest, 0.0) / self._size), nothing)

    def _learn(self, rows: Floats, size: int, row: int) -> None:
        self._size = size
        self._middle, spread = scale_of(rows)
        self._scale = spread if spread > 0 else 1.0
        self._windows = self._centred(rows)
        self._squares = (self._windows**2).sum(axis=1)
        self._ends = np.arange(row - len(self._windows), row)

    def _centred(self, rows: Floats) -> Floats:
        windows = sliding_window_view(np.clip((rows - self._middle) / self._scale, -10.0, 10.0), self._size)
        return np.asarray(windows - windows.mean(axis=1, keepdims=True))
