"""Early warning of limits: what a rule, the device or its own past calls too much is foretold from level and trend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from coldaisle.catalogue import Drive, Metric, metric_of
from coldaisle.clock import MINUTE
from coldaisle.event import Event
from coldaisle.prediction import Reason, Within
from coldaisle.state import Kept, State, nested
from coldaisle.warner import Happened, Minute, Outlook, Slots, View, Watched
from models.forecast.time_to_limit import TimeToLimit

HORIZON_SECONDS: Final = 3600.0
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
_SYMBOLS: Final = {"celsius": "°C", "percent": "%", "litres_per_minute": "l/min", "watts": "W", "volts": "V"}


class LimitWarning:
    """
    Foretells limits with :class:`models.forecast.time_to_limit.TimeToLimit`; see :class:`coldaisle.warner.Warner`.

    Only of what load does not move: a job that begins tomorrow is not written in yesterday's temperature. Few of the
    watched series are such, so what is learnt lies in rows of their own.
    """

    name = "limit_warning"
    version = "1"
    threat = "pass a limit"
    wants_limits = True
    metrics: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self._ahead = TimeToLimit(step_seconds=60.0, warm_up=WARM_UP_MINUTES)
        self._row = np.full(0, _NONE, np.int32)  # by slot
        self._known = np.zeros(0, np.int64)  # by row: when its limit was last seen broken, Unix ns
        self._lasting = np.zeros(0, np.int32)  # by row: minutes for which it has been on its way
        self._of: Watched | None = None
        self._slots = np.zeros(0, np.int64)

    def reset(self, slots: Slots) -> None:
        """Make room for new series, or begin anew with slots that were freed."""
        more = int(slots.max(initial=-1)) + 1 - len(self._row)
        if more > 0:
            self._row = np.concatenate([self._row, np.full(more, _NONE, np.int32)])
        self._release(slots)
        self._of = None

    def look(self, watched: Watched, minute: Minute, _events: tuple[tuple[int, Event], ...]) -> View:
        """Take a minute; return which limits are likely to be reached, and which have been."""
        slots = self._limited(watched)
        values, limits = minute.values[slots], minute.limits[slots]
        heard = np.isfinite(values)
        at = np.full(int(heard.sum()), minute.at, np.int64)
        rows = self._row[slots].astype(np.int64)
        self._ahead.learn(rows[heard], at, values[heard])
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
        """Return what a snapshot keeps."""
        own = {"row": self._row.copy(), "known": self._known.copy(), "lasting": self._lasting.copy()}
        return {**nested("ahead", self._ahead.state()), **own}

    def restore(self, state: State) -> None:
        """Take back what ``state`` returned. Raises Permanent."""
        kept = Kept(state)
        self._ahead.restore(kept.within("ahead").state)
        self._row = kept.array("row", np.int32, None)
        self._known = kept.array("known", np.int64, None)
        self._lasting = kept.array("lasting", np.int32, len(self._known))
        self._of = None

    def _limited(self, watched: Watched) -> Slots:
        if watched is not self._of:
            self._of = watched
            steady = np.array([metric_of(name).drive is Drive.STEADY for name in watched.names] or [False])
            self._slots = np.flatnonzero((watched.rule >= 0) & (watched.metric >= 0) & steady[watched.metric])
            self._release(np.setdiff1d(np.flatnonzero(self._row != _NONE), self._slots))
            self._give_rows(self._slots[self._row[self._slots] == _NONE])
        return self._slots

    def _release(self, slots: Slots) -> None:
        rows = self._row[slots].astype(np.int64)
        rows = rows[rows != _NONE]
        self._ahead.forget(rows)
        self._known[rows], self._lasting[rows] = 0, 0
        self._row[slots] = _NONE

    def _give_rows(self, slots: Slots) -> None:
        taken = self._row[self._row != _NONE]
        free = np.setdiff1d(np.arange(len(taken) + len(slots)), taken)[: len(slots)]
        self._row[slots] = free
        self._ahead.admit(free)
        more = int(free.max(initial=-1)) + 1 - len(self._known)
        if more > 0:
            self._known = np.concatenate([self._known, np.zeros(more, np.int64)])
            self._lasting = np.concatenate([self._lasting, np.zeros(more, np.int32)])

    def _outlooks(self, watched: Watched, minute: Minute, slots: Slots) -> Iterator[Outlook]:
        if not len(slots):
            return
        rows = self._row[slots].astype(np.int64)
        sides = np.where(minute.upward[slots], 1, -1).astype(np.int8)
        crossing = self._ahead.within(rows, minute.limits[slots], HORIZON_SECONDS, sides)
        chance = LEFT_ALONE * crossing.probability
        likely = np.flatnonzero(chance >= WORTH)
        # What stands near its limit and wanders may cross it too; people are told only of what is on its way.
        trend = self._ahead.outlook(rows)
        way = sides * (minute.limits[slots] - trend.level)
        likely = likely[sides[likely] * trend.per_second[likely] * HORIZON_SECONDS >= way[likely]]
        lasting = np.zeros(len(slots), np.int32)
        lasting[likely] = self._lasting[rows[likely]] + 1
        self._lasting[rows] = lasting
        likely = likely[lasting[likely] > LASTING_MINUTES]
        strongest: dict[tuple[int, int], Outlook] = {}
        for i in likely.tolist():
            slot, level, per_second = int(slots[i]), float(trend.level[i]), float(trend.per_second[i])
            row = metric_of(watched.names[int(watched.metric[slot])])
            limit, probability = float(minute.limits[slot]), float(chance[i])
            key = (int(watched.rule[slot]), int(watched.entity[slot]))
            if key in strongest and strongest[key].probability >= probability:
                continue
            strongest[key] = Outlook(
                rule=watched.rules[key[0]],
                what=f"{_words(row)} passes {_said(limit, row)}",
                entity=key[1],
                probability=probability,
                within=_within(crossing.seconds_low[i], crossing.seconds_median[i]),
                reasons=(_reason(row, level, per_second, limit, probability),),
                slot=slot,
                action="Look for what moves it while there is time.",
                runbook=watched.runbooks[key[0]],
            )
        yield from (strongest[key] for key in sorted(strongest))


def _within(low: float, median: float) -> Within:
    return Within(min(float(low), HORIZON_SECONDS), min(float(median), HORIZON_SECONDS), HORIZON_SECONDS)


def _reason(row: Metric, level: float, per_second: float, limit: float, probability: float) -> Reason:
    way = "rises" if per_second > 0 else "falls"
    text = (
        f"{_words(row)} is {_said(level, row)} and {way} by {_said(abs(per_second) * 3600.0, row)} an hour; "
        f"the limit is {_said(limit, row)}"
    )
    inside = min(max(probability, 1e-6), 1.0 - 1e-6)
    return Reason(row.name, text, float(np.log(inside / (1.0 - inside))), level)


def _words(row: Metric) -> str:
    stem = row.name.removesuffix("_" + row.unit) if row.unit else row.name
    return stem.replace("_", " ")


def _said(value: float, row: Metric) -> str:
    if row.unit == "ratio":
        return f"{100.0 * value:.3g} %"
    return f"{value:.3g} {_SYMBOLS.get(row.unit, row.unit)}".rstrip()
