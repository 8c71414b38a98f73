"""What the active faults do to the hall in this step; physics and telemetry read it, faults write it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from collectors.simulator.hall import FANS_PER_NODE, Hall

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Effects:
    """Arrays over the hall's things, put back to "nothing is wrong" before each step."""

    def __init__(self, hall: Hall) -> None:
        gpus, nodes, rows = hall.gpus, hall.nodes, hall.rows
        self.core_resistance: Floats = np.ones(gpus)  # times the thermal resistance core -> coolant
        self.memory_resistance: Floats = np.ones(gpus)  # times that of the HBM
        self.power_limit_watts: Floats = np.full(gpus, np.inf)
        self.pcie_lanes: Floats = np.full(gpus, 16.0)
        self.corrected_errors: Floats = np.zeros(gpus)  # added in this step
        self.uncorrected_errors: Floats = np.zeros(gpus)
        self.remapped_rows: Floats = np.zeros(gpus)
        self.nvlink_errors: Floats = np.zeros(gpus)
        self.replays: Floats = np.zeros(gpus)
        self.gpu_gone: Flags = np.zeros(gpus, bool)  # off the bus
        self.fan_dead: Flags = np.zeros((nodes, FANS_PER_NODE), bool)
        self.fan_health: Floats = np.ones((nodes, FANS_PER_NODE))  # share of the commanded speed that is reached
        self.air_flow: Floats = np.ones(nodes)  # times the air that an air node's fans would move
        self.node_slow: Floats = np.zeros(nodes)  # share by which its steps take longer
        self.node_down: Flags = np.zeros(nodes, bool)  # no power to the board
        self.node_silent: Flags = np.zeros(nodes, bool)  # nothing it says gets through
        self.node_unfit: Flags = np.zeros(nodes, bool)  # no training job can run there
        self.coolant_flow: Floats = np.ones(nodes)  # times a liquid node's flow
        self.psu_dead: Flags = np.zeros(hall.psus, bool)
        self.pdu_dead: Flags = np.zeros(hall.pdus, bool)
        self.port_down: Flags = np.zeros(nodes, bool)
        self.link_downs: Floats = np.zeros(nodes)
        self.symbol_errors: Floats = np.zeros(nodes)
        self.cooling_health: Floats = np.ones(rows)  # share of its capacity that a cooling unit still has
        self.pump_health: Floats = np.ones(rows)
        self.overrides: dict[tuple[str, int], float] = {}  # (metric, position) -> what the sensor says instead
        self._resting = {name: value.copy() for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        self._touched = False

    def reset(self, any_active: bool) -> None:
        """Undo every effect; costs nothing while no fault is active."""
        if self._touched:
            for name, value in self._resting.items():
                getattr(self, name)[...] = value
            self.overrides.clear()
        self._touched = any_active
