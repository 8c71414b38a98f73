"""Trains isolation forests on what the pipeline's own detectors think of a recording."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cli.progress import Progress
from cli.replay import step_ns
from cli.settings import read
from cli.wiring import bar_of, rules_of
from coldaisle.clock import HOUR, SECOND, SystemClock
from coldaisle.entity_detector import EntityRows
from coldaisle.errors import ConfigError
from coldaisle.selfstats import SelfStats
from coldaisle.store.recording import Recording
from models import isolation_forest
from models.artefact import load
from models.calibrate import TailCalibrator
from models.forest_trial import judge
from models.isolation_forest import KIND, Forest, forests_of
from models.registry import Registry
from pipeline.scoring import Engine

LEARNT_SHARE = 0.8
"""Of the recording's time; the rest judges."""
LOOK_SECONDS = 10
"""Rows closer together than this say the same thing twice."""
MOST_ROWS = 400_000


class Listener:
    """
    An :class:`~coldaisle.entity_detector.EntityDetector` without an opinion, which remembers what it is shown.

    Only rows that the pipeline calls normal life are shown to ``learn``.
    """

    name = KIND

    def __init__(self) -> None:
        self.blocks: list[tuple[int, EntityRows]] = []
        self._rows = 0
        self._look = LOOK_SECONDS * SECOND
        self._last: dict[str, int] = {}

    def learn(self, rows: EntityRows, at: int) -> None:
        """Remember rows, one look apart; where they become too many, every second look is forgotten."""
        if at - self._last.get(rows.kind, -self._look) < self._look:
            return
        self._last[rows.kind] = at
        self.blocks.append((at, EntityRows(rows.kind, rows.features, rows.values.copy())))
        self._rows += len(rows.values)
        if self._rows > MOST_ROWS:
            self._look *= 2
            self.blocks = [each for number, each in enumerate(self.blocks) if number % 2 == 0]
            self._rows = sum(len(block.values) for _, block in self.blocks)

    def model_of(self, kind: str) -> str:
        """Return nothing: there is no model yet."""
        return ""

    def score(self, rows: EntityRows) -> NDArray[np.float64]:
        """Return no opinion."""
        return np.full(len(rows.values), np.nan)

    def reasons(self, rows: EntityRows) -> NDArray[np.float64]:
        """Return nothing, as there is no opinion."""
        return np.zeros(rows.values.shape)

    def move(self, at: int) -> bool:
        """Return that nothing has changed."""
        return False

    def state(self) -> dict[str, Any]:
        """Return nothing: training is never interrupted and resumed."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take nothing back."""


def heard_of(path: Path, config: Path | None, quiet: bool) -> list[tuple[int, EntityRows]]:
    """Return rows of normal life in a recording with their event times (Unix ns). Raises ConfigError."""
    settings = read(config)
    recording = Recording(path)
    stats = SelfStats()
    rules = rules_of(settings)
    bar = bar_of(settings, rules, stats)
    listener = Listener()
    entities = listener, TailCalibrator(1, 64)
    engine = Engine(
        bar.detectors, bar.calibrator, rules, recording.topology(), settings.engine, stats, entities=entities
    )
    events = sorted(recording.events(), key=lambda event: event.timestamp)
    moments, done = [event.timestamp for event in events], 0
    progress = Progress("reading", quiet=quiet)
    first, last = recording.span
    for end, block in recording.blocks(step_ns(recording)):
        until = bisect_right(moments, end)
        engine.observe(events[done:until])
        done = until
        if block is not None and len(block):
            engine.process([block], end)
        else:
            engine.advance(end)
        progress.show((end - first) / max(last - first, 1))
    progress.done()
    return listener.blocks


def train_forest_model(path: Path, config: Path | None, registry: Registry, seed: int, quiet: bool) -> Any:
    """Train on the first 80 % of a recording's time, judge on the rest, store. Raises ConfigError."""
    from cli.train import Trained, keep

    heard = heard_of(path, config, quiet)
    if not heard:
        raise ConfigError(f"{path}: no kind of entity has three metrics that load moves; a forest has nothing to learn")
    start, end = heard[0][0], heard[-1][0]
    split = start + round(LEARNT_SHARE * (end - start))
    learnt = [block for at, block in heard if at < split]
    later = [block for at, block in heard if at >= split]
    hour = [block for at, block in heard if at < min(start + HOUR, split)]
    card, arrays = isolation_forest.fit(learnt, start, split, SystemClock().now(), seed)
    verdict = judge(forests_of(card, arrays), _champion(registry), hour, later, seed)
    scores = {**card.scores, **verdict.scores}
    keep(registry, replace(card, scores=scores), arrays, verdict.promoted, verdict.reason)
    return Trained(KIND, card.version, verdict.promoted, verdict.reason, scores, f"{_rows(learnt):,} rows")


def _champion(registry: Registry) -> Mapping[str, Forest]:
    path = registry.champion(KIND)
    return {} if path is None else forests_of(*load(path, KIND))


def _rows(blocks: Sequence[EntityRows]) -> int:
    return sum(len(block.values) for block in blocks)
