"""Power: what a GPU draws, how its clock yields to limits, and how supplies and feeds share a node's load."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from collectors.simulator.hall import PSUS_PER_NODE, Hall

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

LIMIT_WATTS: Final = 700.0
"""Power limit an H100 SXM5 ships with (NVIDIA H100 data sheet)."""
IDLE_WATTS: Final = 72.0
DYNAMIC_WATTS: Final = 655.0
"""Idle and dynamic power, fitted so that a node of eight reads 6.7 kW in training and near 2 kW at rest, as the
published MLPerf Training 4.0 power logs of 8 x H100 servers do."""
LEAKAGE_WATTS_PER_KELVIN: Final = 0.35
CLOCK_HERTZ: Final = 1.98e9
IDLE_CLOCK_HERTZ: Final = 345e6
CLOCK_EXPONENT: Final = 2.4
"""Dynamic power goes with f V^2, and V rises with f near the top of the curve: between f^2 and f^3."""
LOWEST_CLOCK: Final = 0.25
PSU_EFFICIENCY: Final = 0.94
PSU_RATED_WATTS: Final = 4000.0
PDU_LOSS: Final = 0.015
STANDBY_WATTS: Final = 18.0
"""A supply feeds the BMC even when the host is off."""
BOARD_WATTS: Final = 1150.0
CPU_WATTS: Final = 550.0
FAN_WATTS: Final = 55.0
"""CPUs, NICs, switches and drives of a node at rest; what its CPUs add; what one fan draws at full speed."""
FEED_VOLTS: Final = 415.0


def gpu_power(activity: Floats, clock: Floats, temperature: Floats, chip: Floats) -> Floats:
    """
    Return watts of each GPU: idle + leakage + activity x clock^2.4, all [n].

    ``activity`` 0..1 is how hard the kernels work the chip, ``clock`` the share of the top clock, ``chip``
    the manufacturing factor of this piece.
    """
    leakage = LEAKAGE_WATTS_PER_KELVIN * np.maximum(temperature - 40.0, 0.0)
    dynamic: Floats = DYNAMIC_WATTS * chip * activity * clock**CLOCK_EXPONENT
    return IDLE_WATTS + leakage + dynamic


def clock_within(limit_watts: Floats, activity: Floats, temperature: Floats, chip: Floats) -> Floats:
    """Return the highest clock share whose :func:`gpu_power` stays within ``limit_watts``, at least 0.25."""
    leakage = LEAKAGE_WATTS_PER_KELVIN * np.maximum(temperature - 40.0, 0.0)
    room = np.maximum(limit_watts - IDLE_WATTS - leakage, 0.0)
    share: Floats = (room / np.maximum(DYNAMIC_WATTS * chip * activity, 1e-9)) ** (1.0 / CLOCK_EXPONENT)
    return np.clip(share, LOWEST_CLOCK, 1.0)


class Supplies:
    """The supplies of all nodes and the feeds they hang on."""

    def __init__(self, hall: Hall, rng: np.random.Generator) -> None:
        self._hall = hall
        # Supplies in one node share the load not quite evenly.
        self._share: Floats = 1.0 + 0.012 * rng.standard_normal(hall.psus)
        self.dead: Flags = np.zeros(hall.psus, bool)
        self.input_watts: Floats = np.zeros(hall.psus)
        self.pdu_watts: Floats = np.zeros(hall.pdus)
        self.node_watts: Floats = np.zeros(hall.nodes)

    def lose(self, psu_dead: Flags, pdu_dead: Flags) -> None:
        """Take note of what is lost: a supply is dead by itself or with its feed."""
        self.dead = psu_dead | pdu_dead[self._hall.psu_pdu]

    def available_watts(self) -> Floats:
        """Return how much each node may draw from the supplies it has left, [nodes]."""
        alive = PSUS_PER_NODE - self.dead.reshape(-1, PSUS_PER_NODE).sum(axis=1)
        available: Floats = alive * (PSU_RATED_WATTS * PSU_EFFICIENCY)
        return available

    def draw(self, load_watts: Floats) -> None:
        """
        Share each node's DC load [nodes] among its living supplies and add up the feeds.

        Sets ``input_watts`` [psus], ``node_watts`` (their sum, [nodes]) and ``pdu_watts`` (what a feed passes
        on, 1.5 % losses included).
        """
        weight = np.where(self.dead, 0.0, self._share).reshape(-1, PSUS_PER_NODE)
        total = np.maximum(weight.sum(axis=1, keepdims=True), 1e-9)
        self.input_watts = (load_watts[:, None] * weight / total / PSU_EFFICIENCY).ravel()
        self.node_watts = self.input_watts.reshape(-1, PSUS_PER_NODE).sum(axis=1)
        passed_on = np.bincount(self._hall.psu_pdu, weights=self.input_watts, minlength=self._hall.pdus)
        self.pdu_watts = passed_on.astype(np.float64) * (1.0 + PDU_LOSS)
