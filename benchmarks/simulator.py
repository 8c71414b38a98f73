"""Time of one simulated step of a hall of 10,000 GPUs, frames for the bus included where asked for."""

from __future__ import annotations

import json
import sys
from time import perf_counter

import numpy as np

from collectors.simulator.config import SimulatorConfig
from collectors.simulator.simulator import Simulator

STEPS = 30


def measure() -> dict[str, float]:
    config = SimulatorConfig(
        rows=10, racks_per_row=25, nodes_per_rack=5, fault_rate=120, first_fault_after_seconds=3, seed=7
    )
    began = perf_counter()
    simulator = Simulator(config)
    started = perf_counter() - began
    began = perf_counter()
    topology = simulator.topology()
    graph = perf_counter() - began
    steps: list[float] = []
    samples = 0
    for _ in range(STEPS):
        began = perf_counter()
        step = simulator.step()
        steps.append(perf_counter() - began)
        samples += len(step.block)
    simulator.frames(step)  # the first call lays out the frames of every device
    began = perf_counter()
    frames = simulator.frames(step)
    splitting = perf_counter() - began
    return {
        "gpus": float(simulator.hall.gpus),
        "series": float(len(simulator.layout)),
        "entities": float(len(topology)),
        "start_seconds": started,
        "topology_seconds": graph,
        "step_median_seconds": float(np.median(steps)),
        "step_worst_seconds": max(steps),
        "simulated_samples_per_second": samples / sum(steps),
        "frames": float(len(frames)),
        "frames_seconds": splitting,
    }


def main() -> None:
    figures = measure()
    if "--json" in sys.argv:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:32} {value:14,.4f}")


if __name__ == "__main__":
    main()
