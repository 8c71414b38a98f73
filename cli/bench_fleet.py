"""A made-up fleet whose frames the benchmarks send: nodes of eight GPUs, as the wire carries them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from coldaisle.clock import SECOND
from coldaisle.codec import HeadCache, encode_frame
from coldaisle.frame import Frame
from coldaisle.series import Layout, Series, labels

SERIES_PER_NODE = 160
START = 1_700_000_000 * SECOND
_LOST = 1 / 500
"""The share of scrapes that never arrive: a tick of a large fleet is rarely whole."""
_GPU = {
    "gpu_power_watts": 600.0, "gpu_temperature_celsius": 65.0, "gpu_memory_temperature_celsius": 75.0,
    "gpu_clock_sm_hertz": 1.9e9, "gpu_clock_memory_hertz": 2.6e9, "gpu_utilization_ratio": 0.9,
    "gpu_memory_utilization_ratio": 0.5, "gpu_memory_used_bytes": 7e10, "gpu_energy_joules_total": 0.0,
    "gpu_throttle_thermal_seconds_total": 0.0, "gpu_ecc_corrected_errors_total": 0.0,
    "gpu_ecc_uncorrected_errors_total": 0.0, "gpu_pcie_transmit_bytes_per_second": 1e9,
    "gpu_pcie_receive_bytes_per_second": 1e9, "gpu_nvlink_errors_total": 0.0, "gpu_power_limit_watts": 700.0,
    "gpu_fan_speed_ratio": 0.5, "gpu_temperature_margin_celsius": 20.0,
}  # fmt: skip
_NODE = {
    "node_power_watts": 5600.0, "node_inlet_temperature_celsius": 24.0, "node_cpu_utilization_ratio": 0.3,
    "node_memory_used_bytes": 5e11, "node_coolant_flow_litres_per_minute": 8.0, "node_load_average": 20.0,
    "collector_up": 1.0, "node_filesystem_used_ratio": 0.5,
}  # fmt: skip
_FAN = "node_fan_speed_rpm"
_FIXED = frozenset({"gpu_power_limit_watts", "collector_up"})
_BLOCKS = 8


class Fleet:
    """
    ``nodes`` nodes, each scraped every ``interval_seconds`` at a moment of its own.

    Values are Gaussian around what such hardware shows; energy counts up, error counters stand still. The
    messages of a second come in no order of nodes, and one scrape in 500 is lost.
    """

    def __init__(self, nodes: int, interval_seconds: int = 10, seed: int = 1) -> None:
        self.nodes = nodes
        self.interval_seconds = interval_seconds
        self._random = np.random.default_rng(seed)
        self._heads = HeadCache()
        self._layouts = [_layout(f"n{number:05}") for number in range(nodes)]
        names = [series.metric for series in self._layouts[0].series]
        base = np.array([{**_GPU, **_NODE, _FAN: 9000.0}[name] for name in names])
        still = np.array([name.endswith("_total") or name in _FIXED for name in names])
        noise = np.where(still, 0.0, 0.01 * base)
        # Drawn once, so that making samples does not take longer than scoring them.
        self._values = base + noise * self._random.standard_normal((_BLOCKS, nodes, len(base)))
        self._energy = np.array([name == "gpu_energy_joules_total" for name in names])
        self._phase = self._random.integers(0, interval_seconds * SECOND, nodes)

    @property
    def series(self) -> int:
        """How many series the fleet has."""
        return self.nodes * SERIES_PER_NODE

    def frames(self, second: int) -> list[Frame]:
        """Return what was scraped between ``second`` and the next, counted from ``START``."""
        scrape, into = divmod(second, self.interval_seconds)
        due = np.flatnonzero(self._phase // SECOND == into)
        due = self._random.permutation(due[self._random.random(len(due)) >= _LOST])
        return [self._frame(node, scrape) for node in due.tolist()]

    def messages(self, second: int) -> list[bytes]:
        """Return the frames of a second as they come off the bus."""
        return self.encode(self.frames(second))

    def encode(self, frames: list[Frame]) -> list[bytes]:
        """Return frames as messages, as a collector that sends the same layouts again and again does."""
        return [encode_frame(frame, self._heads) for frame in frames]

    def _frame(self, node: int, scrape: int) -> Frame:
        at = START + scrape * self.interval_seconds * SECOND + int(self._phase[node])
        values = self._values[(scrape + node) % _BLOCKS, node].copy()
        values[self._energy] = 600.0 * self.interval_seconds * scrape
        return Frame("bench", f"n{node:05}", self._layouts[node], np.full(SERIES_PER_NODE, at), values)


@lru_cache(maxsize=1024)
def _layout(node: str) -> Layout:
    series: list[Series] = []
    for gpu in range(8):
        shared = labels(gpu=f"GPU-{node}-{gpu}", node=node)
        series += [Series(metric, shared) for metric in _GPU]
    shared = labels(node=node)
    series += [Series(metric, shared) for metric in _NODE]
    series += [Series(_FAN, labels(node=node, sensor=f"Fan {i}")) for i in range(8)]
    return Layout(series)
