"""Decides where several metrics of one entity are strange together, and says which and to which side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from coldaisle.anomaly import Anomaly, Contribution
from coldaisle.clock import SECOND
from coldaisle.detector import Batch, Calibrator, Ids, surprise
from coldaisle.entity_detector import EntityDetector, EntityRows
from coldaisle.selfstats import SelfStats
from coldaisle.state import Kept, State, nested
from pipeline.columns import column, grown
from pipeline.engine_settings import EngineSettings
from pipeline.entities import FRESH_SECONDS, Cells, Entities
from pipeline.evidence import Band, Evidence
from pipeline.excursions import Excursions
from pipeline.findings import Findings, Measured, Subject, known
from pipeline.judge import Judge, Verdict
from pipeline.rulebook import RuleBook, ScoreRule
from pipeline.series_table import Interner, SeriesTable
from pipeline.words import clock_time, metric_phrase, quantity

ODD_SPREADS = 3.0
"""What a metric must be away to be one of those that are strange together."""
ODD_METRICS = 2
"""One alone is for its own detector to judge, whose rule knows how much of it matters."""
FLOOR = 4.0
"""Spreads of the strangeness: what calibration calls rare must also stand clear of normal life."""
SMOOTH_SECONDS = 120.0
"""Time constant of the strangeness: in the five minutes that its rule asks for, nine tenths of it come through."""
_NAMED = 4
_SHARE_LEAST = 0.05
_BAND_SPREADS = 3.0
_KEPT = {
    "_since": np.uint32, "_run": np.uint8, "tail": np.float32, "_smooth": np.float32, "_heard": np.uint32,
}  # fmt: skip

Floats = NDArray[np.float64]


class Heard(Protocol):
    """What one detector thinks of the series of a round."""

    @property
    def detector(self) -> int:
        """Its place in the judge's list."""
        ...

    @property
    def batch(self) -> Batch:
        """The samples."""
        ...

    @property
    def smooth(self) -> NDArray[np.float64]:
        """Its scores, smoothed, in signed spreads; NaN = no opinion."""
        ...


class Together(NamedTuple):
    """Who scores entities, and by which measure."""

    detector: EntityDetector
    calibrator: Calibrator  # of one detector; its families are the kinds of entity
    rules: RuleBook
    settings: EngineSettings
    stats: SelfStats


class Reason(NamedTuple):
    """One metric that is strange together with others."""

    number: int  # series
    value: float
    expected: float
    spreads: float  # signed
    share: float
    detector: int


def odd_metrics(features: tuple[str, ...], values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return how many metrics of each row somebody calls odd, [n]; the features of a metric stand side by side."""
    metrics = np.array([feature.partition("/")[0] for feature in features])
    starts = np.flatnonzero(np.concatenate(([True], metrics[1:] != metrics[:-1])))
    odd = np.logical_or.reduceat(np.abs(values) >= ODD_SPREADS, starts, axis=1)
    return np.asarray(odd.sum(axis=1))


class EntityOpinions:
    """
    Findings of the entity detector.

    An entity is found when its row is improbable (by the judge's threshold, so within the one alert budget), clear of
    normal life, and made so by at least two metrics that are odd each; when it stays so for as long as the rule
    asks; and when nothing is open on any of its series, for then it is found already. The first metric that its
    rule lets pass carries the finding.
    """

    def __init__(
        self, table: SeriesTable, judge: Judge, evidence: Evidence, findings: Findings, together: Together
    ) -> None:
        self._table = table
        self._judge = judge
        self._evidence = evidence
        self._findings = findings
        self._detector, self._calibrator, self._book, self._settings, self._stats = together
        self._rows = Entities(table, [each.name for each in judge.detectors], self._settings.load_detectors)
        self._families = Interner()
        self._rules: dict[int, ScoreRule | None] = {}  # by metric
        mine = [rule for rule in self._book if isinstance(rule, ScoreRule)]
        asked = [rule.for_seconds for rule in mine if not rule.detectors or self._detector.name in rule.detectors]
        self._shortest_seconds = min(asked, default=0.0)
        self._since = column(0, np.uint32)  # s since when an entity exceeds, 0 = it does not
        self._excursions = Excursions(1, self._settings.relearn_seconds)
        self._run = column(0, np.uint8)
        self._smooth = column(np.nan, np.float32)  # strangeness
        self._heard = column(0, np.uint32)  # s of the newest
        self.tail = column(np.nan, np.float32)  # of the newest row
        self._open: dict[int, list[int]] = {}  # entity -> clear_ns, calm since (0 = still strange)

    @property
    def count(self) -> int:
        """How many entities there may be to look at."""
        return len(self._table.entities)

    def reset(self, ids: Ids) -> None:
        """Begin anew with ids."""
        self._rows.reset(ids)
        size = len(self._table.entities)
        self._since, self._run = grown(self._since, size, 0), grown(self._run, size, 0)
        self.tail, self._smooth = grown(self.tail, size, np.nan), grown(self._smooth, size, np.nan)
        self._heard = grown(self._heard, size, 0)
        self._excursions.reset(np.zeros(0, np.int64), size)

    def gone(self, ids: Ids, now: int) -> list[Anomaly]:
        """Forget series, before their ids are freed; close what is open on entities of which nothing is left."""
        self._rows.changed()
        table = self._table
        left = table.used[: table.size].copy()
        left[ids] = False
        alive = set(np.unique(table.entity[: table.size][left]).tolist())
        return [self._close(entity, now) for entity in sorted(self._open) if entity not in alive]

    def decide(self, end: int, heard: Sequence[Heard], verdict: Verdict) -> list[Anomaly]:
        """Return what the opinions of the tick that ended at ``end`` open and close on entities."""
        self._detector.move(end)
        for opinion in heard:
            batch = opinion.batch
            self._rows.note(opinion.detector, batch.ids, batch.values, opinion.smooth, end)
        touched, strange = (np.zeros(len(self._table.entities), np.bool_) for _ in range(2))
        touched[self._table.entity[verdict.ids]] = True
        # What the detectors of single metrics call evidence is no normal life for this one to learn from.
        strange[self._table.entity[verdict.ids[verdict.exceeds]]] = True
        strange[self._entities_found()] = True
        found: list[Anomaly] = []
        for cells in self._rows.kinds_of(verdict.ids):
            which = np.flatnonzero(touched[cells.entities])
            if len(which):
                found += self._kind(end, cells, which, strange[cells.entities[which]])
        return found

    def state(self) -> State:
        """Return what a snapshot keeps, detector and calibrator among it."""
        size = len(self._table.entities)
        state: dict[str, Any] = {name.removeprefix("_"): getattr(self, name)[:size].copy() for name in _KEPT}
        state |= nested("rows", self._rows.state())
        state |= nested("detector", self._detector.state())
        state |= nested("calibrator", self._calibrator.state())
        state |= nested("excursions", self._excursions.state(size))
        state["families"] = list(self._families.values)
        return state | {"open": [[entity, *told] for entity, told in self._open.items()]}

    def restore(self, state: State) -> None:
        """Take back what ``state`` returned. Raises Permanent."""
        kept, size = Kept(state), len(self._table.entities)
        for name, dtype in _KEPT.items():
            setattr(self, name, kept.array(name.removeprefix("_"), dtype, size))
        self._rows.restore(kept.within("rows").state)
        self._detector.restore(kept.within("detector").state)
        self._calibrator.restore(kept.within("calibrator").state)
        self._excursions.restore(kept.within("excursions").state)
        self._families.restore(tuple(each) for each in kept.rows("families", str, str))
        self._open = {entity: [clear, calm] for entity, clear, calm in kept.rows("open", int, int, int)}

    def _kind(
        self, end: int, cells: Cells, which: NDArray[np.int64], strange: NDArray[np.bool_]
    ) -> list[Anomaly]:  # fmt: skip
        rows = self._rows.rows(cells, which, end)
        entities = cells.entities[which]
        model = self._detector.model_of(cells.kind)
        found: list[Anomaly] = []
        taught = ~strange
        if model:
            score = self._smoothed(end, entities, self._detector.score(rows))
            self._stats.add("samples_scored_total", float(len(which)), detector=self._detector.name)
            family = np.full(len(which), self._families.number((cells.kind, model)), np.int32)
            tail = self._calibrator.tail(0, family, score)
            self.tail[entities] = tail
            exceeds = (tail < self._judge.threshold) & (score >= FLOOR)
            found = self._judged(end, cells, rows, which, exceeds)
            evidence = exceeds | (tail < self._judge.threshold)
            self._calibrate(end, entities, family, score, tail, taught & ~evidence)
            taught &= ~(tail < self._settings.protect_tail_probability)
        if taught.any():
            self._detector.learn(rows._replace(values=rows.values[taught]), end)
        return found

    def _smoothed(self, end: int, entities: NDArray[np.int64], raw: Floats) -> Floats:
        """
        Return the mean of the last minutes, the newest weighing most.

        How strange the strangest row can look to a forest is bounded, so what sets a fault apart is that it lasts.
        """
        before, seen = self._smooth[entities].astype(np.float64), self._heard[entities]
        share = -np.expm1((seen - float(end // SECOND)) / SMOOTH_SECONDS)
        known = ~np.isnan(before) & (end // SECOND - seen <= FRESH_SECONDS)
        smooth = np.where(known, before + share * (raw - before), raw)
        self._smooth[entities], self._heard[entities] = smooth, end // SECOND
        return smooth

    def _calibrate(
        self, end: int, entities: NDArray[np.int64], family: NDArray[np.int32], score: Floats, tail: Floats,
        normal: NDArray[np.bool_],
    ) -> None:  # fmt: skip
        """Teach the calibrator what is no evidence; what is rare and lasts only once it is over."""
        weight, seconds = normal.astype(np.float64), np.full(len(entities), end // SECOND, np.uint32)
        over, far, often = self._excursions.hold(0, entities, seconds, score, tail, weight)
        self._calibrator.learn(0, family, score, weight)
        if len(over):
            self._calibrator.learn(0, family[over], far, often)

    def _judged(
        self, end: int, cells: Cells, rows: EntityRows, which: NDArray[np.int64], exceeds: NDArray[np.bool_]
    ) -> list[Anomaly]:
        """Follow what is open, and open what has been strange for long enough."""
        entities, now = cells.entities[which], end // SECOND
        at = np.flatnonzero(exceeds)
        strange = np.zeros(len(entities), np.bool_)
        strange[at] = odd_metrics(rows.features, rows.values[at]) >= ODD_METRICS
        since = self._since[entities]
        since = np.where(strange, np.where(since == 0, now, since), 0)
        run = np.where(strange, np.minimum(self._run[entities], 250) + 1, 0)
        self._since[entities], self._run[entities] = since, run
        opened = np.isin(entities, list(self._open))
        found: list[Anomaly] = []
        for i in np.flatnonzero(opened).tolist():
            found += self._follow(int(entities[i]), end, bool(strange[i]))
        ripe = strange & ~opened & (run >= self._settings.confirm_samples) & (now - since >= self._shortest_seconds)
        at = np.flatnonzero(ripe & ~np.isin(entities, self._entities_found()))
        if not len(at):
            return found
        # Reasons are worked out only for what may become a finding.
        shares = self._detector.reasons(rows._replace(values=rows.values[at]))
        for i, share in zip(at.tolist(), shares, strict=True):
            entity = int(entities[i])
            reasons = self._reasons(cells, int(which[i]), rows.values[i], share)
            rule = self._carrying(reasons)
            if rule is None:
                self._since[entity] = self._run[entity] = 0  # asked again when it has lasted as long once more
            elif now - int(since[i]) >= rule[0].for_seconds:
                found.append(self._announce(entity, end, *rule, reasons, self._detector.model_of(cells.kind)))
        return found

    def _reasons(
        self, cells: Cells, row: int, spreads: NDArray[np.float32], shares: NDArray[np.float64]
    ) -> list[Reason]:
        """Return the metrics that are strange together, the one that tells most first; each metric once."""
        found: dict[str, Reason] = {}
        for feature in np.argsort(-shares, kind="stable").tolist():
            if shares[feature] < _SHARE_LEAST or len(found) == _NAMED:
                break
            metric = cells.features[feature].partition("/")[0]
            if metric in found or not abs(spreads[feature]) >= ODD_SPREADS:
                continue
            number, detector, value = self._rows.behind(cells, row, feature)
            expected = float(self._judge.expected[number])
            found[metric] = Reason(number, value, expected, float(spreads[feature]), float(shares[feature]), detector)
        return list(found.values()) if len(found) >= ODD_METRICS else []

    def _carrying(self, reasons: Sequence[Reason]) -> tuple[ScoreRule, Reason] | None:
        """Return the first metric that is away far enough for its rule, and to a harmful side."""
        for reason in reasons:
            rule = self._rule(int(self._table.metric[reason.number]))
            if rule is None or not rule.matches(dict(self._table.series(reason.number).labels)):
                continue
            floor = max(rule.at_least, rule.at_least_ratio * abs(reason.expected))
            harmful = self._table.harm[reason.number] * reason.spreads >= 0
            if harmful and abs(reason.value - reason.expected) >= floor:
                return rule, reason
        return None

    def _rule(self, metric: int) -> ScoreRule | None:
        if metric not in self._rules:
            self._rules[metric] = self._book.score_rule(self._table.rows[metric].name, self._detector.name)
        return self._rules[metric]

    def _entities_found(self) -> NDArray[np.int64]:
        """Return the entities on whose series something is open."""
        series = [number for _, number in self._findings.about("score")]
        return np.unique(self._table.entity[np.array(series, np.int64)]).astype(np.int64)

    def _announce(
        self, entity: int, end: int, rule: ScoreRule, carrier: Reason, reasons: Sequence[Reason], model: str
    ) -> Anomaly:
        name = str(self._table.entities.values[entity])
        since = int(self._since[entity]) * SECOND
        half = _BAND_SPREADS * abs(carrier.value - carrier.expected) / abs(carrier.spreads)
        band = Band(known(carrier.expected), known(carrier.expected - half), known(carrier.expected + half))
        by_peers = self._judge.detectors[carrier.detector].name in self._judge.peer_detectors
        total = sum(each.share for each in reasons)
        siblings = self._evidence.siblings(carrier.number)[:64].tolist() if by_peers else []
        tail = float(self.tail[entity])
        measured = Measured(
            detector=self._detector.name,
            version=model,
            observed=known(carrier.value),
            expected=band.expected,
            low=band.low,
            high=band.high,
            tail_probability=known(tail),
            score=float(np.nan_to_num(surprise(np.array([tail]))[0])),
            peers=tuple(dict.fromkeys(self._table.entity_name(each) for each in siblings)),
            window=self._evidence.window(carrier.number, band, by_peers),
            contributions=tuple(
                Contribution(
                    name, self._table.row(each.number).name, each.share / total, known(each.value), known(each.expected)
                )
                for each in reasons
            ),
        )
        subject = Subject(name, self._table.series(carrier.number), self._table.row(carrier.number))
        self._open[entity] = [round(rule.clear_seconds * SECOND), 0]
        words = {"text": self._sentence(reasons, since, by_peers)}
        return self._findings.open(("together", entity), rule, subject, measured, since, end, words)

    def _sentence(self, reasons: Sequence[Reason], since: int, by_peers: bool) -> str:
        """Return ``GPU power 55 W below and GPU fan speed 12 % above what its siblings show, at once since 02:14``."""
        parts = []
        for each in reasons:
            row = self._table.row(each.number)
            away = each.value - each.expected
            parts.append(f"{metric_phrase(row)} {quantity(abs(away), row)} {'above' if away >= 0 else 'below'}")
        listed = f"{', '.join(parts[:-1])} and {parts[-1]}"
        against = "what its siblings show" if by_peers else "what is usual for it"
        return f"{listed} {against}, all at once since {clock_time(since)}."

    def _follow(self, entity: int, end: int, strange: bool) -> list[Anomaly]:
        told = self._open[entity]
        if strange:
            told[1] = 0
            return []
        told[1] = told[1] or end
        return [self._close(entity, end)] if end - told[1] >= told[0] else []

    def _close(self, entity: int, now: int) -> Anomaly:
        del self._open[entity]
        self._run[entity] = self._since[entity] = 0
        return self._findings.close(("together", entity), now)
