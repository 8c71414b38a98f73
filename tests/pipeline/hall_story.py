"""A small hall in which three things go wrong, second by second, for tests of the stages and roles of scoring."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import numpy as np

from coldaisle.anomaly import Anomaly
from coldaisle.clock import SECOND
from coldaisle.event import Event
from coldaisle.frame import Frame, Sample
from coldaisle.selfstats import SelfStats
from coldaisle.series import Series, labels
from coldaisle.severity import Severity
from coldaisle.topology import Topology
from pipeline.court import Bar
from pipeline.rule_examples import FirstLevel, PlainPeers, PlainTails
from pipeline.rulebook import RuleBook, ScoreRule, SilenceRule
from pipeline.scoring import Engine, EngineSettings

START = 1_700_000_040 * SECOND
SECONDS = 120
SETTINGS = EngineSettings(allowed_lateness_seconds=3, grace_seconds=10)
BOOK = RuleBook(
    [
        ScoreRule(
            name="strange", on="score", metrics=("*",), severity=Severity.TICKET, summary="{entity}", for_seconds=3
        ),
        SilenceRule(name="silent", on="silence", of="node", severity=Severity.PAGE, summary="{entity}"),
    ]
)
NODES = tuple(f"n{number:02}" for number in range(12))
Told = dict[tuple[str, str], tuple[str, str, int, int, str, float | None]]


class Moment(NamedTuple):
    """What comes in one second."""

    second: int
    frames: list[Frame]
    events: list[Event]


def bar() -> Bar:
    """Return detectors and a calibrator of one's own."""
    return Bar((FirstLevel(), PlainPeers()), PlainTails(), BOOK, SETTINGS, SelfStats())


def scrape(node: str, second: int) -> Frame:
    """Return a node's scrape: GPUs follow the job's load, the inlet stands still; n03 overheats, n07's inlet warms."""
    at = START + second * SECOND
    load = 60 + 5 * np.sin(second / 7)
    samples = [
        Sample(Series("gpu_temperature_celsius", labels(gpu=f"g{i}", node=node)), at, load + 0.1 * i) for i in range(4)
    ]
    if node == "n03" and second >= 60:
        samples[2] = samples[2]._replace(value=load + 20)
    inlet = 24.0 + (8.0 if node == "n07" and second >= 80 else 0.0)
    samples.append(Sample(Series("node_inlet_temperature_celsius", labels(node=node)), at, inlet))
    return Frame.of("test", node, samples)


@cache
def hall() -> tuple[Moment, ...]:
    """Return the hall's life; n05 is silent for a while, and a job starts on two thirds of the nodes."""
    moments = []
    for second in range(SECONDS):
        frames = [scrape(node, second) for node in NODES if not (node == "n05" and 40 <= second < 90)]
        events = []
        if second == 5:
            members = " ".join(NODES[:8])
            events = [Event("job", "start", START + 5 * SECOND, labels(job="train"), "", {"nodes": members})]
        moments.append(Moment(second, frames, events))
    return tuple(moments)


def told(found: Iterable[Anomaly]) -> Told:
    """Return what was found, whatever the order and however often it was said."""
    return {
        (each.id, each.phase.value): (
            each.rule,
            each.entity,
            each.started_at,
            each.updated_at,
            each.explanation,
            each.observed,
        )
        for each in found
    }


@cache
def one_engine() -> Told:
    """Return what one engine in one process finds: look, do not change it."""
    detectors, tails, book, settings, stats, _ = bar()
    engine = Engine(detectors, tails, book, Topology(), settings, stats)
    found: list[Anomaly] = []
    for second, frames, events in hall():
        engine.observe(events)
        found += engine.process(frames, START + second * SECOND)
    return told(found)
