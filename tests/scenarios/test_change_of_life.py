"""Jobs, firmware, hardware and people change what is normal: nobody is called for that, and no slow fault forgotten."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from threading import RLock

import numpy as np
import pytest
from numpy.typing import NDArray

from coldaisle.alert import alert_of
from coldaisle.anomaly import Anomaly, Phase
from coldaisle.clock import MINUTE, SECOND
from coldaisle.event import Event
from coldaisle.frame import Block
from coldaisle.incident import Incident, IncidentState, ResolveReason
from coldaisle.selfstats import SelfStats
from coldaisle.series import Layout, Series, labels
from coldaisle.severity import Severity
from coldaisle.teaching import lesson_of
from coldaisle.topology import Entity, Topology
from models.calibrate import TailCalibrator
from models.drift import Drift
from models.level import Level
from models.peers import Peers
from models.seasonal import Seasonal
from pipeline.engine_settings import EngineSettings
from pipeline.rules import load
from pipeline.scoring import Engine

pytestmark = pytest.mark.xdist_group("change_of_life")  # one hall that has worked for all of them

START = 1_800_000_000 * SECOND
STEP_SECONDS = 20
RULES = load(Path(__file__).resolve().parents[2] / "config" / "rules")
NODES = ("n0", "n1", "n2", "n3")
GPUS = 4
METRICS = ("gpu_temperature_celsius", "gpu_power_watts", "gpu_clock_sm_hertz")
IDLE, BUSY = (38.0, 90.0, 1.98e9), (64.0, 640.0, 1.755e9)
NOISE = (0.4, 8.0, 4e6)
Shape = Callable[[float, NDArray[np.float64]], None]
"""Changes the values [gpus, metrics] of a minute in place."""


class Hall:
    """Sixteen GPUs that idle and work; each has something of its own."""

    def __init__(self, seed: int = 1) -> None:
        self._random = np.random.default_rng(seed)
        self.names = [f"GPU-{node}-{i}" for node in NODES for i in range(GPUS)]
        self._own = self._random.normal(0.0, 1.0, (len(self.names), 3)) * (1.5, 6.0, 3e6)
        self.busy = np.zeros(len(self.names))
        detectors = (Level(), Seasonal(), Peers(), Drift())
        topology = Topology([Entity("node", node, None, {"sku": "hgx"}) for node in NODES])
        tails = TailCalibrator(len(detectors), 16)
        self.stats = SelfStats()
        self.engine = Engine(detectors, tails, RULES, topology, EngineSettings(), self.stats)
        self.minute = 0.0
        self.found: list[tuple[float, Anomaly]] = []

    @property
    def now(self) -> int:
        """The moment reached."""
        return START + round(self.minute * MINUTE)

    def job(self, name: str, code: str, nodes: tuple[str, ...]) -> None:
        """Start or end a job."""
        for i, gpu in enumerate(self.names):
            if gpu.split("-")[1] in nodes:
                self.busy[i] = float(code == "start")
        told = {"nodes": " ".join(nodes)} if code == "start" else {}
        self.engine.observe([Event("job", code, self.now, labels(job=name), "", told)])

    def live(self, minutes: float, shape: Shape = lambda _minute, _values: None) -> list[tuple[float, Anomaly]]:
        """Let time pass; return what detectors newly find, and when (minutes from the start)."""
        began = len(self.found)
        until = self.minute + minutes
        while self.minute < until:
            together = self._random.normal(0.0, 0.02)
            share = np.clip(self.busy + together * self.busy, 0.0, None)[:, None]
            values = (1 - share) * IDLE + share * BUSY + self._own * (0.4 + 0.6 * share)
            values += self._random.normal(0.0, 1.0, values.shape) * NOISE
            shape(self.minute, values)
            series = [
                Series(metric, labels(gpu=gpu, node=gpu.split("-")[1])) for gpu in self.names for metric in METRICS
            ]
            size = len(series)
            block = Block(Layout(series), np.arange(size), np.full(size, self.now), values.ravel())
            for anomaly in self.engine.process([block], self.now):
                if anomaly.detector in ("level", "peers", "drift", "seasonal"):
                    self.found.append((self.minute, anomaly))
            self.minute += STEP_SECONDS / 60
        return [(at, each) for at, each in self.found[began:] if each.phase is Phase.OPENED]


def hotter(gpu: int, by: float) -> Shape:
    def shape(_minute: float, values: NDArray[np.float64]) -> None:
        values[gpu, 0] += by

    return shape


def at_work(minutes: float = 50.0) -> Hall:
    """Return a hall of one's own that has worked so long without a finding."""
    hall = worked(minutes)
    # A lock has no copy.
    return deepcopy(hall, {id(hall.stats): SelfStats(), id(RULES): RULES, id(hall.engine._lock): RLock()})


@cache
def worked(minutes: float) -> Hall:
    hall = Hall()
    hall.live(2)
    hall.job("a", "start", NODES)
    hall.live(minutes)
    assert [each.explanation for _, each in hall.found] == []
    return hall


def noise(about: Anomaly, now: int) -> Incident:
    """Return the incident of a finding, after a person has called it noise."""
    entity = about.entity
    incident = Incident(
        id="i1", title=about.summary, severity=Severity.TICKET, state=IncidentState.OPEN, suspect=entity,
        entities=(entity,), started_at=about.started_at, opened_at=about.updated_at, updated_at=about.updated_at,
        explanation="", recommended_action="", reasons=(), confidence=1.0, alerts=(alert_of(about),),
    )  # fmt: skip
    return incident.resolved(now, "ada", ResolveReason.NOISE)


@pytest.mark.slow
def test_jobs_that_end_start_and_grow_are_nobodys_fault() -> None:
    hall = at_work(30)
    hall.job("a", "end", NODES)
    hall.live(12)
    hall.job("b", "start", NODES[1:])
    hall.live(25)
    hall.job("b", "end", NODES[1:])
    hall.job("c", "start", NODES)
    hall.live(25)
    assert [each.explanation for _, each in hall.found] == []


def test_a_step_of_the_whole_group_is_nobodys_fault() -> None:
    def firmware(_minute: float, values: NDArray[np.float64]) -> None:
        values[:] *= (0.95, 0.9, 0.97)

    assert at_work(30).live(40, firmware) == []


def test_a_replaced_gpu_is_learnt_without_a_finding() -> None:
    hall = at_work(40)
    hall.names[5] = "GPU-n1-new"
    assert hall.live(40, hotter(5, 3.5)) == []


def test_a_gpu_four_degrees_hotter_is_found_within_minutes_and_beside_its_siblings() -> None:
    hall = at_work()
    found = hall.live(12, hotter(6, 4.0))
    assert {each.entity for _, each in found} == {"gpu/GPU-n1-2"}
    assert found[0][0] - 52.0 < 10.0
    assert len(found[0][1].peers) == 15
    assert "above its 15 siblings" in found[0][1].explanation


@pytest.mark.slow
def test_a_slow_fault_is_not_forgotten_when_its_job_starts_again() -> None:
    hall = at_work()
    assert {each.entity for _, each in hall.live(25, hotter(6, 6.0))} == {"gpu/GPU-n1-2"}
    hall.job("a", "end", NODES)
    hall.live(2, hotter(6, 6.0))
    hall.job("b", "start", NODES)
    hall.live(25, hotter(6, 6.0))
    open_now = {}
    for _, each in hall.found:
        open_now[each.id] = each
    assert any(each.phase is not Phase.CLOSED for each in open_now.values())
    assert {each.entity for each in open_now.values()} == {"gpu/GPU-n1-2"}


@pytest.mark.slow
def test_what_creeps_in_over_hours_is_found() -> None:
    hall = at_work()

    def creep(minute: float, values: NDArray[np.float64]) -> None:
        values[6, 0] += 8.0 * min(1.0, (minute - 52.0) / 150.0)

    found = hall.live(110, creep)
    assert {each.entity for _, each in found} == {"gpu/GPU-n1-2"}


def test_what_a_person_calls_normal_stays_quiet_and_twice_as_much_does_not() -> None:
    first = 5.0
    hall = at_work()
    (_, found), *_ = hall.live(15, hotter(6, first))
    lesson = lesson_of(noise(found, hall.now))
    assert lesson is not None
    hall.engine.observe([lesson])
    assert hall.live(60, hotter(6, first)) == []
    again = hall.live(20, hotter(6, 2.5 * first))
    assert {each.entity for _, each in again} == {"gpu/GPU-n1-2"}


def test_what_is_normal_for_one_teaches_nothing_about_another() -> None:
    hall = at_work()
    (_, found), *_ = hall.live(15, hotter(6, 6.0))
    lesson = lesson_of(noise(found, hall.now))
    assert lesson is not None
    hall.engine.observe([lesson])

    def both(minute: float, values: NDArray[np.float64]) -> None:
        values[[6, 9], 0] += 6.0

    assert {each.entity for _, each in hall.live(25, both)} == {"gpu/GPU-n2-1"}
