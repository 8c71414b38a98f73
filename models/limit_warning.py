"""Early warning of limits: what a rule, the device or its own past calls too much is foretold before it is reached."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.catalogue import Drive, metric_of
from coldaisle.clock import MINUTE
from coldaisle.event import Event
from coldaisle.prediction import Within
from coldaisle.state import Kept, State, nested
from coldaisle.warner import Happened, Minute, Outlook, Slots, View, Watched
from models.forecast.paths import ForecastPaths
from models.forecast.served import PathForecaster
from models.forecast.time_to_limit import TimeToLimit
from models.limit_words import by_network, by_trend, said, words

Floats = NDArray[np.float64]

HORIZON_SECONDS: Final = 3600.0
"""Of a trend; a network reaches as far as it was trained to."""
WORTH: Final = 0.2
"""A probability below this is not worth telling."""
LEFT_ALONE: Final = 0.9
"""How often a trend is left to itself for so long: people, and controls, step in."""
LASTING_MINUTES: Final = 10
"""What is on its way for less may be a jump, which tells nothing of the next hour; others tell of jumps at once."""
WARM_UP_MINUTES: Final = 30
KNOWN_MINUTES: Final = 60.0
"""So long after a limit was broken, that it may be again is no news."""
_NONE: Final = -1


class _Limited(NamedTuple):
    """The slots that are looked at, and by whom."""

    slots: Slots
    trend: NDArray[np.bool_]
    network: NDArray[np.bool_]


class _Said(NamedTuple):
    """What one of the two says of some slots; a probability of 0 = nothing."""

    probability: Floats
    low: Floats  # seconds
    median: Floats
    high: Floats


class LimitWarning:
    """
    Foretells limits from level and trend; see :class:`coldaisle.warner.Warner`.

    A trend is asked only of what load does not move: a job that begins tomorrow is not written in yesterday's
    temperature. A trained network, where there is one, is asked of every metric that it has learnt, and whoever of the
    two is surer speaks: a network has seen the day's wave, and a trend the fault that no history holds. Few of the
    watched series are such, so what is learnt lies in rows of their own.
    """

    name = "limit_warning"
    version = "1"
    threat = "pass a limit"
    wants_limits = True
    metrics: frozenset[str] = frozenset()

    def __init__(self, forecaster: PathForecaster | None = None) -> None:
        """Raises ConfigError where the steps of ``forecaster`` do not fit."""
        self._ahead = TimeToLimit(step_seconds=60.0, warm_up=WARM_UP_MINUTES)
        self._paths = None if forecaster is None else ForecastPaths(forecaster)
        self._row = np.full(0, _NONE, np.int32)  # by slot
        self._known = np.zeros(0, np.int64)  # by row: when its limit was last seen broken, Unix ns
        self._lasting = np.zeros(0, np.int32)  # by row: minutes for which it has been on its way
        self._of: Watched | None = None
        nothing = np.zeros(0, np.bool_)
        self._slots = _Limited(np.zeros(0, np.int64), nothing, nothing)

    def reset(self, slots: Slots) -> None:
        """Make room for new series, or begin anew with slots that were freed."""
        more = int(slots.max(initial=-1)) + 1 - len(self._row)
        if more > 0:
            self._row = np.concatenate([self._row, np.full(more, _NONE, np.int32)])
        self._release(slots)
        self._of = None

    def look(self, watched: Watched, minute: Minute, _events: tuple[tuple[int, Event], ...]) -> View:
        """Take a minute; return which limits are likely to be reached, and which have been."""
        limited = self._limited(watched)
        slots = limited.slots
        values, limits = minute.values[slots], minute.limits[slots]
        heard = np.isfinite(values)
        rows = self._row[slots].astype(np.int64)
        told = heard & limited.trend
        self._ahead.learn(rows[told], np.full(int(told.sum()), minute.at, np.int64), values[told])
        if self._paths is not None:
            learnt = limited.network
            sides = _sides(minute, slots[learnt])
            self._paths.move(minute.at, rows[learnt], values[learnt], limits[learnt], sides)
        broken = minute.broken[slots]
        fresh = slots[broken & (minute.at - self._known[rows] > KNOWN_MINUTES * MINUTE)]
        self._known[rows[broken]] = minute.at
        happened = tuple(
            Happened(watched.rules[int(watched.rule[slot])], int(watched.entity[slot]), minute.at)
            for slot in fresh.tolist()
        )
        quiet = minute.at - self._known[rows] > KNOWN_MINUTES * MINUTE
        asked = heard & quiet & np.isfinite(limits)
        return View(tuple(self._outlooks(watched, minute, slots[asked])), happened)

    def state(self) -> State:
        """Return what a snapshot keeps; what belongs to a network stands under its version."""
        own = {"row": self._row.copy(), "known": self._known.copy(), "lasting": self._lasting.copy()}
        paths = self._paths
        more = {} if paths is None else nested(f"paths-{paths.card.version}", paths.state())
        return {**nested("ahead", self._ahead.state()), **more, **own}

    def restore(self, state: State) -> None:
        """Take back what ``state`` returned; a network that is new begins anew. Raises Permanent."""
        kept = Kept(state)
        self._ahead.restore(kept.within("ahead").state)
        self._row = kept.array("row", np.int32, None)
        self._known = kept.array("known", np.int64, None)
        self._lasting = kept.array("lasting", np.int32, len(self._known))
        self._of = None
        if self._paths is not None:
            paths = kept.within(f"paths-{self._paths.card.version}").state
            if paths:
                self._paths.restore(paths)
            self._paths.admit(np.arange(len(self._known)))

    def _limited(self, watched: Watched) -> _Limited:
        if watched is not self._of:
            self._of = watched
            learnt = frozenset() if self._paths is None else self._paths.metrics
            steady = np.array([metric_of(name).drive is Drive.STEADY for name in watched.names] or [False])
            foretold = np.array([name in learnt for name in watched.names] or [False])
            wanted = (steady | foretold)[watched.metric]
            slots = np.flatnonzero((watched.rule >= 0) & (watched.metric >= 0) & wanted)
            metric = watched.metric[slots]
            self._slots = _Limited(slots, steady[metric], foretold[metric])
            self._release(np.setdiff1d(np.flatnonzero(self._row != _NONE), slots))
            self._give_rows(slots[self._row[slots] == _NONE])
        return self._slots

    def _release(self, slots: Slots) -> None:
        rows = self._row[slots].astype(np.int64)
        rows = rows[rows != _NONE]
        self._ahead.forget(rows)
        if self._paths is not None:
            self._paths.forget(rows)
        self._known[rows], self._lasting[rows] = 0, 0
        self._row[slots] = _NONE

    def _give_rows(self, slots: Slots) -> None:
        taken = self._row[self._row != _NONE]
        free = np.setdiff1d(np.arange(len(taken) + len(slots)), taken)[: len(slots)]
        self._row[slots] = free
        self._ahead.admit(free)
        if self._paths is not None:
            self._paths.admit(free)
        more = int(free.max(initial=-1)) + 1 - len(self._known)
        if more > 0:
            self._known = np.concatenate([self._known, np.zeros(more, np.int64)])
            self._lasting = np.concatenate([self._lasting, np.zeros(more, np.int32)])

    def _outlooks(self, watched: Watched, minute: Minute, slots: Slots) -> Iterator[Outlook]:
        if not len(slots):
            return
        rows = self._row[slots].astype(np.int64)
        trend, network = self._by_trend(minute, slots, rows), self._by_network(minute, rows)
        surer = network.probability > trend.probability
        chance = np.maximum(network.probability, trend.probability)
        lasting = np.where(chance >= WORTH, self._lasting[rows] + 1, 0).astype(np.int32)
        self._lasting[rows] = lasting
        strongest: dict[tuple[int, int], tuple[float, int]] = {}
        for i in np.flatnonzero(lasting > LASTING_MINUTES).tolist():
            key = (int(watched.rule[slots[i]]), int(watched.entity[slots[i]]))
            if key not in strongest or strongest[key][0] < chance[i]:
                strongest[key] = float(chance[i]), i
        for key in sorted(strongest):
            probability, i = strongest[key]
            speaks = network if surer[i] else trend
            slot = int(slots[i])
            row, limit = metric_of(watched.names[int(watched.metric[slot])]), float(minute.limits[slot])
            one = Outlook(
                rule=watched.rules[key[0]],
                what=f"{words(row)} passes {said(limit, row)}",
                entity=key[1],
                probability=probability,
                within=_within(float(speaks.low[i]), float(speaks.median[i]), float(speaks.high[i])),
                reasons=(),
                slot=slot,
                action="Look for what moves it while there is time.",
                runbook=watched.runbooks[key[0]],
            )
            if surer[i] and self._paths is not None:
                told, kind = self._paths.foretold(minute.at, rows[i : i + 1]), self._paths.card.kind
                reason = by_network(row, kind, told.band[0], float(told.after_seconds[0]), limit, probability)
                model, version = f"{self.name}/{kind}", self._paths.card.version
                yield one._replace(reasons=(reason,), model=model, version=version)
            else:
                stands = self._ahead.outlook(rows[i : i + 1])
                level, per_second = float(stands.level[0]), float(stands.per_second[0])
                yield one._replace(reasons=(by_trend(row, level, per_second, limit, probability),))

    def _by_trend(self, minute: Minute, slots: Slots, rows: Slots) -> _Said:
        sides, limits = _sides(minute, slots), minute.limits[slots]
        crossing = self._ahead.within(rows, limits, HORIZON_SECONDS, sides)
        trend = self._ahead.outlook(rows)
        # What stands near its limit and wanders may cross it too; people are told only of what is on its way.
        coming = sides * trend.per_second * HORIZON_SECONDS >= sides * (limits - trend.level)
        chance = LEFT_ALONE * np.where(coming, crossing.probability, 0.0)
        high = np.full(len(rows), HORIZON_SECONDS)
        return _Said(np.nan_to_num(chance), crossing.seconds_low, crossing.seconds_median, high)

    def _by_network(self, minute: Minute, rows: Slots) -> _Said:
        if self._paths is None:
            nothing = np.zeros(len(rows))
            return _Said(nothing, nothing, nothing, nothing)
        told = self._paths.foretold(minute.at, rows)
        return _Said(np.nan_to_num(told.probability), told.low_seconds, told.median_seconds, told.high_seconds)


def _sides(minute: Minute, slots: Slots) -> NDArray[np.int8]:
    return np.where(minute.upward[slots], 1, -1).astype(np.int8)


def _within(low: float, median: float, high: float) -> Within:
    return Within(min(low, high), min(median, high), high)
