"""Measures decode, ingest, detectors and calibration of one process."""

from __future__ import annotations

import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np

from cli.rules_folder import rules_folder
from coldaisle.clock import SECOND
from coldaisle.codec import LayoutCache, decode_frame, encode_frame
from coldaisle.detector import Detector
from coldaisle.frame import Frame
from coldaisle.selfstats import SelfStats
from coldaisle.series import Layout, Series, labels
from coldaisle.topology import Topology
from models.calibrate import TailCalibrator
from models.level import Level
from models.peers import Peers
from pipeline.rules import load
from pipeline.scoring import Engine, EngineSettings

SERIES_PER_NODE = 160
_START = 1_700_000_000 * SECOND
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
_FIXED = frozenset({"gpu_power_limit_watts", "collector_up"})


class Fleet:
    """Frames of ``nodes`` nodes of eight GPUs, 160 series each, a scrape a second; encoded as on the wire."""

    def __init__(self, nodes: int, seed: int = 1) -> None:
        self._random = np.random.default_rng(seed)
        self._layouts = [_layout(f"n{number:05}") for number in range(nodes)]
        names = [series.metric for series in self._layouts[0].series]
        self._base = np.array([{**_GPU, **_NODE, "node_fan_speed_rpm": 9000.0}[name] for name in names])
        self._still = np.array([name.endswith("_total") or name in _FIXED for name in names])
        self._energy = np.array([name == "gpu_energy_joules_total" for name in names])

    def scrape(self, second: int) -> list[bytes]:
        """Return the messages of one second."""
        nodes, width = len(self._layouts), len(self._base)
        values = self._base * (1 + 0.01 * self._random.standard_normal((nodes, width)))
        values[:, self._still] = self._base[self._still]
        values[:, self._energy] = 600.0 * second
        at = _START + second * SECOND + self._random.integers(0, SECOND * 9 // 10, nodes)
        return [
            encode_frame(Frame("bench", f"n{i:05}", layout, np.full(width, at[i]), values[i]))
            for i, layout in enumerate(self._layouts)
        ]


def _layout(node: str) -> Layout:
    series: list[Series] = []
    for gpu in range(8):
        shared = labels(gpu=f"GPU-{node}-{gpu}", node=node)
        series += [Series(metric, shared) for metric in _GPU]
    shared = labels(node=node)
    series += [Series(metric, shared) for metric in _NODE]
    series += [Series("node_fan_speed_rpm", labels(node=node, sensor=f"Fan {i}")) for i in range(8)]
    return Layout(series)


def engine(rules: Path | None = None) -> Engine:
    """Return an engine with the real detectors and both of them on every metric, the most work there can be."""
    both = ("level", "peers")
    settings = EngineSettings(load_detectors=both, steady_detectors=both)
    detectors: list[Detector] = [Level(), Peers()]
    book = load(rules_folder(rules))
    return Engine(detectors, TailCalibrator(len(detectors), 64), book, Topology(), settings, SelfStats())


def measure(nodes: int, warm_up_seconds: int = 40, seconds: int = 12, trace: bool = False) -> dict[str, float]:
    """Return samples a second (of this process's time on the processor) and bytes a series."""
    fleet = Fleet(nodes)
    if trace:
        tracemalloc.start()
    scorer, layouts = engine(), LayoutCache()
    before = tracemalloc.get_traced_memory()[0] if tracemalloc.is_tracing() else 0
    used = 0.0
    for second in range(warm_up_seconds + seconds):
        messages = fleet.scrape(second)
        start = time.process_time()
        scorer.process([decode_frame(message, layouts) for message in messages], _START + (second + 1) * SECOND)
        if second >= warm_up_seconds:
            used += time.process_time() - start
        del messages
    count = nodes * SERIES_PER_NODE
    result = {"series": float(count), "scoring_samples_per_second": count * seconds / used}
    if tracemalloc.is_tracing():
        result["bytes_per_series"] = (tracemalloc.get_traced_memory()[0] - before) / count
        tracemalloc.stop()
    return result


def run() -> dict[str, float]:
    """Return the rates of 1 thousand, 10 thousand and 100 thousand series, under keys that name the size."""
    result: dict[str, float] = {}
    for nodes, name in ((6, "1k"), (63, "10k"), (625, "100k")):
        # Small fleets are measured over more seconds: a call's fixed cost is real, but its timer is coarse.
        measured = measure(nodes, seconds=12 if nodes > 100 else 60)
        result[f"scoring_{name}_series_samples_per_second"] = measured["scoring_samples_per_second"]
    # Tracing slows everything, so memory is measured apart.
    result["scoring_bytes_per_series"] = measure(125, 3, 3, trace=True)["bytes_per_series"]
    return result


if __name__ == "__main__":
    sys.stdout.write("\n".join(f"{name}: {value:,.0f}" for name, value in run().items()) + "\n")
