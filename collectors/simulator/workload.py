"""Jobs: synchronous training over many nodes, inference that follows the day, nodes at rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from coldaisle.event import Event
from coldaisle.series import labels
from collectors.simulator.arrivals import arrival_factor
from collectors.simulator.effects import Effects
from collectors.simulator.hall import Flags, Hall, Indices

Floats = NDArray[np.float64]

TRAINING, INFERENCE = 0, 1
IDLE: Final = -1
RESERVE_SHARE: Final = 0.06
"""Share of nodes that no job gets."""
INFERENCE_SHARE: Final = 0.22
TRAINING_SIZES: Final = (4, 8, 16, 32, 64, 128)
INFERENCE_SIZES: Final = (3, 4, 6, 8)
MEAN_TRAINING_SECONDS: Final = 3 * 3600.0
SHORTEST_TRAINING_SECONDS: Final = 1200.0
QUEUE_SECONDS: Final = 90.0
"""Nodes stand idle this long before the next job begins."""
COMPUTE_BOUND: Final = 0.75
"""Share of a training step that shrinks as the clock rises; the rest waits for memory and network."""
CHECKPOINT_ACTIVITY: Final = 0.08
COMMUNICATION_ACTIVITY: Final = 0.72
WINDOW_SECONDS: Final = 1.0
"""Power and utilisation are averages over the last second (NVML, Ampere and newer)."""


@dataclass(slots=True)
class Job:
    """A job on its nodes; ``step_seconds`` and the like matter to training only."""

    name: str
    kind: int
    nodes: Indices
    ends_after: float  # seconds of hall time; infinite for a service
    intensity: float  # 0..1, how hard it works the chips
    memory_share: float
    step_seconds: float = 1.0
    communication_share: float = 0.0
    checkpoint_every: float = np.inf
    checkpoint_seconds: float = 0.0
    checkpoint_phase: float = 0.0
    steps_done: float = 0.0
    sway: float = 0.0  # slow wandering of its load
    offset_minutes: float = 0.0


class Workload:
    """Places jobs on nodes and says how hard each node and GPU is worked."""

    def __init__(self, hall: Hall, seed: int) -> None:
        self._hall, self._rng = hall, np.random.default_rng([seed, 6])
        self._names = {TRAINING: 0, INFERENCE: 0}
        self.jobs: list[Job] = []
        self.node_job: Indices = np.full(hall.nodes, IDLE)  # position in jobs
        self._free_after: Floats = np.zeros(hall.nodes)
        self._node_sway: Floats = np.zeros(hall.nodes)
        self._pace: Floats = np.full(hall.nodes, 0.97)  # clock over whole steps, not the instant's
        # What physics reads after ``advance``:
        self.activity: Floats = np.zeros(hall.nodes)
        self.utilization: Floats = np.zeros(hall.nodes)
        self.memory_share: Floats = np.zeros(hall.nodes)
        self.traffic: Floats = np.zeros(hall.nodes)  # share of the port's rate
        self.step_seconds: Floats = np.full(hall.nodes, np.nan)  # NaN = the node does not train
        self._place_at_start()

    # --- placing -----------------------------------------------------------------------------------------------

    def training(self) -> Flags:
        """Return which nodes train."""
        return self._is(TRAINING)

    def busy(self) -> Flags:
        """Return which nodes run any job."""
        found: Flags = self.node_job != IDLE
        return found

    def job_of(self, node: int) -> Job | None:
        """Return what runs on ``node``."""
        number = int(self.node_job[node])
        return None if number == IDLE else self.jobs[number]

    def _is(self, kind: int) -> Flags:
        kinds: Indices = np.array([*(job.kind for job in self.jobs), IDLE])
        found: Flags = kinds[self.node_job] == kind
        return found

    def _place_at_start(self) -> None:
        for_inference = round(self._hall.nodes * INFERENCE_SHARE)
        placed = 0
        while for_inference - placed >= INFERENCE_SIZES[0]:
            size = min(int(self._rng.choice(INFERENCE_SIZES)), for_inference - placed)
            self._begin(INFERENCE, size, 0.0)
            placed += size
        while self._begin_training(0.0) is not None:
            pass
        for job in self.jobs:
            if job.kind == TRAINING:  # they began before we look
                job.ends_after *= float(self._rng.uniform(0.2, 1.0))
                job.ends_after += SHORTEST_TRAINING_SECONDS

    def _free(self, elapsed: float, unfit: Flags | None = None) -> Indices:
        free = (self.node_job == IDLE) & (self._free_after <= elapsed)
        return np.flatnonzero(free if unfit is None else free & ~unfit)

    def _begin_training(self, elapsed: float, unfit: Flags | None = None) -> Job | None:
        reserve = int(self._hall.nodes * RESERVE_SHARE)
        room = len(self._free(elapsed, unfit)) - reserve
        largest = max(self._hall.nodes // 3, TRAINING_SIZES[0])
        sizes = [size for size in TRAINING_SIZES if size <= min(room, largest)]
        return self._begin(TRAINING, int(self._rng.choice(sizes)), elapsed, unfit) if sizes else None

    def _begin(self, kind: int, size: int, elapsed: float, unfit: Flags | None = None) -> Job:
        rng = self._rng
        nodes = self._free(elapsed, unfit)[:size]
        self._names[kind] += 1
        number = self._names[kind]
        if kind == INFERENCE:
            job = Job(
                f"serve-{number:03d}", kind, nodes, np.inf,
                float(rng.uniform(0.5, 0.62)), float(rng.uniform(0.85, 0.9)),
                offset_minutes=float(rng.uniform(0, 57)),
            )  # fmt: skip
        else:
            lasts = max(float(rng.exponential(MEAN_TRAINING_SECONDS)), SHORTEST_TRAINING_SECONDS)
            every = float(rng.uniform(420, 1500))
            job = Job(
                f"train-{number:03d}", kind, nodes, elapsed + lasts, float(rng.uniform(0.84, 0.98)),
                float(rng.uniform(0.72, 0.93)), float(rng.uniform(2.2, 9.0)), float(rng.uniform(0.12, 0.3)),
                every, float(rng.uniform(9, 22)), float(rng.uniform(0, every)),
            )  # fmt: skip
        self.node_job[nodes] = len(self.jobs)
        self.jobs.append(job)
        return job

    def _end(self, job: Job, elapsed: float) -> None:
        number = self.jobs.index(job)
        self._free_after[job.nodes] = elapsed + QUEUE_SECONDS
        self.node_job[self.node_job == number] = IDLE
        self.node_job[self.node_job > number] -= 1
        del self.jobs[number]

    def _turnover(self, now: int, elapsed: float, unfit: Flags) -> list[Event]:
        """End jobs whose time has come or that lost a node, begin new ones where nodes are free."""
        events: list[Event] = []
        for job in [job for job in self.jobs if job.kind == TRAINING]:
            lost = job.nodes[unfit[job.nodes]]
            if len(lost) or elapsed >= job.ends_after:
                names = ", ".join(self._hall.node_names[node] for node in lost.tolist())
                text = f"{job.name} failed: lost {names}" if len(lost) else f"{job.name} finished"
                self._end(job, elapsed)
                events.append(self._event("end", job, now, text))
        # Whether a job begins is looked at four times a minute, as a scheduler would.
        if int(elapsed / 15) != int((elapsed - WINDOW_SECONDS) / 15):
            begun = self._begin_training(elapsed, unfit)
            if begun is not None:
                events.append(self._event("start", begun, now, f"{begun.name} started on {len(begun.nodes)} nodes"))
        return events

    def _event(self, code: str, job: Job, now: int, text: str) -> Event:
        nodes = ",".join(self._hall.node_names[node] for node in job.nodes.tolist())
        return Event("job", code, now, labels(job=job.name), text, {"nodes": nodes})

    # --- working -----------------------------------------------------------------------------------------------

    def advance(self, now: int, elapsed: float, dt_seconds: float, clock: Floats, effects: Effects) -> list[Event]:
        """
        Move every job on by ``dt_seconds`` and set what physics reads.

        ``clock`` [nodes] is the share of the top clock of each node's slowest GPU; ``effects`` say whose steps
        take longer than they should and who cannot work.
        """
        slow, unfit = effects.node_slow, effects.node_unfit
        events = self._turnover(now, elapsed, unfit)
        count = self._hall.nodes
        self._node_sway += -self._node_sway * min(dt_seconds / 20.0, 1.0) + 0.006 * np.sqrt(
            min(dt_seconds / 10.0, 1.0)
        ) * self._rng.standard_normal(count)
        jitter, uneven = self._rng.standard_normal((2, count))
        working = self.activity > CHECKPOINT_ACTIVITY * 2  # a pause says nothing about the pace
        self._pace[working] += min(dt_seconds / 15.0, 1.0) * (clock[working] - self._pace[working])
        own = (1.0 - COMPUTE_BOUND + COMPUTE_BOUND / np.maximum(self._pace, 0.05)) * (1.0 + slow)
        self.activity[:] = 0.0
        self.utilization[:] = 0.0
        self.memory_share[:] = 0.004
        self.traffic[:] = 1e-4
        self.step_seconds[:] = np.nan
        for job in self.jobs:
            noise = float(self._rng.standard_normal())
            job.sway += -job.sway * min(dt_seconds / 60.0, 1.0) + 0.004 * np.sqrt(min(dt_seconds, 60.0)) * noise
            if job.kind == TRAINING:
                self._train(job, elapsed, dt_seconds, own, jitter)
            else:
                self._serve(job, now, jitter)
            self.memory_share[job.nodes] = job.memory_share
        self.activity = np.clip(self.activity * (1.0 + self._node_sway + 0.012 * uneven), 0.0, 1.05)
        self.activity[unfit] = 0.0
        self.utilization[unfit] = 0.0
        self.traffic[unfit] = 0.0
        return events

    def _train(self, job: Job, elapsed: float, dt_seconds: float, own: Floats, jitter: Floats) -> None:
        """All wait for the slowest: a member is busy for its own share of the common step."""
        nodes = job.nodes
        mine = job.step_seconds * own[nodes] * (1.0 + 0.0025 * jitter[nodes])
        common = float(mine.max())
        busy = mine / common
        saving = _overlap(elapsed + job.checkpoint_phase, WINDOW_SECONDS, job.checkpoint_every, job.checkpoint_seconds)
        job.steps_done += (1.0 - saving) * dt_seconds / common
        window = min(WINDOW_SECONDS, common)
        talking = _overlap(job.steps_done * common, window, common, job.communication_share * common) / window
        computing = 1.0 - talking * (1.0 - COMMUNICATION_ACTIVITY)
        level = job.intensity * (1.0 + job.sway * 0.3)
        waiting = 0.35 + 0.65 * busy  # the clocks spin at the barrier, the tensor cores rest
        self.activity[nodes] = level * (computing * (1.0 - saving) * waiting + saving * CHECKPOINT_ACTIVITY)
        self.utilization[nodes] = (1.0 - saving) * (0.4 + 0.6 * busy) * (1.0 - 0.06 * talking) + saving * 0.04
        self.traffic[nodes] = 0.02 + 0.75 * talking * (1.0 - saving) + 0.25 * saving
        self.step_seconds[nodes] = mine

    def _serve(self, job: Job, now: int, jitter: Floats) -> None:
        """A balancer spreads the requests, unevenly from second to second."""
        nodes = job.nodes
        load = job.intensity * arrival_factor(now, job.offset_minutes) * (1.0 + 0.5 * job.sway)
        share = np.clip(load * (1.0 + 0.05 * jitter[nodes]), 0.02, 1.0)
        self.activity[nodes] = 0.12 + 0.6 * share
        self.utilization[nodes] = np.clip(0.05 + 0.95 * share, 0.0, 1.0)
        self.traffic[nodes] = 0.03 * share


def _overlap(end: float, window: float, period: float, length: float) -> float:
    """Return how much of the ``window`` before ``end`` falls into the first ``length`` of each ``period``."""

    def covered(moment: float) -> float:
        whole, rest = divmod(moment, period)
        return float(whole * length + min(rest, length))

    if not np.isfinite(period):
        return 0.0
    return covered(end) - covered(end - window)
