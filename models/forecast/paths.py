"""What a trained forecaster says of series that have a limit: asked at an even pace, believed a minute later."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.clock import MINUTE, SECOND
from coldaisle.errors import ConfigError
from coldaisle.expected import LEVELS
from coldaisle.state import Kept, State, nested
from models.artefact import Card
from models.columns import Columns
from models.forecast.path_crossing import crossing_of_paths
from models.forecast.served import PathForecaster, Waiting

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

PACE_NS: Final = 5 * MINUTE
"""A forecast of an hour is worth little less after five minutes, and a thousand series cost a third of a second."""
LONGER: Final = 168
"""Readings of a longer past that say where a series usually is, ``A_PAST`` of them for each past of the model's own."""
A_PAST: Final = 8
_LOW, _MEDIAN, _HIGH = LEVELS.index(0.1), LEVELS.index(0.5), LEVELS.index(0.9)


class Foretold(NamedTuple):
    """What the newest forecast says of each series; NaN = it says nothing, infinity = not within its horizon."""

    probability: Floats  # [n] that it crosses its limit within ``high_seconds``
    low_seconds: Floats  # [n] it crosses sooner with 10 %
    median_seconds: Floats  # [n]
    high_seconds: Floats  # [n] as far as the forecast reaches
    after_seconds: Floats  # [n] when its median stands closest to the limit, or furthest beyond it
    band: Floats  # [n, 3] then: 10 %, 50 % and 90 %, in the metric's unit


class ForecastPaths:
    """
    Keeps the past of some series on the model's own steps, has them foretold, and finds where paths cross limits.

    The question is put when a step ends, at most every :data:`PACE_NS` of event time; its answer is believed with the
    next minute that is looked at. While life goes on it has long been there by then, so nobody waits, and
    every run believes the same forecast from the same minute on. Rows are the caller's own. 1.5 KB a series
    where a model looks back on 180 steps.
    """

    def __init__(self, forecaster: PathForecaster) -> None:
        """Raises ConfigError where the model's steps are no whole minutes, which is how often we look."""
        self._forecaster = forecaster
        card = self.card = forecaster.card
        self._step_ns = step_of(card)
        self._encoder, horizon = int(card.parameters["encoder"]), int(card.parameters["horizon"])
        self._pace_ns = self._step_ns * -(-PACE_NS // self._step_ns)
        self._reach_ns = self._step_ns * horizon
        self._every = max(1, self._encoder // A_PAST)
        self._memory = Columns({
            "past": np.full(self._encoder, np.nan, np.float32),
            "longer": np.full(LONGER, np.nan, np.float32),
            "made": np.int64(0),  # when the forecast was asked for, Unix ns; 0 = there is none
            "probability": np.float64(np.nan),
            "low": np.float64(np.nan),  # seconds from then
            "median": np.float64(np.nan),
            "after": np.float64(np.nan),
            "band": np.full(3, np.nan, np.float64),
        })  # fmt: skip
        self._step = -1  # the newest one of which anything is known
        self._asked = 0  # when the question under way was put, Unix ns; 0 = none is
        self._rows: Rows = np.zeros(0, np.int64)  # that it is about; -1 = forgotten since
        self._answer: Waiting | None = None

    @property
    def metrics(self) -> frozenset[str]:
        """What the model has learnt to foretell."""
        return frozenset(self.card.metrics)

    def admit(self, rows: Rows) -> None:
        """Make room; rows already known keep what they hold."""
        self._memory.reach(rows)

    def forget(self, rows: Rows) -> None:
        """Drop what is known of ``rows``."""
        self._memory.clear(rows)
        self._rows = np.where(np.isin(self._rows, rows), -1, self._rows)

    def move(self, at: int, rows: Rows, values: Floats, limits: Floats, sides: NDArray[np.int8]) -> None:
        """
        Take the minute that ended ``at`` (Unix ns): ``values`` [n] of ``rows``, NaN = not heard.

        ``limits`` [n] in the metric's unit, NaN = none; ``sides`` [n]: +1 = harmful above, -1 = below.
        """
        self._believe(rows, limits, sides)
        self._note(at, rows, values)
        if at % self._pace_ns == 0:
            self._ask(at, rows)

    def foretold(self, at: int, rows: Rows) -> Foretold:
        """Return what is believed ``at`` (Unix ns) of ``rows``; NaN where the forecast is too old. Pure."""
        memory = self._memory
        age = at - memory["made"][rows]
        # Half of what it foretold lies behind it: too old to tell what is ahead.
        fresh = (memory["made"][rows] > 0) & (age <= min(self._pace_ns + MINUTE, self._reach_ns // 2))
        gone = np.where(fresh, age / SECOND, np.nan)

        def ahead(name: str) -> Floats:
            return np.asarray(np.maximum(memory[name][rows] - gone, 0.0))

        probability = np.where(fresh, memory["probability"][rows], np.nan)
        reach = self._reach_ns / SECOND - gone
        return Foretold(probability, ahead("low"), ahead("median"), reach, ahead("after"), memory["band"][rows])

    def state(self) -> dict[str, Any]:
        """Return what a snapshot keeps; the question under way is put again."""
        own = {"step": self._step, "asked": self._asked, "rows": self._rows.copy()}
        return {**nested("series", self._memory.state()), **own}

    def restore(self, state: State) -> None:
        """Take back what ``state`` returned. Raises Permanent."""
        kept = Kept(state)
        self._memory.restore(kept.within("series").state)
        self._step, self._asked = kept.integer("step"), kept.integer("asked")
        self._rows = kept.array("rows", np.int64, None)
        self._answer = self._question() if self._asked else None

    def _believe(self, rows: Rows, limits: Floats, sides: NDArray[np.int8]) -> None:
        """Take the answer to the question under way, and find where its paths cross the limits of now."""
        if self._answer is None:
            return
        paths, asked = self._answer(), self._rows
        made, self._asked, self._answer, self._rows = self._asked, 0, None, np.zeros(0, np.int64)
        place = np.full(int(max(rows.max(initial=-1), asked.max(initial=-1))) + 1, -1, np.int64)
        place[rows] = np.arange(len(rows))
        mine = np.flatnonzero(asked >= 0)
        mine = mine[place[asked[mine]] >= 0]
        if paths is None or not len(mine):
            return
        memory = self._memory
        memory["made"][asked[mine]], memory["probability"][asked[mine]] = made, 0.0
        at = place[asked[mine]]
        near = _near(paths[mine], limits[at], sides[at])
        mine, at = mine[near], at[near]
        told, known = paths[mine].astype(np.float64), asked[mine]
        crossing = crossing_of_paths(told, limits[at], self._step_ns / SECOND, sides[at])
        nearest = np.argmax(told[:, :, _MEDIAN] * sides[at][:, None], axis=1)
        memory["probability"][known] = crossing.probability
        memory["low"][known], memory["median"][known] = crossing.seconds_low, crossing.seconds_median
        memory["after"][known] = (nearest + 1) * self._step_ns / SECOND
        memory["band"][known] = told[np.arange(len(told)), nearest][:, [_LOW, _MEDIAN, _HIGH]]

    def _note(self, at: int, rows: Rows, values: Floats) -> None:
        """Write down the newest values; those of one step follow each other, and the last counts."""
        step = (at - 1) // self._step_ns
        past, longer = self._memory["past"], self._memory["longer"]
        for gone in range(max(self._step, step - self._encoder), step):
            if gone == self._step and gone % self._every == 0:  # it is whole now
                longer[:, gone // self._every % LONGER] = past[:, gone % self._encoder]
            past[:, (gone + 1) % self._encoder] = np.nan
        self._step = max(self._step, step)
        heard = np.isfinite(values)
        past[rows[heard], step % self._encoder] = values[heard]

    def _ask(self, at: int, rows: Rows) -> None:
        seen = np.isfinite(self._memory["past"][rows])
        able = seen[:, self._step % self._encoder] & (seen.mean(axis=1) >= 0.5)  # else there is no answer
        self._rows = rows[able]
        if len(self._rows):
            self._asked, self._answer = at, self._question()

    def _question(self) -> Waiting:
        rows = np.maximum(self._rows, 0)
        order = np.arange(self._step + 1, self._step + 1 + self._encoder) % self._encoder
        past, longer = self._memory["past"][rows][:, order], self._memory["longer"][rows]
        # What is young has no longer past; then its own says where it usually is.
        return self._forecaster.ask(past, np.concatenate([longer, past[:, :: self._every]], axis=1), self._last())

    def _last(self) -> int:
        return int(self._step * self._step_ns)


def _near(paths: NDArray[np.float32], limits: Floats, sides: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Say which paths come so near to their limit that more than one in a thousand passes it; nobody asks of less."""
    up = (sides > 0)[:, None]
    outer = np.where(up, paths[:, :, -1], -paths[:, :, 0])
    inner = np.where(up, paths[:, :, -2], -paths[:, :, 1])
    # A tail falls by ten for each width between the two outermost quantiles (models/forecast/path_crossing.py).
    return np.asarray(~((2.0 * outer - inner).max(axis=1) < limits * sides))


def step_of(card: Card) -> int:
    """Return the steps of a model, ns. Raises ConfigError where they are no whole minutes."""
    step = round(float(card.parameters["step_seconds"]) * SECOND)
    if step < MINUTE or step % MINUTE:
        raise ConfigError(
            f"forecast: model {card.version} foretells steps of {step / SECOND:g} s, and limits are looked at by the "
            "minute; train one with `coldaisle train --kind forecast --step 1m`"
        )
    return step
