"""A simulated hall played for a while, its samples as one table."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from coldaisle.event import Event
from coldaisle.store.recording import Truth
from collectors.simulator.config import FaultPlan, SimulatorConfig
from collectors.simulator.simulator import Simulator

Table = NDArray[np.float64]
SHORT, SHORT_ONSET = 35, 25


@dataclass
class Played:
    simulator: Simulator
    table: Table  # [steps, series]; NaN = absent
    present: NDArray[np.bool_]  # [steps, series]
    events: list[tuple[int, Event]]  # (step, event)

    def columns(self, metric: str, **labels: str) -> Table:
        """Return [steps, n] of the series of ``metric`` with these labels."""
        found = [
            i
            for i, series in enumerate(self.simulator.layout.series)
            if series.metric == metric and all(series.label(key) == value for key, value in labels.items())
        ]
        assert found, f"no series {metric} {labels}"
        return self.table[:, found]

    def one(self, metric: str, **labels: str) -> Table:
        """Return [steps] of the only such series."""
        columns = self.columns(metric, **labels)
        assert columns.shape[1] == 1
        return columns[:, 0]

    @property
    def truth(self) -> Truth:
        """The only fault."""
        (fault,) = self.simulator.truth
        return fault


@lru_cache(maxsize=64)
def play(seconds: float, **options: Hashable) -> Played:
    """
    Play a hall of 2 rows x 2 racks x 4 nodes (one row air, one liquid) unless told otherwise.

    Equal calls share one hall: look, do not step it on.
    """
    shape = {"rows": 2, "racks_per_row": 2, "nodes_per_rack": 4, "faults": "none", "seed": 5}
    config = SimulatorConfig.model_validate(shape | options)
    simulator = Simulator(config)
    steps = round(seconds / config.step_seconds)
    table = np.full((steps, len(simulator.layout)), np.nan)
    present = np.zeros(table.shape, bool)
    events: list[tuple[int, Event]] = []
    for number in range(steps):
        step = simulator.step()
        table[number, step.block.index] = step.block.values
        present[number, step.block.index] = True
        events += [(number, event) for event in step.events]
    return Played(simulator, table, present, events)


def play_short(kind: str) -> Played:
    """Play one fault for ten seconds; every test that looks at all kinds looks at these halls."""
    return play_fault(kind, SHORT, after=SHORT_ONSET)


def play_fault(
    kind: str, seconds: float, after: float = 60.0, lasts: float = 1e6, entity: str | None = None, **options: Hashable
) -> Played:
    """Play one fault of ``kind`` that begins ``after`` seconds."""
    plan = FaultPlan(kind=kind, after_seconds=after, lasts_seconds=lasts, entity=entity)
    return play(seconds, faults=(plan,), **options)
