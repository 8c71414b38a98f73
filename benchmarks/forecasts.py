"""How good and how quick forecasts are: light, N-HiTS and TFT beside seasonal-naive, and time to limit."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.limit_crossings import main as crossing_table
from benchmarks.score_real_data import data_folder
from coldaisle.clock import HOUR, MINUTE, SECOND
from coldaisle.errors import ConfigError
from models.forecast.light import LightForecaster
from models.forecast.measures import Quality, judge, naive_scale
from models.forecast.neural import KINDS, Forecaster, Progress, train_neural
from models.forecast.promotion import Trial, decide
from models.forecast.time_to_limit import TimeToLimit
from models.forecast.training import CALIBRATE, LEARN, Forecasts, foretell, quality, season_of
from models.forecast.windows import Table, usual_of

Floats = NDArray[np.float64]


class History(NamedTuple):
    """A published set as a table, with the metric of each series and what is to be foretold."""

    name: str
    table: Table
    metrics: NDArray[np.str_]  # [series]
    horizon: int  # steps
    encoder: int


def biohpc() -> History:
    """Return four metrics of six GPU servers by the hour: a day from a week."""
    columns = {
        "powerave": "power",
        "tempave": "temperature",
        "utilave": "utilisation",
        "gmemave": "memory used",
    }
    frames = []
    for path in sorted((data_folder() / "biohpc").glob("*.tsv.gz")):
        frame = pd.read_csv(path, sep="\t", encoding="utf-8-sig", on_bad_lines="skip")
        frame["timestamp"] = pd.to_datetime(frame["timestamp"], errors="coerce", utc=True)
        frame = frame[frame["timestamp"].notna()].set_index("timestamp")[list(columns)].astype(float)
        frames.append(frame.add_prefix(f"{path.name[:9]}/"))
    together = pd.concat(frames, axis=1, sort=True)
    hours = pd.DatetimeIndex(together.index).as_unit("ns").asi8 // HOUR
    values = np.full((together.shape[1], int(hours[-1] - hours[0]) + 1), np.nan)
    values[:, hours - hours[0]] = together.to_numpy().T
    times = np.arange(hours[0], hours[-1] + 1, dtype=np.int64) * HOUR
    metrics = np.array([columns[str(name).split("/")[1]] for name in together.columns])
    return History("biohpc", Table(times, values), metrics, 24, 168)


def mlperf() -> History:
    """Return the power of nodes in the longest runs, every two seconds: the next minute from four."""
    rows = []
    for path in sorted((data_folder() / "mlperf_power").glob("*.csv.gz")):
        frame = pd.read_csv(path)
        frame = frame[frame["key"] == "power_reading"]
        for _, node in frame.groupby(["run", "device"]):
            slots = ((node["time_ms"] - node["time_ms"].min()) // 2000).to_numpy(np.int64)
            row = np.full(int(slots.max()) + 1, np.nan)
            row[slots] = node["value"].astype(float)
            rows.append(row)
    # 30 steps must be left to judge after 80 % of a run, with the four minutes before them.
    longest = [row for row in rows if len(row) >= 1000]
    values = np.full((len(longest), max(len(row) for row in longest)), np.nan)
    for at, row in enumerate(longest):
        values[at, : len(row)] = row
    times = np.arange(values.shape[1], dtype=np.int64) * 2 * SECOND
    return History("mlperf_power", Table(times, values), np.full(len(values), "node power"), 30, 120)


def report(history: History, kinds: list[str], most: int) -> None:
    """Train what is asked for and print how all forecasters did on the last fifth."""
    table, steps = history.table, history.table.values.shape[1]
    learn, begin = round(steps * LEARN), round(steps * (LEARN + CALIBRATE))
    past = table.part(0, learn)
    season = season_of(past)
    print(
        f"\n{history.name}: {len(table.values)} series of {steps} steps of {table.step_seconds:g} s, {history.horizon} "
        f"foretold from {history.encoder}; learnt from the first {LEARN:.0%}, bands set on the next {CALIBRATE:.0%}, "
        f"judged on the rest\nseasonal-naive: {f'{season} steps ago' if season > 1 else 'the last value (has no day)'}"
    )
    networks = {}
    for kind in kinds:
        began = time.perf_counter()
        batches = most if kind == "nhits" else max(most // 4, 1)
        card, arrays = train_neural(
            kind, past, history.horizon, history.encoder, seed=1, created_at=0, batches=batches,
            calibration=table.part(learn - history.encoder, begin), progress=_progress(kind),
        )  # fmt: skip
        size = sum(array.size for array in arrays.values())
        print(f"  {kind}: {batches} batches in {time.perf_counter() - began:.0f} s, {size} numbers", flush=True)
        networks[kind] = Forecaster(card, arrays)
    forecasts = foretell(table, begin, history.horizon, networks, usual_of(past.values))
    scale = naive_scale(past.values, season)
    print(
        f"  {'metric':20} {'forecaster':16} {'MASE':>6} {'WQL':>7} {'80 %':>6} {'98 %':>6}  of {len(forecasts.truth)}"
    )
    for metric in np.unique(history.metrics):
        for name in forecasts.said:
            _row(metric, name, _of_metric(forecasts, name, history.metrics == metric, scale))
    together = {name: quality(forecasts, name, scale) for name in forecasts.said}
    for name, each in together.items():
        _row("all, scaled", name, each)
    for kind in kinds:
        judged = len(forecasts.truth)
        trial = Trial(int(table.times[begin - 1]), int(table.times[begin]), judged, together[kind], together["light"])
        decision = decide(trial)
        print(f"  {kind}: {'promoted' if decision.promoted else 'not promoted'}: {decision.reason}")


def _of_metric(forecasts: Forecasts, name: str, of: NDArray[np.bool_], scale: Floats) -> Quality:
    some = of[forecasts.series]
    return judge(forecasts.truth[some], forecasts.said[name][some], scale[forecasts.series[some]])


def _row(metric: str, name: str, each: Quality) -> None:
    figures = f"{each.mase:6.3f} {each.quantile_loss:7.4f} {each.coverage_80:6.1%} {each.coverage_98:6.1%}"
    print(f"  {metric:20} {name:16} {figures}", flush=True)


def _progress(kind: str) -> Progress:
    def told(done: int, batches: int, loss: float) -> None:
        if sys.stderr.isatty():
            print(
                f"\r  {kind}: {done}/{batches}, loss {loss:.4f}", end="\n" if done == batches else "", file=sys.stderr
            )

    return told


def speed(kinds: list[str]) -> None:
    """Print what serving costs: an hour of minutes for 1,000 series, from four hours."""
    random = np.random.default_rng(1)
    series, encoder, horizon = 1000, 240, 60
    values = 50 + np.cumsum(random.normal(0, 1, (series, 2000)), axis=1)
    table = Table(np.arange(2000, dtype=np.int64) * MINUTE, values)
    print(f"\nserving {series} series, {horizon} steps of a minute ahead, from {encoder}")
    for kind in kinds:
        forecaster = Forecaster(*train_neural(kind, table, horizon, encoder, seed=1, created_at=0, batches=1))
        _timed(f"{kind}", partial(forecaster.predict, values[:, -encoder:], int(table.times[-1])), series)
    light, ids = LightForecaster(60.0, horizon), np.arange(series)
    light.admit(ids)
    for step in range(100):
        light.learn(ids, np.full(series, table.times[step]), values[:, step])
    _timed("light", lambda: light.predict(ids), series)
    state = sum(array.nbytes for array in light.state().values()) / series
    moments = iter(range(100, 2000))

    def learn() -> None:
        step = next(moments)
        light.learn(ids, np.full(series, table.times[step]), values[:, step])

    _timed(f"light, learning a step ({state:.0f} bytes a series)", learn, series)
    limits = TimeToLimit()
    limits.admit(ids)
    for step in range(100):
        limits.learn(ids, np.full(series, table.times[step]), values[:, step])
    _timed("time to limit, asked", lambda: limits.within(ids, np.full(series, 80.0), 3600.0), series)

    def learn_limits() -> None:
        step = next(moments)
        limits.learn(ids, np.full(series, table.times[step]), values[:, step])

    state = sum(array.nbytes for array in limits.state().values()) / series
    _timed(f"time to limit, learning a step ({state:.0f} bytes a series)", learn_limits, series)


def _timed(name: str, work: Callable[[], object], series: int) -> None:
    taken = []
    for _ in range(7):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    print(
        f"  {name:50} {min(taken):8.4f} s best, {np.median(taken):8.4f} s median, "
        f"{min(taken) / series * 1e6:7.1f} us a series"
    )


def histories(names: list[str]) -> Iterator[History]:
    """Yield the sets that are there."""
    for name, read in (("biohpc", biohpc), ("mlperf_power", mlperf)):
        if name not in names:
            continue
        if not (data_folder() / name).is_dir():
            print(
                f"{data_folder() / name} is missing; set COLDAISLE_DATA to the folder of published data",
                file=sys.stderr,
            )
            continue
        yield read()


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks forecasts", description=__doc__)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=KINDS, help="networks (default: all)")
    parser.add_argument("--data", nargs="*", default=["biohpc", "mlperf_power"], help="published sets")
    parser.add_argument(
        "--batches", type=int, default=800, help="of 128 windows, for N-HiTS; a TFT, slower, has a quarter"
    )
    parser.add_argument("--only-speed", action="store_true", help="no training on published sets")
    args = parser.parse_args()
    crossing_table()
    kinds: list[str] = args.kinds
    try:
        speed(kinds)
        for history in () if args.only_speed else histories(args.data):
            report(history, kinds, args.batches)
    except ConfigError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
