"""The engine with every detector at work, the forest included, for the benchmarks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cli.bench_fleet import START, Fleet
from cli.rules_folder import rules_folder
from coldaisle.clock import SECOND
from coldaisle.codec import LayoutCache, decode_frame
from coldaisle.detector import Detector
from coldaisle.entity_detector import EntityDetector, EntityRows
from coldaisle.selfstats import SelfStats
from coldaisle.state import State
from coldaisle.topology import Topology
from models.calibrate import TailCalibrator
from models.drift import Drift
from models.early_warning import EarlyWarning
from models.forest_nursery import Forests
from models.isolation_forest import Forest, train_forest
from models.level import Level
from models.limit_warning import LimitWarning
from models.peers import Peers
from models.seasonal import Seasonal
from pipeline.predictions import Foresight
from pipeline.rules import load
from pipeline.scoring import Engine, EngineSettings

_NODES, _SCRAPES = 25, 60
"""What the forests learn from: enough for a tree's 256 rows of every kind, most features known."""


class _Listener:
    """Keeps the rows that an entity detector would learn from."""

    name = "isolation_forest"

    def __init__(self) -> None:
        self.rows: dict[tuple[str, tuple[str, ...]], list[NDArray[np.float32]]] = {}

    def model_of(self, kind: str) -> str:
        return ""

    def score(self, rows: EntityRows) -> NDArray[np.float64]:
        return np.full(len(rows.values), np.nan)

    def reasons(self, rows: EntityRows) -> NDArray[np.float64]:
        return np.zeros(rows.values.shape)

    def learn(self, rows: EntityRows, at: int) -> None:
        self.rows.setdefault((rows.kind, rows.features), []).append(rows.values)

    def move(self, at: int) -> bool:
        return False

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: State) -> None:
        """Nothing."""


def _engine(entities: EntityDetector, stats: SelfStats, ahead: Foresight | None = None) -> Engine:
    detectors: tuple[Detector, ...] = (Level(), Seasonal(), Peers(), Drift())
    tails, together = TailCalibrator(len(detectors), 64), (entities, TailCalibrator(1, 16))
    rules = load(rules_folder(None))
    return Engine(detectors, tails, rules, Topology(), EngineSettings(), stats, ahead, together)


def forests() -> dict[str, Forest]:
    """Return a forest for every kind of entity of a fleet, trained on its normal life."""
    fleet, layouts, listener = Fleet(_NODES), LayoutCache(), _Listener()
    scorer = _engine(listener, SelfStats())
    for second in range(_SCRAPES * fleet.interval_seconds):
        frames = [decode_frame(message, layouts) for message in fleet.messages(second)]
        scorer.process(frames, START + (second + 1) * SECOND)
    trained: dict[str, Forest] = {}
    for kind, features in listener.rows:
        rows = np.concatenate(listener.rows[kind, features])
        trained[kind] = Forest(train_forest(rows[len(rows) // 2 :], features, seed=1), "bench")
    return trained


def everything(trained: dict[str, Forest], stats: SelfStats | None = None) -> Engine:
    """Return an engine with level, seasonal, peers, drift and ``trained`` forests, as shipped."""
    return _engine(Forests(trained), stats or SelfStats())


def shipped(trained: dict[str, Forest]) -> Engine:
    """Return an engine with all of this that foretells too: everything that a default configuration runs."""
    return _engine(Forests(trained), SelfStats(), Foresight((EarlyWarning(), LimitWarning())))
