"""Heat: first-order temperatures of GPUs, and the air or coolant unit of each row."""

from __future__ import annotations

from math import exp
from typing import Final

import numpy as np
from numpy.typing import NDArray

from collectors.simulator.hall import Hall

Floats = NDArray[np.float64]

SLOWDOWN_CELSIUS: Final = 89.0
"""Observed slowdown threshold of the H100."""
SLOWDOWN_OFFSET_CELSIUS: Final = 2.0
"""Software begins to hold the clocks this far below the threshold (T.Limit slowdown offset of the H100: -2)."""
MEMORY_SLOWDOWN_CELSIUS: Final = 95.0
"""HBM3 on Hopper throttles by itself, with the core still cool."""

AIR_RESISTANCE: Final = 0.060
LIQUID_RESISTANCE: Final = 0.031
"""Kelvin per watt, core to air or coolant at nominal flow: 700 W make about 70 and 54 degrees."""
AIR_EXPONENT: Final = 0.6
LIQUID_EXPONENT: Final = 0.5
"""How resistance falls with flow (turbulent air through fins; the share of a cold plate that is convective)."""
AIR_TAU_SECONDS: Final = 25.0
LIQUID_TAU_SECONDS: Final = 9.0

AIR_SETPOINT_CELSIUS: Final = 20.0
LIQUID_SETPOINT_CELSIUS: Final = 32.0
"""Supply set-points: within ASHRAE TC 9.9 2021 class H1 (18-22) for air; W32 for coolant."""
AIR_RISE_KELVIN: Final = 12.0
LIQUID_RISE_KELVIN: Final = 10.0
"""Rise through the row at full load and full flow."""
CHILLED_WATER_CELSIUS: Final = 10.0
FACILITY_WATER_CELSIUS: Final = 20.0
NODE_FULL_WATTS: Final = 7500.0
LIQUID_SHARE: Final = 0.8
"""Share of a liquid-cooled node's heat that goes into the coolant; the rest warms the room."""
HEAT_OF_WATER: Final = 4186.0
"""Joules per litre and kelvin."""


def approach(dt_seconds: float, tau_seconds: float) -> float:
    """Return the share of the way to its steady state that a first-order system goes in ``dt_seconds``."""
    return 1.0 - exp(-dt_seconds / tau_seconds)


class CoolingUnits:
    """One unit a row: a CRAC that supplies air or a CDU that supplies coolant."""

    def __init__(self, hall: Hall, rng: np.random.Generator) -> None:
        self._hall = hall
        liquid = hall.row_liquid
        nodes = np.bincount(hall.node_row, minlength=hall.rows).astype(np.float64)
        self.full_watts: Floats = nodes * NODE_FULL_WATTS * np.where(liquid, LIQUID_SHARE, 1.0)
        self.setpoint: Floats = np.where(liquid, LIQUID_SETPOINT_CELSIUS, AIR_SETPOINT_CELSIUS)
        self._rise = np.where(liquid, LIQUID_RISE_KELVIN, AIR_RISE_KELVIN)
        self._sink = np.where(liquid, FACILITY_WATER_CELSIUS, CHILLED_WATER_CELSIUS)
        # Sized to carry 1.4 times full load at the design return temperature.
        self._exchange = 1.4 * self.full_watts / (self.setpoint + self._rise - self._sink)
        # With no cooling at all, a fully loaded row warms 5 K a minute (air) or 4 K (coolant).
        self._capacity = self.full_watts * np.where(liquid, 15.0, 12.0)
        self.supply: Floats = self.setpoint + 0.2 * rng.standard_normal(hall.rows)
        self.returned: Floats = self.supply + self._rise
        self.speed: Floats = np.full(hall.rows, 0.8)  # of fans or pumps, 0..1
        self.flow: Floats = np.ones(hall.rows)  # of full flow
        self.removed_watts: Floats = np.zeros(hall.rows)
        self.power_watts: Floats = np.zeros(hall.rows)

    def advance(self, dt_seconds: float, heat_watts: Floats, health: Floats, pump_health: Floats) -> None:
        """
        Let each row's supply temperature follow what its unit can remove.

        ``heat_watts`` [rows] is what the row gives off. A healthy unit removes that and pulls towards its
        set-point within a minute; what it can remove at most is health x exchange x (return - chilled water).
        """
        load = heat_watts / self.full_watts
        # Fans follow the load; pumps run at one speed, and what wears is the flow they make.
        wanted = np.where(self._hall.row_liquid, 0.8, np.clip(0.4 + 0.6 * load, 0.4, 1.0))
        self.speed += approach(dt_seconds, 30.0) * (wanted - self.speed)
        self.flow = self.speed * np.where(self._hall.row_liquid, pump_health / 0.8, 1.0)
        self.returned = self.supply + self._rise * load / np.maximum(self.flow, 0.05)
        pull = self._capacity * (self.supply - self.setpoint) / 60.0
        most = np.maximum(health * self._exchange * (self.returned - self._sink), 0.0)
        self.removed_watts = np.clip(heat_watts + pull, 0.0, most)
        self.supply = self.supply + dt_seconds * (heat_watts - self.removed_watts) / self._capacity
        moving = np.where(self._hall.row_liquid, 0.012, 0.05) * self.full_watts * self.speed**3
        pumping_heat = np.where(self._hall.row_liquid, 0.04, 0.22) * self.removed_watts
        self.power_watts = moving + pumping_heat

    def flow_litres_per_minute(self) -> Floats:
        """Return each coolant unit's flow: what carries its full load at the design rise, times its flow share."""
        return self.full_watts / (HEAT_OF_WATER * LIQUID_RISE_KELVIN) * 60.0 * self.flow
