"""The state of every GPU, node, port and unit, and how one step follows from the last."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from collectors.simulator import power, thermal
from collectors.simulator.effects import Effects
from collectors.simulator.hall import FANS_PER_NODE, GPUS_PER_NODE, Flags, Hall
from collectors.simulator.power import Supplies
from collectors.simulator.thermal import CoolingUnits
from collectors.simulator.workload import Workload

Floats = NDArray[np.float64]

IDLE_REASON, POWER_REASON, SLOWDOWN_REASON = 0x1, 0x4, 0x8
SOFTWARE_THERMAL_REASON, HARDWARE_THERMAL_REASON, BRAKE_REASON = 0x20, 0x40, 0x80
"""Bits of NVML's clocks-event reasons (nvml.h)."""
CORRECTED_PER_GPU_HOUR: Final = 1 / 400
REPLAYS_PER_GPU_HOUR: Final = 1 / 150
SYMBOL_ERRORS_PER_PORT_HOUR: Final = 1 / 12
"""Background life of counters: rare, and worth nobody's time."""
FAN_RPM: Final = 14500.0
PORT_BITS_PER_SECOND: Final = 400e9


class Counters:
    """Everything that only rises, until its owner restarts."""

    def __init__(self, hall: Hall, rng: np.random.Generator) -> None:
        gpus, nodes = hall.gpus, hall.nodes
        up_seconds = np.repeat(rng.uniform(1e5, 4e6, nodes), GPUS_PER_NODE)
        self.energy_joules: Floats = np.round(up_seconds * rng.uniform(300, 550, gpus))
        self.throttle_thermal_seconds: Floats = np.zeros(gpus)
        self.corrected: Floats = rng.poisson(up_seconds / 3600 * CORRECTED_PER_GPU_HOUR).astype(float)
        self.uncorrected: Floats = np.zeros(gpus)
        self.remapped_rows: Floats = (rng.random(gpus) < 0.01).astype(float)
        self.remap_pending: Floats = np.zeros(gpus)
        self.replays: Floats = rng.poisson(up_seconds / 3600 * REPLAYS_PER_GPU_HOUR).astype(float)
        self.nvlink_errors: Floats = np.zeros(gpus)
        self.link_downs: Floats = rng.integers(1, 4, nodes).astype(float)
        self.symbol_errors: Floats = rng.poisson(5.0, nodes).astype(float)
        self.receive_bytes: Floats = np.round(rng.uniform(1e14, 9e15, nodes))
        self.transmit_bytes: Floats = np.round(rng.uniform(1e14, 9e15, nodes))

    def restart(self, gpus: Flags) -> None:
        """Begin anew what a driver forgets; row remaps take effect and stay counted."""
        for counter in (
            self.energy_joules, self.throttle_thermal_seconds, self.corrected,
            self.uncorrected, self.remap_pending, self.replays, self.nvlink_errors,
        ):  # fmt: skip
            counter[gpus] = 0.0


class Physics:
    """Advances the hall; telemetry reads its arrays."""

    def __init__(self, hall: Hall, seed: int) -> None:
        made = np.random.default_rng([seed, 1])
        self._hall = hall
        self._rng = np.random.default_rng([seed, 2])
        gpus, nodes = hall.gpus, hall.nodes
        liquid = hall.gpu_liquid
        # Manufacturing spread, and in air the second bank of four breathes what the first has warmed.
        bank = np.where((np.arange(gpus) % GPUS_PER_NODE >= 4) & ~liquid, 1.06, 1.0)
        self._resistance: Floats = np.where(liquid, thermal.LIQUID_RESISTANCE, thermal.AIR_RESISTANCE) * bank
        self._resistance *= np.clip(1.0 + 0.03 * made.standard_normal(gpus), 0.91, 1.09)
        self._memory_extra: Floats = np.where(liquid, 0.018, 0.012) * np.clip(
            1.0 + 0.06 * made.standard_normal(gpus), 0.82, 1.18
        )
        self.chip: Floats = np.clip(1.0 + 0.02 * made.standard_normal(gpus), 0.94, 1.06)
        self._tau: Floats = np.where(liquid, thermal.LIQUID_TAU_SECONDS, thermal.AIR_TAU_SECONDS)
        # Warm air recirculates most where it rises: the upper slots.
        self._inlet_offset: Floats = np.where(
            hall.node_liquid, 0.4, 0.8 + 2.2 * hall.node_slot / max(hall.nodes_per_rack - 1, 1)
        ) + 0.25 * made.standard_normal(nodes)
        self._node_flow: Floats = np.clip(1.0 + 0.02 * made.standard_normal(nodes), 0.94, 1.06)
        self.fan_bias: Floats = np.clip(1.0 + 0.01 * made.standard_normal((nodes, FANS_PER_NODE)), 0.96, 1.04)
        self.supplies = Supplies(hall, made)
        self.cooling = CoolingUnits(hall, made)
        self.counters = Counters(hall, made)
        self.inlet: Floats = self.cooling.supply[hall.node_row] + self._inlet_offset
        self.temperature: Floats = np.repeat(self.inlet, GPUS_PER_NODE) + 10.0
        self.memory_temperature: Floats = self.temperature + 3.0
        self.clock: Floats = np.full(gpus, 0.95)
        self.watts: Floats = np.full(gpus, power.IDLE_WATTS)
        self.utilization: Floats = np.zeros(gpus)
        self.reasons: Floats = np.zeros(gpus)
        self.limit_watts: Floats = np.full(gpus, power.LIMIT_WATTS)
        self.fan_speed: Floats = np.full(nodes, 0.5)
        self.fan_rpm: Floats = np.zeros((nodes, FANS_PER_NODE))
        self.coolant_flow: Floats = np.zeros(nodes)  # litres a minute
        self.node_watts_dc: Floats = np.zeros(nodes)
        self.cpu: Floats = np.zeros(nodes)
        self.site_watts = 0.0
        self._held: Flags = np.zeros(gpus, bool)  # heat holds the clocks
        self._was_gone: Flags = np.zeros(gpus, bool)

    def slowest_clock(self) -> Floats:
        """Return the clock share of each node's slowest GPU, relative to the top clock."""
        slowest: Floats = self.clock.reshape(-1, GPUS_PER_NODE).min(axis=1)
        return slowest

    def settle(self, work: Workload, effects: Effects) -> None:
        """Run half an hour in coarse steps, so that a hall does not begin cold; counters stay."""
        kept = {name: value.copy() for name, value in vars(self.counters).items()}
        for _ in range(60):
            self.advance(30.0, work, effects)
        for name, value in kept.items():
            setattr(self.counters, name, value)

    def advance(self, dt_seconds: float, work: Workload, effects: Effects) -> None:
        """Advance everything by ``dt_seconds`` under ``work`` and ``effects``."""
        off = np.repeat(effects.node_down, GPUS_PER_NODE) | effects.gpu_gone
        self.supplies.lose(effects.psu_dead, effects.pdu_dead)
        dark = effects.node_down | (self.supplies.available_watts() <= 0)
        off |= np.repeat(dark, GPUS_PER_NODE)
        self._cool(dt_seconds, effects)
        self._work(dt_seconds, work, effects, off)
        self._heat(dt_seconds, effects)
        self._supply(dt_seconds, work, dark)
        self._count(dt_seconds, work, effects, off)

    def _cool(self, dt_seconds: float, effects: Effects) -> None:
        """What reaches each node: inlet temperature, fan speed, coolant flow."""
        hall, cooling = self._hall, self.cooling
        given_off = np.bincount(hall.node_row, weights=self.node_watts_dc, minlength=hall.rows)
        heat = given_off.astype(np.float64) * np.where(hall.row_liquid, thermal.LIQUID_SHARE, 1.0)
        cooling.advance(dt_seconds, heat, effects.cooling_health, effects.pump_health)
        target = cooling.supply[hall.node_row] + self._inlet_offset
        self.inlet += thermal.approach(dt_seconds, 20.0) * (target - self.inlet)
        hottest = self.temperature.reshape(-1, GPUS_PER_NODE).max(axis=1)
        wanted = np.clip(0.45 + 0.02 * (hottest - 60.0), 0.35, 1.0)
        self.fan_speed += thermal.approach(dt_seconds, 15.0) * (wanted - self.fan_speed)
        turning = np.where(effects.fan_dead, 0.0, self.fan_bias * self.fan_speed[:, None] * effects.fan_health)
        self.fan_rpm = turning * FAN_RPM
        nominal = thermal.NODE_FULL_WATTS * thermal.LIQUID_SHARE / (thermal.HEAT_OF_WATER * thermal.LIQUID_RISE_KELVIN)
        self.coolant_flow = nominal * 60.0 * cooling.flow[hall.node_row] * self._node_flow * effects.coolant_flow

    def _flow_share(self, effects: Effects) -> Floats:
        """Air or coolant through each node, 1 = nominal; a dead fan also lets air flow back."""
        dead = effects.fan_dead.mean(axis=1)
        air = self.fan_rpm.mean(axis=1) / FAN_RPM * (1.0 - 0.3 * dead) * effects.air_flow
        liquid = self.cooling.flow[self._hall.node_row] * self._node_flow * effects.coolant_flow
        return np.maximum(np.where(self._hall.node_liquid, liquid, air), 0.05)

    def _work(self, dt_seconds: float, work: Workload, effects: Effects, off: Flags) -> None:
        """Clocks under every limit, and the power that follows."""
        gpus = self._hall.gpus
        noise = self._rng.standard_normal((2, gpus))
        activity = np.repeat(work.activity, GPUS_PER_NODE) * (1.0 + 0.012 * noise[0])
        np.clip(activity, 0.0, 1.1, out=activity)
        activity[off] = 0.0
        self.utilization = np.clip(np.repeat(work.utilization, GPUS_PER_NODE) * (1.0 + 0.006 * noise[1]), 0.0, 1.0)
        self.utilization[off] = 0.0
        idle = activity < 0.01
        self.limit_watts = np.minimum(power.LIMIT_WATTS, effects.power_limit_watts)
        # The supplies a node has left may not carry it: the power brake.
        room = self.supplies.available_watts() - self._base_watts()
        brake = np.repeat(room / GPUS_PER_NODE, GPUS_PER_NODE)
        # Heat: hold the clocks so that core and HBM settle at their thresholds.
        core_target = thermal.SLOWDOWN_CELSIUS - thermal.SLOWDOWN_OFFSET_CELSIUS
        over = (self.temperature >= core_target) | (self.memory_temperature >= thermal.MEMORY_SLOWDOWN_CELSIUS)
        near = (self.temperature > core_target - 2.0) | (
            self.memory_temperature > thermal.MEMORY_SLOWDOWN_CELSIUS - 2.0
        )
        self._held = over | (self._held & near)
        core, memory = self.resistances(effects)
        inlet = np.repeat(self.inlet, GPUS_PER_NODE)
        bearable = np.minimum((core_target - inlet) / core, (thermal.MEMORY_SLOWDOWN_CELSIUS - inlet) / memory)
        thermal_limit = np.where(self._held, np.maximum(bearable, 0.0), np.inf)
        limit = np.minimum(np.minimum(self.limit_watts, brake), thermal_limit)
        self.clock = power.clock_within(limit, activity, self.temperature, self.chip)
        emergency = self.temperature >= thermal.SLOWDOWN_CELSIUS
        self.clock[emergency] = np.minimum(self.clock[emergency], 0.5)
        capped = ~idle & (self.clock < 1.0)
        self.reasons = np.where(idle, float(IDLE_REASON), 0.0)
        self.reasons += np.where(capped & (limit == self.limit_watts), POWER_REASON, 0)
        self.reasons += np.where(capped & (limit == brake), SLOWDOWN_REASON | BRAKE_REASON, 0)
        self.reasons += np.where(capped & (limit == thermal_limit), SOFTWARE_THERMAL_REASON, 0)
        self.reasons += np.where(emergency & ~idle, SLOWDOWN_REASON | HARDWARE_THERMAL_REASON, 0)
        self.watts = power.gpu_power(activity, self.clock, self.temperature, self.chip)
        self.watts[off] = 0.0
        hot = capped & ((limit == thermal_limit) | emergency)
        self.counters.throttle_thermal_seconds += np.where(hot, dt_seconds, 0.0)

    def resistances(self, effects: Effects) -> tuple[Floats, Floats]:
        """Return K/W from core and from HBM to the inlet, [gpus] each: R = R0 x fault / flow^exponent."""
        liquid = self._hall.node_liquid
        exponent = np.where(liquid, thermal.LIQUID_EXPONENT, thermal.AIR_EXPONENT)
        by_flow = np.repeat(self._flow_share(effects) ** -exponent, GPUS_PER_NODE)
        core = self._resistance * by_flow * effects.core_resistance
        return core, core + self._memory_extra * effects.memory_resistance

    def _heat(self, dt_seconds: float, effects: Effects) -> None:
        """First-order: T goes towards inlet + R x P with the time constant of its heat sink."""
        core, memory = self.resistances(effects)
        inlet = np.repeat(self.inlet, GPUS_PER_NODE)
        share = 1.0 - np.exp(-dt_seconds / self._tau)
        self.temperature += share * (inlet + core * self.watts - self.temperature)
        self.memory_temperature += share * (inlet + memory * self.watts - self.memory_temperature)

    def _base_watts(self) -> Floats:
        fans = np.where(self._hall.node_liquid, 0.3, 1.0) * power.FAN_WATTS
        turning: Floats = (self.fan_rpm / FAN_RPM) ** 3
        base: Floats = power.BOARD_WATTS + power.CPU_WATTS * self.cpu + fans * turning.sum(axis=1)
        return base

    def _supply(self, dt_seconds: float, work: Workload, dark: Flags) -> None:
        noise = self._rng.standard_normal(self._hall.nodes)
        wanted = np.where(work.busy() & (work.activity > 0), 0.1 + 0.22 * work.utilization, 0.015)
        self.cpu += thermal.approach(dt_seconds, 4.0) * (wanted * (1.0 + 0.08 * noise) - self.cpu)
        np.clip(self.cpu, 0.002, 1.0, out=self.cpu)
        self.cpu[dark] = 0.0
        load = self.watts.reshape(-1, GPUS_PER_NODE).sum(axis=1) + self._base_watts()
        standby = power.STANDBY_WATTS * 4
        self.node_watts_dc = np.where(dark, np.where(self.supplies.available_watts() > 0, standby, 0.0), load)
        self.supplies.draw(self.node_watts_dc)
        # Lighting, conversion in the UPS and what else a site draws: three per cent (our assumption).
        self.site_watts = 1.03 * float(self.supplies.pdu_watts.sum() + self.cooling.power_watts.sum())

    def _count(self, dt_seconds: float, work: Workload, effects: Effects, off: Flags) -> None:
        hall, counters, hours = self._hall, self.counters, dt_seconds / 3600.0
        counters.energy_joules += self.watts * dt_seconds
        self._sprinkle(counters.corrected, CORRECTED_PER_GPU_HOUR * hours)
        self._sprinkle(counters.replays, REPLAYS_PER_GPU_HOUR * hours)
        self._sprinkle(counters.symbol_errors, SYMBOL_ERRORS_PER_PORT_HOUR * hours)
        counters.corrected += effects.corrected_errors
        counters.uncorrected += effects.uncorrected_errors
        counters.remapped_rows += effects.remapped_rows
        counters.remap_pending = np.maximum(counters.remap_pending, effects.remapped_rows > 0)
        counters.nvlink_errors += effects.nvlink_errors
        counters.replays += effects.replays
        counters.link_downs += effects.link_downs
        counters.symbol_errors += effects.symbol_errors
        noise = self._rng.standard_normal((2, hall.nodes))
        through = np.where(effects.port_down, 0.0, work.traffic) * PORT_BITS_PER_SECOND / 8 * dt_seconds
        counters.receive_bytes += np.round(through * np.clip(1.0 + 0.03 * noise[0], 0.0, None))
        counters.transmit_bytes += np.round(through * np.clip(1.0 + 0.03 * noise[1], 0.0, None))
        back = self._was_gone & ~off
        if back.any():
            counters.restart(back)
        self._was_gone = off

    def _sprinkle(self, counter: Floats, mean: float) -> None:
        """Add Poisson events of ``mean`` a thing, drawn as a few positions rather than a number for each."""
        hits = self._rng.integers(0, len(counter), self._rng.poisson(mean * len(counter)))
        np.add.at(counter, hits, 1.0)
