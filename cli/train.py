"""``coldaisle train``: learns models from history, and promotes them only where they are better on later data."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cli.models import registry_folder
from cli.moments import span
from cli.progress import Progress
from cli.settings import read
from cli.training_data import History, from_recording, from_store, from_tables
from coldaisle.clock import DAY, HOUR, MINUTE, SystemClock
from coldaisle.errors import ConfigError
from coldaisle.store.recording_words import SAMPLES
from models.artefact import Card, load, save
from models.registry import Registry

NICENESS = 10
"""Scoring goes first wherever both want a core."""
KINDS = ("forest", "forecast", "all")
NETWORKS = ("nhits", "tft")
SINCE = "30d"
_ABOUT = """\
PATH is one recording, or CSV and Parquet files whose columns are series. Without a PATH the metric store of --config
is read. A model that was trained is stored in the registry as challenger; it is promoted only where it is better, on
later data than it learnt from, than the champion and than the way without a model. `coldaisle models` shows what is.

examples:
  coldaisle train day --kind forest
  coldaisle train --config site.toml --since 14d
  coldaisle train history/*.csv --kind forecast --network nhits --horizon 1h
"""


@dataclass
class Trained:
    """What became of one model."""

    kind: str
    version: str
    promoted: bool
    reason: str
    scores: Mapping[str, float]
    learnt: str = ""
    left_out: Mapping[str, int] = field(default_factory=dict)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = _ABOUT
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="a recording, or CSV and Parquet files")
    parser.add_argument("--kind", choices=KINDS, default="all", help="which models (all)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings: where samples and models lie")
    parser.add_argument("--models", type=Path, metavar="DIR", help="the registry, wherever it lies")
    parser.add_argument("--network", choices=(*NETWORKS, "both"), default="nhits", help="of a forecast (nhits)")
    parser.add_argument("--metric", action="append", default=[], metavar="NAME", help="only this metric; repeatable")
    parser.add_argument("--since", default=SINCE, metavar="SPAN", help=f"of the metric store, so much ({SINCE})")
    parser.add_argument("--step", metavar="SPAN", help="time between two values (the data's own, at least 1m)")
    parser.add_argument("--horizon", metavar="SPAN", help="how far a forecast reaches (1h; 24 steps of hourly data)")
    parser.add_argument("--past", metavar="SPAN", help="what a forecast looks back on (3 horizons; a week if hourly)")
    parser.add_argument("--batches", type=int, default=400, metavar="N", help="of training (400)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="equal numbers give equal models (1)")
    parser.add_argument("--json", action="store_true", help="print one object")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def run(args: argparse.Namespace) -> int:
    """Train, store, promote where better. Raises ConfigError, also where an extra is not installed."""
    if args.batches < 1 or args.seed < 0:
        raise ConfigError(f"--batches {args.batches}, --seed {args.seed}: give 1 or more batches, and a seed from 0 on")
    if args.kind != "forest" and find_spec("torch") is None:
        raise ConfigError("--kind forecast: the extra `forecast` is missing; `make forecast` installs it")
    step = None if args.step is None else _span(args.step, "--step")
    with suppress(OSError):  # where a system forbids it, training merely is no slower than others
        os.nice(NICENESS)
    registry = Registry(registry_folder(args.config, args.models))
    quiet = args.quiet or args.json
    done: list[Trained] = []
    if args.kind in ("forest", "all"):
        from cli.training_forest import train_forest_model

        if is_recording(args.paths):
            done.append(train_forest_model(args.paths[0], args.config, registry, args.seed, quiet))
        elif args.kind == "forest":
            raise ConfigError("--kind forest learns from a recording: give its folder")
        elif not args.quiet:
            print("coldaisle: a forest learns from a recording; only forecasts are trained", file=sys.stderr)
    if args.kind in ("forecast", "all"):
        history = _history(args, step)
        networks = NETWORKS if args.network == "both" else (args.network,)
        done += [_forecaster(network, history, args, registry, quiet) for network in networks]
    if args.json:
        print(json.dumps({"registry": str(registry.folder), "models": [vars(one) for one in done]}, indent=2))
    else:
        print("\n".join(_told(one) for one in done))
    return 0


def is_recording(paths: Sequence[Path]) -> bool:
    """Say whether ``paths`` are one recording. Raises ConfigError where they are several."""
    folders = [path for path in paths if (path / SAMPLES).exists()]
    if folders and len(paths) > 1:
        raise ConfigError(f"{folders[0]}: is a recording; train on one at a time, or on files")
    return bool(folders)


def keep(registry: Registry, card: Card, arrays: Mapping[str, Any], promoted: bool, reason: str) -> None:
    """Store a model as challenger, and promote it if it is to be. Raises ConfigError."""
    registry.folder.mkdir(parents=True, exist_ok=True)
    now = SystemClock().now()
    with tempfile.TemporaryDirectory(prefix=".training.", dir=registry.folder) as folder:
        path = Path(folder) / card.version
        save(path, card, arrays)
        registry.add(path, now, reason)
    if promoted:
        registry.promote(card.kind, card.version, reason, now)


def _forecaster(network: str, history: History, args: argparse.Namespace, registry: Registry, quiet: bool) -> Trained:
    from models.forecast.training import prepare, train_and_judge

    prepared = prepare(history.times, history.values)
    horizon, past = _reach(args, prepared.table.step_seconds)
    progress = Progress(f"train {network}", quiet=quiet)
    champion = registry.champion(network)
    now = SystemClock().now()
    outcome = train_and_judge(
        network, prepared.table, horizon, past, seed=args.seed, created_at=now, metrics=history.metrics,
        batches=args.batches, champion=None if champion is None else load(champion, _kind_of(champion)),
        progress=lambda batch, batches, _loss: progress.show(batch / batches),
    )  # fmt: skip
    progress.done()
    decision = outcome.decision
    keep(registry, outcome.card, outcome.arrays, decision.promoted, decision.reason)
    return Trained(
        network, outcome.card.version, decision.promoted, decision.reason, dict(outcome.card.scores),
        f"{len(prepared.rows):,} series", dict(prepared.left_out),
    )  # fmt: skip


def _kind_of(path: Path) -> str:
    from models.artefact import read_card

    return read_card(path).kind


def _history(args: argparse.Namespace, step: int | None) -> History:
    if not args.paths:
        return from_store(read(args.config), args.metric, step, _since(args), SystemClock().now())
    if is_recording(args.paths):
        return from_recording(args.paths[0], args.metric, step)
    if args.metric:
        raise ConfigError("--metric chooses among the metrics of a recording or a store; give only the files you want")
    return from_tables(args.paths, step)


def _since(args: argparse.Namespace) -> int:
    return SystemClock().now() - _span(args.since, "--since")


def _reach(args: argparse.Namespace, step_seconds: float) -> tuple[int, int]:
    """Return the steps that a forecast reaches and looks back on."""
    step = step_seconds * 1e9
    hourly = step >= 30 * MINUTE
    horizon = _span(args.horizon, "--horizon") if args.horizon else (24 * step if hourly else HOUR)
    steps = max(1, round(horizon / step))
    past = _span(args.past, "--past") if args.past else (7 * DAY if hourly else 3 * steps * step)
    return steps, max(2, round(past / step))


def _span(text: str, option: str) -> int:
    length = span(text, option)
    if length <= 0:
        raise ConfigError(f"{option} {text!r}: give more than nothing")
    return length


def _told(one: Trained) -> str:
    what = "promoted: it decides from now on" if one.promoted else "kept as challenger, not promoted"
    lines = [f"{one.kind} {one.version}: {what}", f"  {one.reason}"]
    if one.scores:
        shown = list(one.scores.items())[:8]
        lines.append("  on later data: " + ", ".join(f"{name} {value:.4g}" for name, value in shown))
    if one.learnt:
        left = ", ".join(f"{count:,} {why}" for why, count in one.left_out.items() if count)
        lines.append(f"  learnt from {one.learnt}" + (f"; left out: {left}" if left else ""))
    return "\n".join(lines)
