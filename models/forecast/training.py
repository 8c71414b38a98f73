"""From a table of series to a forecaster that was judged on later data than it learnt from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.clock import DAY, SECOND
from coldaisle.errors import ConfigError
from coldaisle.expected import LEVELS
from models.artefact import Card
from models.forecast.light import LightForecaster
from models.forecast.measures import Quality, SeasonalNaive, judge, naive_scale
from models.forecast.neural import Forecaster, Progress, train_neural
from models.forecast.promotion import Decision, Trial, decide
from models.forecast.windows import Table, Usual, filled, usual_of

Floats = NDArray[np.float64]

LEARN, CALIBRATE = 0.7, 0.1
"""Shares of the steps, in order of time: to learn from, to set bands right by; the rest judges."""
LIGHT_STEPS = 2000
"""Steps that the light forecaster lives through before it is judged."""
MOST_FORECASTS = 6000
"""Forecasts that are compared; more say nothing new."""
LEAST_SEEN = 0.2
"""A series of which less than this was seen teaches nothing."""
MOST_STEPS = 10_000_000
"""Longer grids come from times that are no times."""


class Prepared(NamedTuple):
    """A regular table, which rows of what was given it holds, and why others are left out."""

    table: Table
    rows: NDArray[np.int64]
    left_out: Mapping[str, int]


class Outcome(NamedTuple):
    """A trained model, how it did on later data beside others, and whether it should take over."""

    card: Card
    arrays: Mapping[str, NDArray[Any]]
    decision: Decision
    qualities: Mapping[str, Quality]  # of it, "light", "seasonal_naive" and, where there is one, "champion"


class Forecasts(NamedTuple):
    """What forecasters said at the same moments, and what came."""

    series: NDArray[np.int64]  # [n]
    truth: Floats  # [n, horizon]
    said: Mapping[str, Floats]  # of each forecaster [n, horizon, LEVELS]


def prepare(times: NDArray[np.int64], values: Floats) -> Prepared:
    """
    Put series [series, steps] seen at ``times`` [steps] (Unix ns) on an even grid of their usual interval.

    Steps that are missing become NaN; of several samples in one step the last counts. Series that stood still or were
    hardly seen are left out, and counted. Raises ConfigError where too little is left.
    """
    order = np.argsort(times, kind="stable")
    times, values = np.asarray(times, np.int64)[order], np.asarray(values, np.float64)[:, order]
    gaps = np.diff(np.unique(times))
    if len(gaps) == 0:
        raise ConfigError("forecast: fewer than two moments; give more history")
    step = int(np.median(gaps))
    slots = (times - times[0] + step // 2) // step
    if slots[-1] > MOST_STEPS:
        raise ConfigError(f"forecast: the times span {slots[-1]} steps of {step / SECOND:g} s; give a shorter history")
    grid = np.full((len(values), int(slots[-1]) + 1), np.nan)
    for slot, column in zip(slots, values.T, strict=True):
        known = np.isfinite(column)
        grid[known, slot] = column[known]
    seen = np.isfinite(grid).mean(axis=1) >= LEAST_SEEN
    moved = usual_of(grid).width > 0
    rows = np.flatnonzero(seen & moved)
    if len(rows) == 0:
        raise ConfigError("forecast: no series moved and was seen often enough to learn from; give more history")
    left_out = {"hardly seen": int((~seen).sum()), "never moved": int((seen & ~moved).sum())}
    return Prepared(Table(times[0] + np.arange(grid.shape[1]) * step, grid[rows]), rows, left_out)


def season_of(table: Table) -> int:
    """Return the steps of a day where the table knows at least three; else 1: then the last value is the naive one."""
    day = round(DAY / SECOND / table.step_seconds)
    return day if day >= 2 and table.values.shape[1] >= 3 * day else 1


def train_and_judge(
    kind: str,
    table: Table,
    horizon: int,
    encoder: int,
    *,
    seed: int,
    created_at: int,
    metrics: tuple[str, ...] = (),
    batches: int = 400,
    champion: tuple[Card, Mapping[str, NDArray[Any]]] | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """
    Train on the first 70 %, set the bands right on the next 10 %, judge on the last 20 % of ``table``.

    ``champion`` is the present model. The card's scores are those of the judging. Raises what
    :func:`models.forecast.neural.train_neural` raises.
    """
    steps = table.values.shape[1]
    learn, begin = round(steps * LEARN), round(steps * (LEARN + CALIBRATE))
    if learn < encoder + horizon or steps - begin <= horizon:
        raise ConfigError(
            f"forecast: {steps} steps are too few for {encoder} of past and {horizon} of future; "
            f"{5 * (encoder + horizon)} are needed"
        )
    past = table.part(0, learn)
    calibration = table.part(max(learn - encoder, 0), begin)
    card, arrays = train_neural(
        kind, past, horizon, encoder, seed=seed, created_at=created_at, metrics=metrics, batches=batches,
        calibration=calibration, progress=progress,
    )  # fmt: skip
    networks = {kind: Forecaster(card, arrays)}
    if champion is not None and _comparable(champion[0], card):
        networks["champion"] = Forecaster(*champion)
    forecasts = foretell(table, begin, horizon, networks, usual_of(past.values))
    scale = naive_scale(past.values, season_of(past))
    qualities = {name: quality(forecasts, name, scale) for name in forecasts.said}
    first = int(table.times[begin])
    trial = Trial(
        card.data_to, first, len(forecasts.truth), qualities[kind], qualities["light"], qualities.get("champion")
    )
    decision = decide(trial)
    return Outcome(replace(card, scores=decision.scores), arrays, decision, qualities)


def foretell(table: Table, begin: int, horizon: int, networks: Mapping[str, Forecaster], usual: Usual) -> Forecasts:
    """
    Let each of ``networks``, the light and the seasonal-naive forecaster foretell ``table`` from step ``begin`` on.

    Every forecast knows only what came before it. ``usual`` [series] is known from the past. At most
    :data:`MOST_FORECASTS` are made, evenly spread in time.
    """
    values, steps = table.values, table.values.shape[1]
    light, ids = LightForecaster(table.step_seconds, horizon), np.arange(len(values))
    light.admit(ids)
    season = season_of(table.part(0, begin))
    naive = SeasonalNaive(values[:, :begin], season, horizon)
    need = max([season, *(each.encoder for each in networks.values())])
    every = max(1, -(-len(values) * (steps - horizon - begin) // MOST_FORECASTS))
    # A step of the day that is always the same would judge only that hour.
    every += 1 if every > 1 and every % 2 == 0 else 0
    said: dict[str, list[Floats]] = {name: [] for name in ("seasonal_naive", "light", *networks)}
    series, truth = [], []
    for step in range(max(begin - LIGHT_STEPS, 0), steps - horizon):
        light.learn(ids, np.full(len(ids), table.times[step]), values[:, step])
        if step < begin or (step - begin) % every or step + 1 < need:
            continue
        history = values[:, step + 1 - need : step + 1]
        asked = np.flatnonzero(np.isfinite(values[:, step]) & (np.isfinite(history).mean(axis=1) >= 0.5))
        made = {
            name: each.predict(history[asked], int(table.times[step]), usual.of(asked))
            for name, each in networks.items()
        }
        made["light"] = light.predict(asked)
        made["seasonal_naive"] = naive.predict(filled(history[asked]), asked)
        able = np.all([np.isfinite(each).all(axis=(1, 2)) for each in made.values()], axis=0)
        for name, each in made.items():
            said[name].append(each[able])
        series.append(asked[able])
        truth.append(values[asked[able], step + 1 : step + 1 + horizon])
    empty: Floats = np.empty((0, horizon, len(LEVELS)))
    return Forecasts(
        np.concatenate([np.empty(0, np.int64), *series]),
        np.concatenate([empty[:, :, 0], *truth]),
        {name: np.concatenate([empty, *each]) for name, each in said.items()},
    )


def quality(forecasts: Forecasts, name: str, scale: Floats) -> Quality:
    """Judge one forecaster over series of any unit: each in units of its ``scale`` [series], where there is one."""
    mine = scale[forecasts.series]
    some = np.isfinite(mine) & (mine > 0)
    unit = mine[some, None]
    ones = np.ones(int(some.sum()))
    return judge(forecasts.truth[some] / unit, forecasts.said[name][some] / unit[:, :, None], ones)


def _comparable(champion: Card, card: Card) -> bool:
    """Tell whether two models foretell the same steps, so that one trial can judge both."""
    keys = ("encoder", "horizon", "step_seconds")
    return [champion.parameters.get(key) for key in keys] == [card.parameters.get(key) for key in keys]
