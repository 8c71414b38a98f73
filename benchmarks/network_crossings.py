"""How often limits are passed as a trained network, the light forecaster and trends say, on published telemetry."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.forecasts import History, histories
from coldaisle.errors import ConfigError
from models.forecast.light import LightForecaster
from models.forecast.neural import Forecaster, train_neural
from models.forecast.path_crossing import crossing_of_paths
from models.forecast.time_to_limit import TimeToLimit
from models.forecast.training import CALIBRATE, LEARN, LIGHT_STEPS
from models.forecast.windows import usual_of
from models.limit_warning import LEFT_ALONE

Floats = NDArray[np.float64]
BINS = ((0.0, 0.05), (0.05, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.01))


def asked(history: History, share: float, batches: int) -> tuple[dict[str, Floats], NDArray[np.bool_]]:
    """
    Return what each said of the last fifth, and what came: whether a series passes a limit within the horizon.

    The limit of each series is the quantile ``share`` of its first 70 %. Asked is at every step of which the value is
    known and below the limit; everyone knows only what came before it.
    """
    table, horizon, steps = history.table, history.horizon, history.table.values.shape[1]
    learn, begin = round(steps * LEARN), round(steps * (LEARN + CALIBRATE))
    past, ids = table.part(0, learn), np.arange(len(table.values))
    card, arrays = train_neural(
        "nhits", past, horizon, history.encoder, seed=1, created_at=0, batches=batches,
        calibration=table.part(learn - history.encoder, begin),
    )  # fmt: skip
    network, usual = Forecaster(card, arrays), usual_of(past.values)
    limits = np.nanquantile(past.values, share, axis=1)
    light, trend = LightForecaster(table.step_seconds, horizon), TimeToLimit(table.step_seconds)
    light.admit(ids)
    trend.admit(ids)
    said: dict[str, list[Floats]] = {"network": [], "light": [], "trend": []}
    came: list[NDArray[np.bool_]] = []
    for step in range(max(begin - LIGHT_STEPS, 0), steps - horizon):
        now, at = table.values[:, step], np.full(len(ids), table.times[step])
        light.learn(ids, at, now)
        trend.learn(ids, at, now)
        if step < begin:
            continue
        ahead = table.values[:, step + 1 : step + 1 + horizon]
        back = table.values[:, step + 1 - history.encoder : step + 1]
        known = (now < limits) & np.isfinite(ahead).all(axis=1) & (np.isfinite(back).mean(axis=1) >= 0.5)
        some = np.flatnonzero(known)
        paths = {
            "network": network.predict(back[some], int(table.times[step]), usual.of(some)),
            "light": light.predict(some),
        }
        crossing = trend.within(some, limits[some], horizon * table.step_seconds)
        stands = trend.outlook(some)
        coming = stands.per_second * horizon * table.step_seconds >= limits[some] - stands.level
        made = {name: crossing_of_paths(each, limits[some], table.step_seconds) for name, each in paths.items()}
        chances = {name: each.probability for name, each in made.items()}
        chances["trend"] = LEFT_ALONE * np.where(coming, crossing.probability, 0.0)
        for name, each in chances.items():
            said[name].append(np.nan_to_num(each))
        came.append(np.asarray((ahead[some] >= limits[some, None]).any(axis=1)))
    return {name: np.concatenate(each) for name, each in said.items()}, np.concatenate(came)


def report(history: History, share: float, batches: int) -> None:
    """Print what was said and what came."""
    said, came = asked(history, share, batches)
    said["surer of two"] = np.maximum(said["network"], said["trend"])
    print(
        f"\n{history.name}: limit = quantile {share:g} of each series' first 70 %; passed in {history.horizon} steps "
        f"in {came.mean():.1%} of {len(came)} cases"
    )
    heads = [f"{f'{low:.0%} to {min(high, 1.0):.0%}':>14}" for low, high in BINS]
    print(f"  {'said > came':14}{''.join(heads)}  {'over 50 %: right':>18} {'of all that came':>17}  Brier score")
    for name, chance in said.items():
        cells = []
        for low, high in BINS:
            some = (chance >= low) & (chance < high)
            words = f"{chance[some].mean():.2f} > {came[some].mean():.2f}" if some.sum() >= 20 else "-"
            cells.append(f"{words:>14}")
        told = chance >= 0.5
        right = f"{came[told].mean():.0%} of {told.sum()}" if told.any() else "never said"
        print(
            f"  {name:14}{''.join(cells)}  {right:>18} {(came & told).sum() / max(came.sum(), 1):>17.0%}"
            f"  {((chance - came) ** 2).mean():.4f}",
            flush=True,
        )


def main(argv: Sequence[str]) -> int:
    """Print a table for each set."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.network_crossings", description=__doc__)
    parser.add_argument("--data", nargs="*", default=["biohpc", "mlperf_power"], help="published sets")
    parser.add_argument("--share", type=float, default=0.95, help="quantile of the first 70 %% that is the limit")
    parser.add_argument("--batches", type=int, default=400)
    args = parser.parse_args(argv)
    try:
        for history in histories(args.data):
            report(history, args.share, args.batches)
    except ConfigError as error:
        sys.exit(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
