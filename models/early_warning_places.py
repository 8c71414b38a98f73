"""Which watched series belong together: the fans of one wall, a GPU's temperature and power, its node's inlet."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from coldaisle.catalogue import Kind, metric_of
from coldaisle.frame import Values
from coldaisle.warner import Watched
from models.early_warning_signs import (
    CLOCK,
    CORE_LIMIT_CELSIUS,
    FANS,
    INLETS,
    MEMORY_LIMIT_CELSIUS,
    POWER,
    SLOWDOWN,
    TEMPERATURE,
    TEMPERATURES,
)

Floats = NDArray[np.float64]
Slots = NDArray[np.int64]

LEAST_FANS: Final = 3
STILL: Final = 0.08
"""By which share power may differ from its last minutes' mean and still count as steady."""
WARMER: Final = 3.0
"""Degrees above the inlet below which a thermal resistance says nothing."""


class Places:
    """Finds slots by metric, entity and source; works it out anew only when the watched series change."""

    def __init__(self) -> None:
        self._watched: Watched | None = None
        self._slots: dict[str, Slots] = {}
        self._walls: list[tuple[Slots, NDArray[np.int64], int]] = []
        self.counted: Slots = np.zeros(0, np.int64)
        self.peaked: Slots = np.zeros(0, np.int64)
        self.counter = np.zeros(0, np.bool_)  # by slot
        self.entity = np.zeros(0, np.int32)
        self._better_low = np.zeros(0, np.bool_)

    def of(self, metric: str) -> Slots:
        """Return the slots of a metric."""
        return self._slots.get(metric, np.zeros(0, np.int64))

    def read(self, watched: Watched) -> None:
        """Take note of what is watched."""
        if watched is self._watched:
            return
        self._watched = watched
        self.entity = watched.entity
        self._slots = {}
        self.counter = np.zeros(len(watched.metric), np.bool_)
        self._better_low = np.zeros(len(watched.metric), np.bool_)
        for number, name in enumerate(watched.names):
            slots = np.flatnonzero(watched.metric == number)
            if len(slots):
                self._slots[name] = slots
                self.counter[slots] = metric_of(name).kind is Kind.COUNTER
                self._better_low[slots] = name in TEMPERATURES
        ratio = {*FANS, *TEMPERATURES, *INLETS, CLOCK, POWER}
        nothing = [np.zeros(0, np.int64)]
        self.counted = np.concatenate([*nothing, *(s for name, s in self._slots.items() if name not in ratio)])
        self.peaked = np.concatenate([
            *nothing, *(s for name, s in self._slots.items() if name == POWER or not self.counter[s[0]]),
        ])  # fmt: skip
        self._walls = [self._wall(fan) for fan in FANS if fan in self._slots]

    def worn(self, slots: Slots, now: NDArray[np.floating], usual: NDArray[np.floating]) -> Floats:
        """Return by which share ``now`` is worse than ``usual``: risen for resistances, fallen for the rest."""
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(self._better_low[slots], now / usual - 1.0, 1.0 - now / usual)
        return np.nan_to_num(share.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)

    def ratios(
        self, values: Values, peak: NDArray[np.float32], usual: NDArray[np.float32], least_load: float
    ) -> tuple[Slots, Floats]:
        """
        Return what neither load nor weather should change, by slot; NaN = cannot be told now.

        Fans: speed against the second fastest of the same wall. Temperatures: degrees above the node's inlet for each
        watt of the GPU. Clocks: hertz for each watt. Power: as it is. The latter three only under load
        (``least_load`` of the peak); the two before only while that stands still, since temperatures come late.
        """
        slots, ratios = [np.zeros(0, np.int64)], [np.zeros(0)]
        for wall, starts, longest in self._walls:
            if longest >= LEAST_FANS:
                slots.append(wall)
                ratios.append(_against_siblings(values[wall], starts))
        watts = self._beside(POWER, self.entity)
        inlet = self._inlets()
        if POWER in self._slots:
            mine = self._slots[POWER]
            slots.append(mine)
            ratios.append(np.where(values[mine] >= least_load * peak[mine], values[mine], np.nan))
        for name in (*TEMPERATURES, CLOCK):
            mine = self.of(name)
            if not len(mine):
                continue
            power = _taken(values, watts, self.entity[mine])
            before = _taken(usual, watts, self.entity[mine])
            load = power >= least_load * _taken(peak, watts, self.entity[mine])
            load &= np.abs(power - before) <= STILL * before
            if name == CLOCK:
                told = values[mine] / power
            else:
                above = values[mine] - _taken(values, inlet, self._source()[mine])
                told = np.where(above >= WARMER, above, np.nan) / power
            slots.append(mine)
            ratios.append(np.where(load & (power > 0), told, np.nan))
        return np.concatenate(slots), np.concatenate(ratios)

    def shared(self, slots: Slots, worn: NDArray[np.bool_]) -> Floats:
        """Return for each slot which share of the others of its device is ``worn``; 0 where there are none."""
        source = self._source()[slots]
        size = int(source.max(initial=-1)) + 1
        others = np.bincount(source, minlength=size)[source] - 1
        also = np.bincount(source, worn.astype(np.float64), size)[source] - worn
        return np.asarray(np.where(others > 0, also / np.maximum(others, 1), 0.0))

    def room(self, metric: str, slots: Slots, values: Values, usual: NDArray[np.float32]) -> Floats:
        """Return the degrees above the inlet for each watt at which a temperature is at its limit under its load."""
        limit = np.full(len(slots), MEMORY_LIMIT_CELSIUS)
        if metric == TEMPERATURE:
            told = _taken(values, self._beside(SLOWDOWN, self.entity), self.entity[slots])
            limit = np.where(np.isfinite(told), told, CORE_LIMIT_CELSIUS)
        inlet = _taken(values, self._inlets(), self._source()[slots])
        watts = _taken(usual, self._beside(POWER, self.entity), self.entity[slots])
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray((limit - inlet) / watts)

    def _source(self) -> NDArray[np.int32]:
        return np.zeros(0, np.int32) if self._watched is None else self._watched.source

    def _wall(self, fan: str) -> tuple[Slots, NDArray[np.int64], int]:
        """Return the slots of a fan metric sorted by device, where each device's begin, and the longest run."""
        slots = self.of(fan)
        if not len(slots):
            return slots, np.zeros(1, np.int64), 0
        source = self._source()[slots]
        order = np.argsort(source, kind="stable")
        starts = np.flatnonzero(np.concatenate(([True], np.diff(source[order]) != 0)))
        bounds = np.append(starts, len(slots))
        return slots[order], bounds, int(np.diff(bounds).max())

    def _beside(self, metric: str, key: NDArray[np.int32]) -> Slots:
        """Return the slot of ``metric`` by entity or source; -1 = there is none."""
        slots = self.of(metric)
        found = np.full(int(key.max(initial=-1)) + 1, -1, np.int64)
        found[key[slots]] = slots
        return found

    def _inlets(self) -> Slots:
        """Return the slot of what cools each device: its coolant where that is told, else its air."""
        source = self._source()
        found = np.full(int(source.max(initial=-1)) + 1, -1, np.int64)
        for metric in reversed(INLETS):
            slots = self.of(metric)
            found[source[slots]] = slots
        return found


def _taken(values: NDArray[np.floating], slot_of: Slots, keys: NDArray[np.int32]) -> Floats:
    slots = slot_of[keys] if len(slot_of) else np.full(len(keys), -1, np.int64)
    return np.where(slots >= 0, values[slots], np.nan).astype(np.float64) if len(values) else np.full(len(keys), np.nan)


def _against_siblings(values: Floats, bounds: NDArray[np.int64]) -> Floats:
    """
    Return each fan's speed over that of the second fastest of its wall; NaN where fewer than three speak.

    Not over the median: half of a wall may wear at once. Not over the fastest: one sensor may be wrong.
    """
    number = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    order = np.lexsort((-values, number))  # NaN last within each wall
    ranked = values[order]
    second = np.minimum(bounds[:-1] + 1, len(values) - 1)
    speaking = np.add.reduceat(np.isfinite(values).astype(np.int64), bounds[:-1]) if len(values) else np.zeros(0)
    reference = np.where(speaking >= LEAST_FANS, ranked[second], np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(reference[number] > 0, values / reference[number], np.nan))
