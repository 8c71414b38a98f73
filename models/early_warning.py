"""Early warning: rising error counters, wearing fans and blocked cooling, weighed as evidence for a coming fault."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.clock import MINUTE
from coldaisle.event import Event
from coldaisle.prediction import Reason
from coldaisle.state import Kept, State, nested
from coldaisle.warner import Happened, Minute, Outlook, Slots, View, Watched
from models.columns import Columns
from models.early_warning_places import Places
from models.early_warning_signs import (
    FANS,
    HAZARDS,
    INLETS,
    POWER,
    SLOWDOWN,
    Feature,
    Hazard,
    Sign,
    clock_text,
)

Floats = NDArray[np.float64]

RECENT_MINUTES: Final = 10.0
HOUR_MINUTES: Final = 60.0
FRESH_MINUTES, FORMER_MINUTES = 8.0, 30.0
"""Growth is the rate within the first over that within the second."""
QUIET_NS: Final = 60 * MINUTE
"""After so long without an error the next one begins anew."""
LEAST_FOR_GROWTH: Final = 10.0
"""Errors within half an hour from which a growth is more than chance."""
USUAL_MINUTES: Final = 360.0
WARM_UP_MINUTES: Final = 15
"""A ratio needs so many minutes before its past says what is usual."""
APART_MINUTES: Final = 12.0
"""On a ramp, means over 4 and over 16 minutes lie so far apart."""
REACH_MINUTES: Final = 30.0
SIBLING_WEAR: Final = 0.08
LEAST_LOAD: Final = 0.4
"""Of its highest power; below it a thermal resistance says little."""
KNOWN_NS: Final = 6 * 60 * MINUTE
"""So long after it befell, a fault is no news."""
WORTH: Final = 0.2
"""A probability below this is not worth telling."""


class _Evidence(NamedTuple):
    slot: int
    value: float
    reason: Reason


class EarlyWarning:
    """
    Weighs signs (``early_warning_signs.py``) minute by minute; see :class:`coldaisle.warner.Warner`.

    The log-odds of a hazard are what its kind has without signs plus the weights of the signs that are seen,
    the strongest of each kind: naive Bayes, with every weight and where it comes from in one table. Nothing is
    fitted, and every number can be read in the reasons. About 60 bytes a watched series.
    """

    name = "early_warning"
    version = "1"
    threat = "fail"
    wants_limits = False

    def __init__(self, hazards: tuple[Hazard, ...] = HAZARDS) -> None:
        self._hazards = hazards
        self._memory = Columns({
            "raw": np.float64(np.nan),  # as it stood a minute ago
            "recent": np.float32(0),  # increases a minute, by exponentially forgetting means
            "fresh": np.float32(0),
            "former": np.float32(0),
            "hour": np.float32(0),
            "since": np.int64(0),  # ns: when this burst of errors, or this wear, began; 0 = there is none
            "last": np.int64(0),  # ns: of the last error
            "peak": np.float32(np.nan),  # of gauges: the highest ever
            "now": np.float32(np.nan),  # of ratios: within some minutes, somewhat before, and as usual
            "before": np.float32(np.nan),
            "usual": np.float32(np.nan),
            "low": np.int32(0),  # minutes in a row in which a fan was below what counts as working
            "minutes": np.int32(0),
        })  # fmt: skip
        self._befell: dict[tuple[str, int], int] = {}
        self._places = Places()

    @property
    def metrics(self) -> frozenset[str]:
        """The metrics that it wants to see."""
        named = {sign.metric for hazard in self._hazards for sign in hazard.signs}
        named |= {metric for hazard in self._hazards for metric in hazard.rises}
        named |= {metric for hazard in self._hazards for metric, _ in (*hazard.drops, *hazard.passes)}
        return frozenset(named | {POWER, SLOWDOWN, *INLETS})

    def reset(self, slots: Slots) -> None:
        """Make room for new series, or begin anew with slots that were freed."""
        self._memory.reach(slots)
        self._memory.clear(slots)

    def look(self, watched: Watched, minute: Minute, events: tuple[tuple[int, Event], ...]) -> View:
        """Take a minute, with the events (entity, event) that happened in it; return what is to be expected."""
        places = self._places
        places.read(watched)
        begun_anew = self._count(places, minute)
        self._wear(places, minute)
        happened = tuple(self._happened(watched, minute, events))
        for one in happened:
            self._befell[one.rule, one.entity] = one.at
        self._befell = {key: at for key, at in self._befell.items() if minute.at - at < KNOWN_NS}
        outlooks = tuple(self._outlooks(watched, minute))
        return View(outlooks, happened, begun_anew)

    def state(self) -> State:
        """Return what a snapshot keeps."""
        befell = [[rule, entity, at] for (rule, entity), at in sorted(self._befell.items())]
        return {**nested("memory", self._memory.state()), "befell": befell}

    def restore(self, state: State) -> None:
        """Take back what ``state`` returned. Raises Permanent."""
        kept = Kept(state)
        self._memory.restore(kept.within("memory").state)
        self._befell = {(rule, entity): at for rule, entity, at in kept.rows("befell", str, int, int)}

    # -- what is learnt of each series --------------------------------------------------------------------------------

    def _count(self, places: Places, minute: Minute) -> tuple[int, ...]:
        """Take the increases of the minute; return the entities whose error counters began anew."""
        memory, slots = self._memory, places.counted
        before = memory["raw"][slots]
        # What was not heard in this minute did not rise in it; what comes later brings the whole rise.
        values = np.where(np.isfinite(minute.values[slots]), minute.values[slots], before)
        known = np.isfinite(values)
        slots, values, before = slots[known], values[known], before[known]
        grew = np.where(np.isnan(before), 0.0, values - before)
        fell = grew < 0
        # A counter that fell began anew: what it says now came since. A flag or a number of rows just went back.
        grew = np.where(fell, np.where(places.counter[slots], values, 0.0), grew)
        memory["raw"][slots] = values
        for name, length in (
            ("recent", RECENT_MINUTES), ("fresh", FRESH_MINUTES), ("former", FORMER_MINUTES), ("hour", HOUR_MINUTES),
        ):  # fmt: skip
            mean = memory[name][slots]
            memory[name][slots] = mean + (1.0 - np.exp(-1.0 / length)) * (grew - mean)
        rose = slots[grew > 0]
        quiet = rose[minute.at - memory["last"][rose] > QUIET_NS]
        memory["since"][quiet] = minute.at
        memory["last"][rose] = minute.at
        restarted = slots[fell & places.counter[slots]]
        return tuple(np.unique(places.entity[restarted]).tolist())

    def _wear(self, places: Places, minute: Minute) -> None:
        """Follow the ratios that neither load nor time should change: see :meth:`Places.ratios`."""
        memory = self._memory
        peaks = places.peaked
        memory["peak"][peaks] = np.fmax(memory["peak"][peaks], minute.values[peaks])
        slots, ratios = places.ratios(minute.values, memory["peak"], memory["now"], LEAST_LOAD)
        known = np.isfinite(ratios)
        slots, ratios = slots[known], ratios[known]
        count = memory["minutes"][slots] + 1
        memory["minutes"][slots] = count
        memory["raw"][slots] = ratios
        now, before = memory["now"][slots], memory["before"][slots]
        # One wild reading says little: a minute moves what is believed by a tenth at most.
        ratios = np.where(count > WARM_UP_MINUTES, np.clip(ratios, 0.9 * now, 1.1 * now), ratios)
        now = np.where(np.isnan(now), ratios, now + (ratios - now) / 4.0)
        before = np.where(np.isnan(before), ratios, before + (ratios - before) / 16.0)
        memory["now"][slots], memory["before"][slots] = now, before
        usual = memory["usual"][slots]
        wear = places.worn(slots, now, usual)
        # What wears must not become what is usual; a fall by a little is learnt, slowly.
        pace = np.where(count <= WARM_UP_MINUTES, 1.0 / count, 1.0 / USUAL_MINUTES)
        pace = np.where((count > WARM_UP_MINUTES) & (wear > 0.05), 0.0, pace)
        memory["usual"][slots] = np.where(np.isnan(usual), ratios, usual + pace * (ratios - usual))
        began = (wear > 0.05) & (memory["since"][slots] == 0)
        memory["since"][slots[began]] = minute.at
        memory["since"][slots[wear < 0.02]] = 0

    # -- what befell, and what is to come -----------------------------------------------------------------------------

    def _happened(self, watched: Watched, minute: Minute, events: tuple[tuple[int, Event], ...]) -> Iterator[Happened]:
        for hazard in self._hazards:
            for entity, event in events:
                if any(event.kind == kind and event.code in codes for kind, codes in hazard.events):
                    yield Happened(hazard.rule, entity, event.timestamp)
            for entity in np.unique(watched.entity[self._struck(hazard, minute)]).tolist():
                yield Happened(hazard.rule, int(entity), minute.at)

    def _struck(self, hazard: Hazard, minute: Minute) -> NDArray[np.int64]:
        """Return the slots that say that the fault itself is there, or has just come."""
        memory, places = self._memory, self._places
        found = [np.zeros(0, np.int64)]
        for metric in hazard.rises:
            slots = places.of(metric)
            found.append(slots[memory["last"][slots] == minute.at])
        for metric, share in hazard.drops:
            slots = places.of(metric)
            if metric in FANS:
                below = memory["raw"][slots] < share * memory["usual"][slots]
                memory["low"][slots] = np.where(below, memory["low"][slots] + 1, 0)
                found.append(slots[(memory["low"][slots] >= 2) & (memory["minutes"][slots] > WARM_UP_MINUTES)])
            else:
                found.append(slots[minute.values[slots] < share * memory["peak"][slots]])
        for metric, limit in hazard.passes:
            slots = places.of(metric)
            found.append(slots[memory["fresh"][slots] * RECENT_MINUTES >= limit])
        return np.concatenate(found)

    def _outlooks(self, watched: Watched, minute: Minute) -> Iterator[Outlook]:
        for hazard in self._hazards:
            evidence: dict[int, dict[str, _Evidence]] = {}
            for sign in hazard.signs:
                slots, values = self._seen(sign, minute)
                for slot, value in zip(slots.tolist(), values.tolist(), strict=True):
                    signs = evidence.setdefault(int(watched.entity[slot]), {})
                    # Of several series (the fans of one node) the strongest speaks for each sign.
                    key = f"{sign.feature}:{sign.text}"
                    if key not in signs or value > signs[key].value:
                        signs[key] = _Evidence(slot, value, self._reason(sign, slot, value))
            for entity in sorted(evidence):
                if (hazard.rule, entity) in self._befell:
                    continue
                signs = evidence[entity]
                odds = hazard.base + sum(each.reason.weight for each in signs.values())
                probability = 1.0 / (1.0 + float(np.exp(-odds)))
                if probability < WORTH:
                    continue
                ranked = sorted(signs.values(), key=lambda one: -one.reason.weight)
                yield Outlook(
                    hazard.rule, hazard.what, entity, probability, hazard.within,
                    tuple(each.reason for each in ranked), ranked[0].slot, hazard.action, hazard.runbook,
                )  # fmt: skip

    def _seen(self, sign: Sign, minute: Minute) -> tuple[NDArray[np.int64], Floats]:
        """Return the slots at which a sign is seen, and how strongly."""
        memory, slots = self._memory, self._places.of(sign.metric)
        if sign.feature is Feature.VALUE:
            values = minute.values[slots]
        elif sign.feature is Feature.RECENT:
            values = memory["recent"][slots] * RECENT_MINUTES
        elif sign.feature is Feature.HOUR:
            values = memory["hour"][slots] * HOUR_MINUTES
        elif sign.feature is Feature.GROWTH:
            former = memory["former"][slots]
            enough = former * FORMER_MINUTES >= LEAST_FOR_GROWTH
            values = np.where(enough, memory["fresh"][slots] / np.maximum(former, 1e-9), 0.0)
        elif sign.feature is Feature.REACH:
            values = self._reach(sign.metric, slots, minute)
        elif sign.feature is Feature.ROOM:
            values = self._used(sign.metric, slots, minute)
        elif sign.feature is Feature.SHARED:
            values = self._places.shared(slots, self._worn(slots) >= SIBLING_WEAR)
        elif sign.feature is Feature.WEAR:
            values = self._worn(slots)
        else:
            pace = self._places.worn(slots, memory["now"][slots], memory["before"][slots]) / APART_MINUTES
            values = np.where(memory["minutes"][slots] > WARM_UP_MINUTES, pace, 0.0)
        seen = values >= sign.at_least
        return slots[seen], values[seen].astype(np.float64)

    def _worn(self, slots: Slots) -> Floats:
        memory = self._memory
        worn = self._places.worn(slots, memory["now"][slots], memory["usual"][slots])
        return np.where(memory["minutes"][slots] > WARM_UP_MINUTES, worn, 0.0)

    def _used(self, metric: str, slots: Slots, minute: Minute) -> Floats:
        """Return which share of the room from what is usual up to the limit is used up."""
        memory = self._memory
        usual = memory["usual"][slots]
        room = self._places.room(metric, slots, minute.values, memory["now"]) - usual
        warm = (memory["minutes"][slots] > WARM_UP_MINUTES) & (room > 0)
        return np.where(warm, (memory["now"][slots] - usual) / np.where(warm, room, 1.0), 0.0)

    def _reach(self, metric: str, slots: Slots, minute: Minute) -> Floats:
        """Return REACH_MINUTES over the minutes until a temperature is at its limit under load, at the pace of now."""
        memory = self._memory
        now, before = memory["now"][slots], memory["before"][slots]
        pace = (now - before) / APART_MINUTES
        room = self._places.room(metric, slots, minute.values, memory["now"]) - now
        warm = (memory["minutes"][slots] > WARM_UP_MINUTES) & (pace > 0) & np.isfinite(room)
        return np.where(warm, REACH_MINUTES * pace / np.maximum(room, 1e-9), 0.0)

    def _reason(self, sign: Sign, slot: int, value: float) -> Reason:
        since = int(self._memory["since"][slot])
        text = sign.text.format(
            value=value, percent=100.0 * value, minutes=REACH_MINUTES / value, since=clock_text(since)
        )
        return Reason(sign.metric, text, sign.weight, value, since or None)
