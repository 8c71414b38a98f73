"""Where samples are judged: by this process, or by whoever owns their peers."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from coldaisle.anomaly import Anomaly
from coldaisle.detector import Calibrator, Detector, Ids
from coldaisle.entity_detector import EntityDetector
from coldaisle.selfstats import SelfStats
from coldaisle.snapshot import Stateful
from pipeline.engine_settings import EngineSettings
from pipeline.entity_opinions import EntityOpinions, Together
from pipeline.evidence import Evidence
from pipeline.findings import Findings
from pipeline.judge import Judge
from pipeline.opinions import Opinions
from pipeline.rounds import Round
from pipeline.rulebook import RuleBook
from pipeline.series_table import SeriesTable


class Court(Protocol):
    """What the watch of sources hands its samples to, once they are in order and comparable."""

    def reset(self, ids: Ids) -> None:
        """Begin anew with ids."""
        ...

    def admit(self, ids: Ids) -> None:
        """Take series on whose id or group is new."""
        ...

    def withhold(self, ids: Ids, at: int) -> None:
        """Do not believe the peers of ``ids`` for a while after ``at``: their work has just changed."""
        ...

    def accept(self, ids: Ids, at: int) -> None:
        """Take what ``ids`` show at ``at`` as normal: a person has said that it is."""
        ...

    def set_budget(self, gpus: int, series: int) -> None:
        """Spread the alert budget over ``series`` of a fleet of ``gpus``."""
        ...

    def hear(self, end: int, samples: Round) -> list[Anomaly]:
        """Take the samples of a tick that ended at ``end``; return the findings that are known by now."""
        ...

    def gone(self, ids: Ids, now: int) -> list[Anomaly]:
        """Forget series, before their ids are freed; return the findings that this closes."""
        ...


class Bench:
    """The court in one process: detectors, judge and opinions on one table of series."""

    def __init__(
        self,
        table: SeriesTable,
        judge: Judge,
        evidence: Evidence,
        findings: Findings,
        together: Together | None = None,
    ) -> None:
        self.judge = judge
        self.opinions = Opinions(table, judge, evidence, findings)
        self.entities = None if together is None else EntityOpinions(table, judge, evidence, findings, together)

    def reset(self, ids: Ids) -> None:
        """Begin anew with ids."""
        self.judge.reset(ids)
        if self.entities is not None:
            self.entities.reset(ids)

    def admit(self, ids: Ids) -> None:
        """Tell the detectors of new series or of new groups."""
        self.judge.admit(ids)

    def withhold(self, ids: Ids, at: int) -> None:
        """Do not believe the peers of ``ids`` for a while after ``at``."""
        self.judge.withhold(ids, at)

    def accept(self, ids: Ids, at: int) -> None:
        """Take what ``ids`` show now as normal."""
        self.judge.accept(ids)

    def set_budget(self, gpus: int, series: int) -> None:
        """Spread the alert budget over ``series`` of a fleet of ``gpus``."""
        looked_at = 0 if self.entities is None else self.entities.count
        self.judge.set_budget(gpus, series + looked_at)

    def hear(self, end: int, samples: Round) -> list[Anomaly]:
        """Judge a round."""
        verdict = self.judge.judge(samples)
        heard = self.judge.take_opinions()
        if verdict is None:
            return []
        found = self.opinions.decide(verdict)
        # After the opinions on single series: what one of them says already is not said again.
        return found if self.entities is None else found + self.entities.decide(end, heard, verdict)

    def parts(self) -> dict[str, Stateful]:
        """Return what a snapshot keeps of the court, in the order in which it must be restored."""
        parts: dict[str, Stateful] = {"judge": self.judge, "opinions": self.opinions}
        return parts if self.entities is None else {**parts, "entities": self.entities}

    def gone(self, ids: Ids, now: int) -> list[Anomaly]:
        """Close what is open on series that are forgotten."""
        found = self.opinions.gone(ids, now)
        if self.entities is not None:
            found += self.entities.gone(ids, now)
        self.judge.forget(ids)
        return found


class Bar(NamedTuple):
    """What judges by which measure: everything of a court that is not state."""

    detectors: tuple[Detector, ...]
    calibrator: Calibrator
    rules: RuleBook
    settings: EngineSettings
    stats: SelfStats
    entities: tuple[EntityDetector, Calibrator] | None = None  # who judges several metrics of one thing together


def bench_of(bar: Bar, table: SeriesTable, evidence: Evidence, findings: Findings) -> Bench:
    """Return a bench on ``table``."""
    judge = Judge(table, bar.detectors, bar.calibrator, bar.rules, bar.settings, bar.stats)
    together = None if bar.entities is None else Together(*bar.entities, bar.rules, bar.settings, bar.stats)
    return Bench(table, judge, evidence, findings, together)
