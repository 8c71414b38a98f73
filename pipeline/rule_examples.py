"""Plays the examples beside the rules: values over time in, expected findings out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from coldaisle.anomaly import Anomaly, Phase
from coldaisle.clock import SECOND
from coldaisle.config import Section
from coldaisle.detector import Batch, Detector, Ids, Scores, Traits
from coldaisle.event import Event
from coldaisle.frame import Frame, Sample
from coldaisle.selfstats import SelfStats
from coldaisle.series import Series, labels
from coldaisle.severity import Severity
from coldaisle.topology import Topology
from pipeline.engine_settings import EngineSettings
from pipeline.plain_together import PlainTogether
from pipeline.rulebook import RuleBook
from pipeline.scoring import Engine

_START = 1_700_000_040 * SECOND  # the beginning of a minute


class SeriesExample(Section):
    """
    One series; ``values`` after promtool: ``20x60`` = 20 sixty times, ``0+5x3`` = 0 5 10 15, ``_`` = none, ``nan``.

    ``20~1x60`` swings between 19 and 21, as a live sensor does.
    """

    metric: str
    labels: dict[str, str] = Field(default_factory=dict)
    values: str
    copies: int = Field(1, ge=1)  # as many things alike; ``*`` in a label becomes 0, 1, ...
    sender: str = ""  # the process that sends it
    times: int = Field(1, ge=1)  # how often each sample is sent


class EventExample(Section):
    """One event ``at`` so many seconds after the start."""

    at: float
    kind: str
    code: str
    labels: dict[str, str] = Field(default_factory=dict)
    text: str = ""


class Expectation(Section):
    """A finding that must open (or, with ``phase = "closed"``, end); ``says`` must stand in its sentence."""

    rule: str
    entity: str
    phase: Literal["opened", "closed"] = "opened"
    severity: Severity | None = None
    after: float = 0.0  # seconds from the start
    before: float = float("inf")
    says: str = ""


class Ahead(Section):
    """A node whose clock is wrong."""

    node: str
    seconds: float


class Example(Section):
    """What happens, and the findings it makes: these and no others."""

    name: str
    interval: float = Field(1.0, gt=0)  # seconds between values
    series: tuple[SeriesExample, ...] = ()
    event: tuple[EventExample, ...] = ()
    ahead: tuple[Ahead, ...] = ()
    expect: tuple[Expectation, ...] = ()


class ExampleFile(Section):
    """A ``.test.toml``."""

    example: tuple[Example, ...] = ()


class Failure(NamedTuple):
    """What went otherwise than an example expects."""

    file: str
    example: str
    text: str

    def __str__(self) -> str:
        where = f"{self.file}: {self.example}" if self.example else self.file
        return f"{where}: {self.text}"


class PlainPeers:
    """Distance from the median of the group in half-hundredths of it; stands in for the real detectors in examples."""

    name = "peers"
    version = "example"
    _share = 0.005

    def __init__(self) -> None:
        self._group: NDArray[np.int64] = np.zeros(0, np.int64)

    def admit(self, ids: Ids, traits: Traits) -> None:
        """Note the groups."""
        size = max(len(self._group), int(ids.max()) + 1)
        group = np.full(size, -1, np.int64)
        group[: len(self._group)] = self._group
        group[ids] = traits.group
        self._group = group

    def score(self, batch: Batch) -> Scores:
        """Compare with the others of a group of three or more."""
        scores = Scores(*(np.full(len(batch.ids), np.nan) for _ in range(3)))
        groups = self._group[batch.ids]
        for group in np.unique(groups[groups >= 0]):
            which = np.flatnonzero(groups == group)
            if len(which) < 3:
                continue
            middle = float(np.median(batch.values[which]))
            spread = max(abs(middle) * self._share, 1e-9)
            scores.expected[which], scores.spread[which] = middle, spread
            scores.score[which] = (batch.values[which] - middle) / spread
        return scores

    def learn(self, batch: Batch, weight: NDArray[np.float64]) -> None:
        """Nothing is learnt."""

    def forget(self, ids: Ids) -> None:
        """Nothing was learnt."""

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the groups."""
        return {"group": self._group.copy()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take the groups back."""
        self._group = np.array(state["group"], np.int64)


class PlainDrift(PlainPeers):
    """The same, but finer, under the name of what accumulates; examples last too short for it."""

    name = "drift"
    _share = 0.001


class FirstLevel(PlainPeers):
    """Distance from a series' own first value in hundredths of it."""

    name = "level"

    def __init__(self) -> None:
        super().__init__()
        self._first: dict[int, float] = {}

    def score(self, batch: Batch) -> Scores:
        """Compare with the first value."""
        first = np.array([self._first.get(number, np.nan) for number in batch.ids.tolist()])
        spread = np.maximum(np.abs(first) * 0.005, 1e-9)
        return Scores((batch.values - first) / spread, first, spread)

    def learn(self, batch: Batch, weight: NDArray[np.float64]) -> None:
        """Keep the first value."""
        for number, value in zip(batch.ids.tolist(), batch.values.tolist(), strict=True):
            self._first.setdefault(number, value)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the groups and the first values."""
        ids, values = np.array(list(self._first), np.int64), np.array(list(self._first.values()), np.float64)
        return {**super().state(), "ids": ids, "first": values}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take them back."""
        super().restore(state)
        self._first = dict(zip(state["ids"].tolist(), state["first"].tolist(), strict=True))


class PlainTails:
    """One decade of probability for each spread; stands in for the real calibration in examples."""

    def tail(self, detector: int, family: NDArray[np.int32], score: NDArray[np.float64]) -> NDArray[np.float64]:
        """``10 ** -|score|``, at least 1e-16."""
        return np.power(10.0, -np.minimum(np.abs(score), 16.0))

    def learn(
        self, detector: int, family: NDArray[np.int32], score: NDArray[np.float64], weight: NDArray[np.float64]
    ) -> None:
        """Nothing is learnt."""

    def state(self) -> dict[str, NDArray[Any]]:
        """Nothing."""
        return {}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Nothing."""


def play(book: RuleBook, example: Example) -> list[str]:
    """Return what went otherwise than ``example`` expects, in words."""
    try:
        found = _findings(book, example)
    except ValueError as error:
        return [str(error)]
    wrong: list[str] = []
    left = list(found)
    for wanted in example.expect:
        hit = next((each for each in left if _is(wanted, each)), None)
        if hit is None:
            said = ", ".join(sorted({f"{a.rule} on {a.entity} {a.phase} at {_at(a):g} s" for a in found})) or "nothing"
            wrong.append(f"expected {wanted.rule} on {wanted.entity} {wanted.phase}; got {said}")
        else:
            left.remove(hit)
    unexpected = {f"{a.rule} on {a.entity} at {_at(a):g} s: {a.explanation}" for a in left if a.phase is Phase.OPENED}
    return wrong + [f"did not expect {each}" for each in sorted(unexpected)]


def _findings(book: RuleBook, example: Example) -> list[Anomaly]:
    topology = Topology()
    detectors: list[Detector] = [FirstLevel(), PlainPeers(), PlainDrift()]
    settings = EngineSettings(allowed_lateness_seconds=0.0, grace_seconds=0.0)
    together = PlainTogether(), PlainTails()
    engine = Engine(detectors, PlainTails(), book, topology, settings, SelfStats(), entities=together)
    lines = [
        (Series(each.metric, labels(**{k: v.replace("*", str(copy)) for k, v in each.labels.items()})), each)
        for each in example.series
        for copy in range(each.copies)
    ]
    found: list[Anomaly] = []
    ahead = {each.node: round(each.seconds * SECOND) for each in example.ahead}
    values_of = [_values(each) for _, each in lines]
    last = max(map(len, values_of), default=0)
    for step in range(last):
        now = _START + round(step * example.interval * SECOND)
        sent: dict[tuple[str, str], list[Sample]] = {}
        for (series, each), values in zip(lines, values_of, strict=True):
            if step < len(values) and (value := values[step]) is not None:
                node = series.label("node") or ""
                sample = Sample(series, now + ahead.get(node, 0), value)
                sent.setdefault((node if each.sender else "example", each.sender), []).extend([sample] * each.times)
        if sent:
            frames = [replace(Frame.of("example", node, rows), sender=sender) for (node, sender), rows in sent.items()]
            found += engine.process(frames, now)
        else:
            found += engine.advance(now)
    for event in sorted(example.event, key=lambda each: each.at):
        at = _START + round(event.at * SECOND)
        happened = Event(event.kind, event.code, at, labels(**event.labels), event.text)
        for rule in book.event_rules():
            said = rule.finding(happened, topology)
            if said is not None:
                found.append(said)
                break
    return found


def _values(example: SeriesExample) -> list[float | None]:
    values: list[float | None] = []
    for word in example.values.split():
        body, _, times = word.partition("x")
        try:
            count = int(times) if times else 1
            if body == "_":
                values += [None] * count
                continue
            if "~" in body:
                middle, swing = (float(part) for part in body.split("~"))
                values += [middle + swing * (1, -1, 0.5, -0.5)[i % 4] for i in range(count)]
                continue
            start, plus, step = body.partition("+")
            first = float(start)
            values += [first + float(step) * i for i in range(count + 1)] if plus else [first] * count
        except ValueError as error:
            raise ValueError(f"cannot read the value {word!r}: write 20x60, 0+5x3, 20~1x60, _x5 or nan") from error
    return values


def _at(anomaly: Anomaly) -> float:
    return (anomaly.updated_at - _START) / SECOND


def _is(wanted: Expectation, found: Anomaly) -> bool:
    return (
        found.rule == wanted.rule
        and found.entity == wanted.entity
        and found.phase.value == wanted.phase
        and (wanted.severity is None or found.severity is wanted.severity)
        and wanted.after <= _at(found) <= wanted.before
        and (wanted.says in found.explanation or wanted.says in found.summary)
    )
