"""What the hall's sensors say: resolution, noise, silence; as one Block a step or as one Frame a device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.frame import Block, Frame
from coldaisle.series import Labels, Layout, Series, labels
from collectors.simulator import power, thermal
from collectors.simulator.effects import Effects
from collectors.simulator.hall import FANS_PER_NODE, GPUS_PER_NODE, PSUS_PER_NODE, SITE, Flags, Hall, Indices
from collectors.simulator.physics import PORT_BITS_PER_SECOND, Physics
from collectors.simulator.workload import Workload

Floats = NDArray[np.float64]
COLLECTOR = "simulator"
MEMORY_BYTES = 80 * 1024**3
BASE_CLOCK_STEP_HERTZ = 15e6
"""NVIDIA clocks come in steps of 15 MHz."""
FAN_READING_RPM = 50.0


class _Column(NamedTuple):
    """One metric of one family of things, and where it stands in the layout."""

    metric: str
    family: str
    first: int
    last: int


class _Unit(NamedTuple):
    """What one frame holds: the positions of a device's series."""

    node: str
    positions: Indices


class Telemetry:
    """Reads the physics like sensors do and lays the samples side by side."""

    def __init__(self, hall: Hall, seed: int) -> None:
        self._hall = hall
        self._rng = np.random.default_rng([seed, 5])
        self._families = self._label_families()
        self._columns: list[_Column] = []
        series: list[Series] = []
        for family, metrics in _METRICS.items():
            for metric in metrics:
                things = self._families[family]
                self._columns.append(_Column(metric, family, len(series), len(series) + len(things)))
                series += [Series(metric, pairs) for pairs in things]
        self.layout = Layout(series)
        self._first = {column.metric: column.first for column in self._columns}
        self._values: Floats = np.full(len(series), np.nan)
        self._present: Flags = np.ones(len(series), bool)
        self._everything: Indices = np.arange(len(series))
        self._index = self._everything
        self._last_present = self._present.copy()
        self._layouts: dict[tuple[str, bytes], Layout] = {}
        self._units: list[_Unit] | None = None

    def _label_families(self) -> dict[str, list[Labels]]:
        hall = self._hall
        nodes = hall.node_names
        units = list(zip(hall.cooling_names, hall.row_liquid.tolist(), strict=True))
        return {
            "gpu": [labels(node=nodes[g // GPUS_PER_NODE], gpu=name) for g, name in enumerate(hall.gpu_names)],
            "node": [labels(node=name) for name in nodes],
            "air node": [labels(node=nodes[n]) for n in np.flatnonzero(~hall.node_liquid).tolist()],
            "liquid node": [labels(node=nodes[n]) for n in np.flatnonzero(hall.node_liquid).tolist()],
            "fan": [
                labels(node=nodes[n], fan=f"fan{fan + 1}")
                for n in np.flatnonzero(~hall.node_liquid).tolist()
                for fan in range(FANS_PER_NODE)
            ],
            "psu": [labels(node=nodes[p // PSUS_PER_NODE], psu=name) for p, name in enumerate(hall.psu_names)],
            "pdu": [labels(pdu=name) for name in hall.pdu_names],
            "port": [
                labels(switch=hall.switch_names[int(hall.node_switch[n])], port=name, node=nodes[n])
                for n, name in enumerate(hall.port_names)
            ],
            "crac": [labels(crac=name) for name, wet in units if not wet],
            "cdu": [labels(cdu=name) for name, wet in units if wet],
            "site": [labels(site=SITE)],
        }

    def last(self, metric: str, position: int) -> float:
        """Return what the sensor ``position`` of ``metric`` said last; NaN = nothing yet."""
        return float(self._values[self._first[metric] + position])

    # --- reading -------------------------------------------------------------------------------------------------

    def read(self, now: int, physics: Physics, work: Workload, effects: Effects) -> Block:
        """Return one sample of everything that can be read at ``now``."""
        readings = {**self._gpu_readings(physics, work, effects), **self._node_readings(physics, work, effects)}
        readings |= self._plant_readings(physics, effects)
        for column in self._columns:
            self._values[column.first : column.last] = readings[column.metric]
        for (metric, position), value in effects.overrides.items():
            self._values[self._first[metric] + position] = value
        self._mark_present(work, effects)
        if not np.array_equal(self._present, self._last_present):
            self._last_present = self._present.copy()
            self._index = np.flatnonzero(self._present)
        index = self._index
        values = self._values.copy() if len(index) == len(self._values) else self._values[index]
        return Block(self.layout, index, np.full(len(index), now, np.int64), values)

    def _noise(self, count: int) -> Floats:
        return self._rng.standard_normal(count)

    def _gpu_readings(self, physics: Physics, work: Workload, effects: Effects) -> dict[str, Floats]:
        hall, counters = self._hall, physics.counters
        gpus = hall.gpus
        idle = physics.reasons == 1.0
        clock = np.where(idle, power.IDLE_CLOCK_HERTZ, physics.clock * power.CLOCK_HERTZ)
        used = np.repeat(work.memory_share, GPUS_PER_NODE) * (1.0 + 1e-3 * self._noise(gpus))
        return {
            "gpu_power_watts": np.round(physics.watts * (1.0 + 0.004 * self._noise(gpus)), 1),
            "gpu_power_limit_watts": physics.limit_watts,
            "gpu_power_limit_default_watts": np.full(gpus, power.LIMIT_WATTS),
            "gpu_energy_joules_total": np.round(counters.energy_joules, 3),
            "gpu_temperature_celsius": np.round(physics.temperature + 0.25 * self._noise(gpus)),
            "gpu_memory_temperature_celsius": np.round(physics.memory_temperature + 0.25 * self._noise(gpus)),
            "gpu_temperature_slowdown_celsius": np.full(gpus, thermal.SLOWDOWN_CELSIUS),
            "gpu_clock_sm_hertz": np.round(clock / BASE_CLOCK_STEP_HERTZ) * BASE_CLOCK_STEP_HERTZ,
            "gpu_utilization_ratio": np.round(physics.utilization, 2),
            "gpu_memory_used_bytes": np.round(np.clip(used, 0.0, 1.0) * MEMORY_BYTES),
            "gpu_throttle_reasons": physics.reasons,
            "gpu_throttle_thermal_seconds_total": counters.throttle_thermal_seconds,
            "gpu_ecc_corrected_errors_total": counters.corrected,
            "gpu_ecc_uncorrected_errors_total": counters.uncorrected,
            "gpu_remapped_rows_uncorrectable": counters.remapped_rows,
            "gpu_remapped_rows_pending": counters.remap_pending,
            "gpu_pcie_replays_total": counters.replays,
            "gpu_pcie_link_width_lanes": effects.pcie_lanes,
            "gpu_nvlink_errors_total": counters.nvlink_errors,
        }

    def _node_readings(self, physics: Physics, work: Workload, effects: Effects) -> dict[str, Floats]:
        hall, counters = self._hall, physics.counters
        nodes, liquid = hall.nodes, hall.node_liquid
        inlet = np.round(physics.inlet + 0.12 * self._noise(nodes), 1)
        rpm = physics.fan_rpm * (1.0 + 0.004 * self._noise(nodes * FANS_PER_NODE).reshape(nodes, FANS_PER_NODE))
        flow = physics.coolant_flow * (1.0 + 0.006 * self._noise(nodes))
        seen = GPUS_PER_NODE - effects.gpu_gone.reshape(-1, GPUS_PER_NODE).sum(axis=1)
        supplies = physics.supplies
        return {
            "node_power_watts": np.round(supplies.node_watts * (1.0 + 0.003 * self._noise(nodes)) / 2) * 2,
            "node_inlet_temperature_celsius": inlet[~liquid],
            "node_coolant_inlet_temperature_celsius": inlet[liquid],
            "node_coolant_flow_litres_per_minute": np.round(flow[liquid], 2),
            "node_fan_speed_rpm": (np.round(rpm[~liquid] / FAN_READING_RPM) * FAN_READING_RPM).ravel(),
            "node_cpu_utilization_ratio": np.round(physics.cpu, 4),
            "node_job_step_seconds": np.round(work.step_seconds, 4),
            "gpu_count": seen.astype(np.float64),
            "psu_up": (~supplies.dead).astype(np.float64),
            "psu_input_power_watts": np.round(supplies.input_watts * (1.0 + 0.004 * self._noise(hall.psus))),
            "port_up": (~effects.port_down).astype(np.float64),
            "port_rate_bits_per_second": np.where(effects.port_down, 0.0, PORT_BITS_PER_SECOND),
            "port_link_downs_total": counters.link_downs,
            "port_symbol_errors_total": counters.symbol_errors,
            "port_receive_bytes_total": counters.receive_bytes,
            "port_transmit_bytes_total": counters.transmit_bytes,
        }

    def _plant_readings(self, physics: Physics, effects: Effects) -> dict[str, Floats]:
        hall, cooling = self._hall, physics.cooling
        rows, wet = hall.rows, hall.row_liquid
        supply = np.round(cooling.supply + 0.06 * self._noise(rows), 1)
        returned = np.round(cooling.returned + 0.08 * self._noise(rows), 1)
        watts = np.round(cooling.power_watts * (1.0 + 0.004 * self._noise(rows)), 0)
        flow = np.round(cooling.flow_litres_per_minute() * (1.0 + 0.003 * self._noise(rows)), 1)
        speed = np.round(cooling.speed, 3)
        volts = np.round(power.FEED_VOLTS + 0.8 * self._noise(hall.pdus), 1)
        feeds = physics.supplies.pdu_watts * (1.0 + 0.002 * self._noise(hall.pdus))
        return {
            "pdu_power_watts": np.round(feeds, -1),
            "pdu_voltage_volts": np.where(effects.pdu_dead, 0.0, volts),
            "pdu_up": (~effects.pdu_dead).astype(np.float64),
            "crac_supply_temperature_celsius": supply[~wet],
            "crac_return_temperature_celsius": returned[~wet],
            "crac_fan_speed_ratio": speed[~wet],
            "crac_power_watts": watts[~wet],
            "cdu_supply_temperature_celsius": supply[wet],
            "cdu_return_temperature_celsius": returned[wet],
            "cdu_flow_litres_per_minute": flow[wet],
            "cdu_pump_speed_ratio": speed[wet],
            "site_power_watts": np.array([round(physics.site_watts * (1.0 + 0.001 * float(self._noise(1)[0])), -2)]),
        }

    def _mark_present(self, work: Workload, effects: Effects) -> None:
        """Drop what cannot be read: silent nodes, GPUs off the bus, steps of nodes that do not train."""
        hall, silent = self._hall, effects.node_silent
        speaks = ~silent
        by_family: dict[str, Flags] = {
            "gpu": np.repeat(speaks, GPUS_PER_NODE) & ~effects.gpu_gone,
            "node": speaks,
            "air node": speaks[~hall.node_liquid],
            "liquid node": speaks[hall.node_liquid],
            "fan": np.repeat(speaks[~hall.node_liquid], FANS_PER_NODE),
        }
        for column in self._columns:
            if column.metric == "node_job_step_seconds":
                self._present[column.first : column.last] = speaks & ~np.isnan(work.step_seconds)
            elif column.family in by_family:
                self._present[column.first : column.last] = by_family[column.family]

    # --- one frame a device ----------------------------------------------------------------------------------------

    def frames(self, block: Block) -> Iterator[Frame]:
        """
        Yield the block as frames: one a node (its agent), one a rack (its supplies, read through their BMCs),
        one a switch, PDU, cooling unit and the site. Who says nothing yields none.
        """
        if self._units is None:
            self._units = self._group()
        values = np.full(len(self.layout), np.nan)
        present = np.zeros(len(self.layout), bool)
        values[block.index] = block.values
        present[block.index] = True
        now = int(block.timestamps[-1])
        for unit in self._units:
            here = present[unit.positions]
            positions = unit.positions[here]
            if len(positions):
                layout = self._layout_of(unit, here, positions)
                yield Frame(COLLECTOR, unit.node, layout, np.full(len(positions), now, np.int64), values[positions])

    def _layout_of(self, unit: _Unit, here: Flags, positions: Indices) -> Layout:
        key = (unit.node, here.tobytes())
        found = self._layouts.get(key)
        if found is None:
            found = self._layouts[key] = Layout(self.layout.series[position] for position in positions.tolist())
        return found

    def _group(self) -> list[_Unit]:
        hall = self._hall
        rack_of = {name: hall.rack_names[int(hall.node_rack[n])] for n, name in enumerate(hall.node_names)}
        members: dict[str, list[int]] = {}
        for position, series in enumerate(self.layout.series):
            pairs = dict(series.labels)
            if "psu" in pairs:
                device = rack_of[pairs["node"]]
            else:
                keys = ("switch", "node", "pdu", "crac", "cdu", "site")
                device = next(pairs[key] for key in keys if key in pairs)
            members.setdefault(device, []).append(position)
        return [_Unit(device, np.array(positions)) for device, positions in members.items()]


_METRICS: dict[str, tuple[str, ...]] = {
    "gpu": (
        "gpu_power_watts",
        "gpu_power_limit_watts",
        "gpu_power_limit_default_watts",
        "gpu_energy_joules_total",
        "gpu_temperature_celsius",
        "gpu_memory_temperature_celsius",
        "gpu_temperature_slowdown_celsius",
        "gpu_clock_sm_hertz",
        "gpu_utilization_ratio",
        "gpu_memory_used_bytes",
        "gpu_throttle_reasons",
        "gpu_throttle_thermal_seconds_total",
        "gpu_ecc_corrected_errors_total",
        "gpu_ecc_uncorrected_errors_total",
        "gpu_remapped_rows_uncorrectable",
        "gpu_remapped_rows_pending",
        "gpu_pcie_replays_total",
        "gpu_pcie_link_width_lanes",
        "gpu_nvlink_errors_total",
    ),
    "node": (
        "node_power_watts",
        "node_cpu_utilization_ratio",
        "node_job_step_seconds",
        "gpu_count",
    ),
    "air node": ("node_inlet_temperature_celsius",),
    "liquid node": ("node_coolant_inlet_temperature_celsius", "node_coolant_flow_litres_per_minute"),
    "fan": ("node_fan_speed_rpm",),
    "psu": ("psu_up", "psu_input_power_watts"),
    "port": (
        "port_up",
        "port_rate_bits_per_second",
        "port_link_downs_total",
        "port_symbol_errors_total",
        "port_receive_bytes_total",
        "port_transmit_bytes_total",
    ),
    "pdu": ("pdu_power_watts", "pdu_voltage_volts", "pdu_up"),
    "crac": (
        "crac_supply_temperature_celsius",
        "crac_return_temperature_celsius",
        "crac_fan_speed_ratio",
        "crac_power_watts",
    ),
    "cdu": (
        "cdu_supply_temperature_celsius",
        "cdu_return_temperature_celsius",
        "cdu_flow_litres_per_minute",
        "cdu_pump_speed_ratio",
    ),
    "site": ("site_power_watts",),
}
