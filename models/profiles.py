"""Profiles of the day in half hours, two kinds of day each, for the series that have a season."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coldaisle.state import Kept
from models.columns import Columns

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

BIN_SECONDS = 1800
BINS = 48
PART = 12
"""Bins of a quarter of a day, the unit that is matched with a kind of day."""
KINDS = 2
LEARN = 1.0 / 6.0
"""Weight of the newest day of its kind, once six are known."""
SPREAD_LEARN = 1.0 / 8.0
PULL = 3.0
"""No day moves a bin harder than so many spreads."""
ANOTHER_KIND = 3.0
"""A quarter of a day so many spreads from the first kind, in the mean, is of another kind."""
FORGOTTEN_DAYS = 21
"""A second kind not met for so long gives way to a new one; one met only once, after eight days."""
ONCE_FORGOTTEN_DAYS = 8
OFFSET = 0.03
"""Weight of the newest half hour in how far the series as a whole has moved: a half-life of 12 hours."""
GAIN_MEMORY = 1.0 / 192.0
"""Weight of the newest half hour in the comparison with the mean: four days."""
TRUSTED_GAIN = 0.3
DISTRUSTED_GAIN = 0.15
"""A profile is trusted from the first gain over the mean (1 - ratio of root mean squares), until below the second."""
USELESS_DAYS = 10
NARROWEST = 0.05
"""Of the series' usual deviation from its mean; what is smaller is of no interest, whatever the hour."""
JITTER = 0.25
"""Bins by which what happens daily may come early or late: a slope makes that part of the spread."""
SIGMA_OF_DEVIATION = 1.2533
_LARGEST = 6e4  # what float16 holds
_FIRST = 64


class Profiles:
    """
    A pool of profiles in units of each series' own mean and deviation, 352 bytes each.

    Samples are summed up by half hour; a half hour that is over enters its quarter of the day; a quarter that
    is over teaches the kind of day that it is nearest to. What is missing stays missing (NaN).
    """

    def __init__(self, warm_up_days: float) -> None:
        self._warm_up_bins = round(warm_up_days * BINS)
        self._scalars = Columns({
            "owner": np.int64(-1),
            "centre": np.float32(0),
            "scale": np.float32(1),
            "since": np.int32(0),  # bin
            "tick": np.int32(0),  # bin that is being summed up
            "sum": np.float32(0),
            "off": np.float32(0),  # sum of absolute distances from what was expected
            "count": np.float32(0),
            "offset": np.float32(0),
            "flat": np.float32(0),  # mean squares of distances from the mean and from the profile
            "shaped": np.float32(0),
            "trusted": np.bool_(False),
        })  # fmt: skip
        self._bins = _empty(0)
        self._free: list[int] = []
        self._taken: list[int] = []
        self.used = 0

    def give(self, owners: Integers, centre: NDArray[Any], scale: NDArray[Any], tick: Integers) -> NDArray[np.int32]:
        """Return a slot for each of ``owners``, whose usual value is ``centre`` give or take ``scale``."""
        slots = np.array([self._free.pop() if self._free else self._more() for _ in owners], np.int64)
        self._clear(slots)
        self._scalars["owner"][slots] = owners
        self._scalars["centre"][slots], self._scalars["scale"][slots] = centre, scale
        self._scalars["since"][slots] = self._scalars["tick"][slots] = tick
        self.used += len(slots)
        return slots.astype(np.int32)

    def release(self, slots: NDArray[Any]) -> None:
        """Take slots back."""
        self._clear(slots)
        self._free.extend(slots.tolist())
        self.used -= len(slots)

    def taken_away(self) -> Integers:
        """Return the owners whose profiles turned out useless since it was last asked."""
        if not self._taken:
            return np.empty(0, np.int64)
        slots = np.array(self._taken, np.int64)
        self._taken.clear()
        owners: Integers = self._scalars["owner"][slots].copy()
        self.release(slots)
        return owners

    def trusted(self, slots: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which of them may have an opinion."""
        trusted: NDArray[np.bool_] = self._scalars["trusted"][slots]
        return trusted

    def judge(self, slots: NDArray[Any], seconds: Integers, values: Floats) -> tuple[Floats, Floats, Floats]:
        """Return score, expected value and spread, NaN where this time of day is not known."""
        centre, scale = self._scalars["centre"][slots], self._scalars["scale"][slots]
        place = (values - centre) / scale
        expected, spread = self._expect(slots, seconds, place)
        return (place - expected) / spread, centre + scale * expected, scale * spread

    def learn(self, slots: NDArray[Any], seconds: Integers, values: Floats, away: Floats | None) -> None:
        """
        Add samples to their half hours; what is older than the half hour under way is left out.

        ``away`` is the distance from what was expected in the values' unit, NaN = unknown; None = work it out.
        """
        scalars = self._scalars
        ticks = (seconds // BIN_SECONDS).astype(np.int32)
        scale = scalars["scale"][slots]
        place = np.clip((values - scalars["centre"][slots]) / scale, -_LARGEST, _LARGEST)
        off = place - self._expect(slots, seconds, place)[0] if away is None else away / scale
        later = ticks > scalars["tick"][slots]
        if later.any():
            self._close_bins(slots[later].astype(np.int64), ticks[later])
        now = ticks >= scalars["tick"][slots]
        scalars["sum"][slots] += np.where(now, place, 0.0)
        scalars["count"][slots] += now
        scalars["off"][slots] += np.where(now & ~np.isnan(off), np.minimum(np.abs(off), _LARGEST), 0.0)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what a snapshot keeps."""
        return self._scalars.state() | {name: array.copy() for name, array in self._bins.items()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take back what ``state`` returned. Raises Permanent where it does not fit together."""
        self._scalars.restore(state)
        kept, size = Kept(state), len(self._scalars)
        self._bins = {name: kept.array(name, array.dtype, size, *array.shape[1:]) for name, array in _empty(0).items()}
        free = np.flatnonzero(self._scalars["owner"] < 0)
        self._free = free[::-1].tolist()
        self.used = size - len(free)

    def _expect(self, slots: NDArray[Any], seconds: Integers, place: Floats) -> tuple[Floats, Floats]:
        """Return the nearer kind's value at that time, and the spread around it."""
        bins = self._bins
        within = (seconds % (BINS * BIN_SECONDS)) / BIN_SECONDS - 0.5
        before = np.floor(within).astype(np.int64)
        share = within - before
        before, after = before % BINS, (before + 1) % BINS
        offset = self._scalars["offset"][slots].astype(np.float64)
        nearest, slope, least = np.full(len(slots), np.nan), np.zeros(len(slots)), np.full(len(slots), np.inf)
        start = slots.astype(np.int64) * BINS
        earlier, later = start + before, start + after
        flat = bins["profile"].reshape(-1, KINDS)
        first = share < 0.5
        for kind in range(KINDS):
            column = flat[:, kind]
            left, right = column[earlier].astype(np.float64), column[later].astype(np.float64)
            if kind == 1 and np.isnan(left).all() and np.isnan(right).all():
                break
            np.copyto(left, right, where=np.isnan(left))
            np.copyto(right, left, where=np.isnan(right))
            # Between two half hours life either slopes (then between their values) or jumps (then as in its own).
            own = np.where(first, left, right)
            right -= left
            for shape in (left + share * right, own):
                value = shape + offset
                away = np.abs(value - place)
                nearer = away < least
                np.copyto(nearest, value, where=nearer)
                np.copyto(slope, right, where=nearer)
                np.copyto(least, away, where=nearer)
        spread = bins["spread"].reshape(-1)
        noise = spread[np.where(first, earlier, later)].astype(np.float64)
        silent = np.isnan(noise)
        if silent.any():
            noise[silent] = spread[np.where(first, later, earlier)[silent]]
        noise = np.maximum(noise * SIGMA_OF_DEVIATION, NARROWEST)
        slope *= JITTER * 4.0 * share * (1.0 - share)  # in the middle of a half hour a little earlier is the same
        return nearest, np.sqrt(noise * noise + slope * slope)

    def _close_bins(self, slots: Integers, ticks: NDArray[np.int32]) -> None:
        scalars, bins = self._scalars, self._bins
        tick, count = scalars["tick"][slots].astype(np.int64), scalars["count"][slots]
        heard = count > 0
        some, place = slots[heard], tick[heard] % BINS
        if len(some):
            number = count[heard]
            mean = scalars["sum"][some] / number
            bins["part"][some, place % PART] = mean
            middle = (tick[heard] * BIN_SECONDS) + BIN_SECONDS // 2
            expected, spread = self._expect(some, middle, mean.astype(np.float64))
            known = ~np.isnan(expected)
            far = mean - expected
            pull = np.clip(far, -PULL * spread, PULL * spread)
            scalars["offset"][some] += np.where(np.isnan(pull), 0.0, OFFSET * pull)
            old = bins["spread"][some, place].astype(np.float64)
            off = scalars["off"][some] / number
            off = np.where(np.isnan(old), off, old + SPREAD_LEARN * (np.minimum(off, 8.0 * old + NARROWEST) - old))
            bins["spread"][some, place] = np.where(known, np.minimum(off, _LARGEST), np.nan)
            known &= ~np.isnan(bins["profile"][some, place, 0])  # not told by the half hour beside it
            self._compare(some[known], mean[known], far[known])
        scalars["sum"][slots] = scalars["off"][slots] = scalars["count"][slots] = 0.0
        scalars["tick"][slots] = ticks
        over = ticks // PART > tick // PART
        if over.any():
            self._close_parts(slots[over], tick[over] // PART)

    def _compare(self, slots: Integers, mean: NDArray[Any], far: NDArray[Any]) -> None:
        """Measure the gain over the mean, and with it who is trusted and who loses the profile."""
        scalars = self._scalars
        age = scalars["tick"][slots] - scalars["since"][slots]
        rate = np.maximum(1.0 / np.maximum(age - BINS, 1), GAIN_MEMORY)  # the first day has nothing to compare with
        for name, away in (("flat", mean), ("shaped", far)):
            before = scalars[name][slots]
            scalars[name][slots] = before + rate * (np.minimum(away**2, _LARGEST) - before)
        gain = 1.0 - np.sqrt(scalars["shaped"][slots] / np.maximum(scalars["flat"][slots], 1e-12))
        was = scalars["trusted"][slots]
        scalars["trusted"][slots] = (age >= self._warm_up_bins) & (gain >= np.where(was, DISTRUSTED_GAIN, TRUSTED_GAIN))
        useless = (age >= USELESS_DAYS * BINS) & (gain < DISTRUSTED_GAIN)
        self._taken.extend(slots[useless].tolist())

    def _close_parts(self, slots: Integers, parts: Integers) -> None:
        """Teach the quarter of the day that is over to the kind of day it is nearest to."""
        bins = self._bins
        at = (parts % (BINS // PART))[:, None] * PART + np.arange(PART)
        rows = slots[:, None]
        seen = bins["part"][slots].astype(np.float64) - self._scalars["offset"][slots][:, None]
        known = bins["profile"][rows, at].astype(np.float64)  # [n, PART, KINDS]
        spread = np.maximum(bins["spread"][rows, at].astype(np.float64) * SIGMA_OF_DEVIATION, NARROWEST)
        spread = np.where(np.isnan(spread), 1.0, spread)
        place = parts % (BINS // PART)
        met = bins["met"][slots, place].astype(np.int64)  # [n, KINDS]
        missed = bins["missed"][slots, place].astype(np.int64)
        away = np.abs(seen[:, :, None] - known) / spread[:, :, None]
        both = ~np.isnan(away)
        many = both.sum(axis=1)
        distance = np.where(many > 0, np.where(both, away, 0.0).sum(axis=1) / np.maximum(many, 1), np.inf)
        kind = np.argmin(distance, axis=1)
        strange = (met[:, 0] >= 3) & (distance.min(axis=1) > ANOTHER_KIND) & (many[:, 0] > 0)
        vacant = (met[:, 1] == 0) | (missed > np.where(met[:, 1] > 1, FORGOTTEN_DAYS, ONCE_FORGOTTEN_DAYS))
        born = strange & vacant
        kind = np.where(born, 1, np.where(met[:, 0] == 0, 0, kind))
        each = np.arange(len(slots))
        old = known[each, :, kind]
        met[born, 1] = 0
        old[born] = np.nan
        rate = np.maximum(1.0 / (met[each, kind] + 1.0), LEARN)[:, None]
        limit = np.where(met[each, kind][:, None] >= 3, PULL * spread, np.inf)
        step = np.clip(seen - old, -limit, limit)
        new = np.where(np.isnan(old), seen, np.where(np.isnan(seen), old, old + rate * step))
        bins["profile"][rows, at, kind[:, None]] = np.clip(new, -_LARGEST, _LARGEST)
        heard = ~np.isnan(seen).all(axis=1)
        met[each, kind] = np.minimum(met[each, kind] + heard, 100)
        bins["met"][slots, place] = met
        bins["missed"][slots, place] = np.where(kind == 1, 0, np.minimum(missed + 1, 250))
        bins["part"][slots] = np.nan

    def _more(self) -> int:
        size = len(self._bins["part"])
        new = max(_FIRST, size + size // 4)
        self._scalars.reach(np.array([new - 1]))
        grown = _empty(new)
        for name, array in self._bins.items():
            grown[name][:size] = array
        self._bins = grown
        self._free.extend(range(new - 1, size, -1))
        return size

    def _clear(self, slots: NDArray[Any]) -> None:
        self._scalars.clear(slots.astype(np.int64))
        fresh = _empty(1)
        for name, array in self._bins.items():
            array[slots] = fresh[name][0]


def _empty(size: int) -> dict[str, NDArray[Any]]:
    """Return what profiles hold by bin and by quarter of the day, nothing learnt yet."""
    return {
        "profile": np.full((size, BINS, KINDS), np.nan, np.float16),
        "spread": np.full((size, BINS), np.nan, np.float16),
        "part": np.full((size, PART), np.nan, np.float16),  # the quarter of the day under way
        "met": np.zeros((size, BINS // PART, KINDS), np.uint8),  # how often each kind was met
        "missed": np.zeros((size, BINS // PART), np.uint8),  # days since the second kind was met
    }
