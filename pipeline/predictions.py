"""The predictions under way: makes them each minute, keeps them open, and settles each as hit or miss."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from typing import Any, NamedTuple

import numpy as np

from coldaisle.anomaly import Anomaly, Contribution, Phase, anomaly_id
from coldaisle.clock import HOUR, MINUTE, SECOND
from coldaisle.detector import Ids
from coldaisle.event import Event
from coldaisle.prediction import Outcome, Prediction, kind_of, prediction_id
from coldaisle.prediction_json import prediction_from_json, prediction_to_json
from coldaisle.selfstats import SelfStats
from coldaisle.severity import Severity
from coldaisle.state import Kept, State, nested
from coldaisle.topology import Topology
from coldaisle.warner import Outlook, View, Warner
from coldaisle.words_json import anomaly_from_json, anomaly_to_json, event_from_json, event_to_json
from pipeline.evidence import Band, Evidence
from pipeline.findings import Findings
from pipeline.prediction_record import LEADS, Record
from pipeline.rounds import Rounds
from pipeline.rulebook import MetricRule
from pipeline.series_table import SeriesTable
from pipeline.watched_series import WatchedSeries
from pipeline.words import entity_phrase, span

DETECTOR = "early_warning"
_HEARD = ("xid", "link")
_RESTATE = 0.1
_LONG_PAUSE = 6 * HOUR


class Foresight(NamedTuple):
    """Who looks ahead, and what is made of it."""

    warners: tuple[Warner, ...]
    keep_probability: float = 0.5  # from which a prediction is made, and settled later
    warn_probability: float = 0.8  # from which people are told
    trust: float = 10.0  # how many settled predictions the model's own probability is worth


@dataclass(slots=True)
class _Open:
    prediction: Prediction
    raw: float  # what the model said when it was stated
    action: str
    runbook: str
    finding: Anomaly | None


class Predictions:
    """
    Looks ahead once a minute of event time.

    A prediction is a *hit* when what it says befalls its entity by ``settles_at``, a *miss* when that time passes,
    *withdrawn* when nobody can tell any more. From ``warn_probability`` it is a finding too, as a ticket. Each
    announcement carries the prediction; one of severity ``info`` carries nothing else.
    """

    def __init__(
        self,
        table: SeriesTable,
        evidence: Evidence,
        series: WatchedSeries,
        topology: Topology,
        foresight: Foresight,
        stats: SelfStats,
    ) -> None:
        self._table = table
        self._evidence = evidence
        self._series = series
        self._topology = topology
        self._foresight = foresight
        self._stats = stats
        self._open: dict[tuple[str, int], _Open] = {}
        self._records: dict[str, Record] = {}
        self._events: list[tuple[int, int, Event]] = []
        self._heard = 0
        self._minute = 0  # the last one that was looked at, Unix ns
        stats.describe("predictions_settled_total", "counter", "Predictions that came true, or did not, by rule.")
        stats.describe("predictions_open", "gauge", "Predictions that wait to be settled.")

    @property
    def warners(self) -> tuple[Warner, ...]:
        """Who looks ahead; nobody keeps nothing."""
        return self._foresight.warners

    def reset(self, ids: Ids) -> None:
        """Begin anew with ids."""
        slots = self._series.reset(ids)
        for warner in self._foresight.warners:
            warner.reset(slots)

    def hear(self, events: Iterable[Event]) -> None:
        """Take note of events; they count from their own time on."""
        for event in events:
            if event.kind in _HEARD and self._foresight.warners:
                self._heard += 1
                heappush(self._events, (event.timestamp, self._heard, event))

    def advance(self, until: int) -> list[Anomaly]:
        """Look at every minute that ended by ``until`` (ns), when all samples before it are known."""
        if not self._foresight.warners or until <= 0:
            return []
        if not self._minute or until - self._minute > _LONG_PAUSE:
            self._minute = (until // MINUTE - 1) * MINUTE
        found: list[Anomaly] = []
        while self._minute + MINUTE <= until:
            self._minute += MINUTE
            found += self._look(self._minute)
        return found

    def gone(self, ids: Ids, now: int) -> list[Anomaly]:
        """Forget series; what was predicted of what nobody hears of any more is withdrawn."""
        self._series.free(ids)
        left = self._series.entities() if self._open else frozenset()
        keys = [key for key in self._open if key[1] not in left]
        return [self._settle(key, Outcome.WITHDRAWN, now) for key in keys]

    # -- minute by minute ---------------------------------------------------------------------------------------------

    def _look(self, at: int) -> list[Anomaly]:
        events = self._due_events(at)
        watched, minute = self._series.watched(), self._series.minute(at)
        found: list[Anomaly] = []
        views: list[tuple[Warner, View]] = []
        for warner in self._foresight.warners:
            view = warner.look(watched, minute, events)
            views.append((warner, view))
            found += self._befell(view)
            found += [self._settle(key, Outcome.WITHDRAWN, at) for key in self._of(view.begun_anew)]
        over = [key for key, one in self._open.items() if one.prediction.settles_at <= at]
        found += [self._settle(key, Outcome.MISS, at) for key in sorted(over)]
        for warner, view in views:
            for outlook in view.outlooks:
                found += self._expect(outlook, warner, at)
        self._stats.set("predictions_open", float(len(self._open)))
        return found

    def _due_events(self, at: int) -> tuple[tuple[int, Event], ...]:
        due: list[tuple[int, Event]] = []
        while self._events and self._events[0][0] <= at:
            event = heappop(self._events)[2]
            number = self._table.entities.find(self._topology.entity_of(event.labels))
            if number >= 0:  # else another process hears of that thing
                due.append((number, event))
        return tuple(due)

    def _of(self, entities: Sequence[int]) -> list[tuple[str, int]]:
        return [key for key in sorted(self._open) if key[1] in entities] if entities else []

    def _befell(self, view: View) -> list[Anomaly]:
        found = []
        for one in sorted(view.happened, key=lambda happened: happened.at):
            known = self._open.get((one.rule, one.entity))
            if known is not None:
                # What had already happened when it was told of as coming was no prediction.
                late = one.at <= known.prediction.made_at
                outcome = Outcome.WITHDRAWN if late else Outcome.HIT
                found.append(self._settle((one.rule, one.entity), outcome, one.at))
        return found

    def _expect(self, outlook: Outlook, warner: Warner, at: int) -> list[Anomaly]:
        key = (outlook.rule, outlook.entity)
        model, version = outlook.model or warner.name, outlook.version or warner.version
        record = self._records.get(kind_of(outlook.rule, model), Record())
        probability = round(record.corrected(outlook.probability, self._foresight.trust), 6)
        known = self._open.get(key)
        if known is None:
            if probability < self._foresight.keep_probability:
                return []
            entity = str(self._table.entities.values[outlook.entity])
            within = record.within(outlook.within)
            prediction = Prediction(
                id=prediction_id(outlook.rule, entity, at),
                rule=outlook.rule,
                entity=entity,
                what=outlook.what,
                probability=probability,
                within=within,
                made_at=at,
                settles_at=at + round(within.high * SECOND),
                updated_at=at,
                latest=probability,
                reasons=outlook.reasons,
                model=model,
                version=version,
            )
            known = self._open[key] = _Open(prediction, outlook.probability, outlook.action, outlook.runbook, None)
            if probability < self._foresight.warn_probability:
                return [self._announce(known, Phase.OPENED, at)]
        if known.finding is None and probability >= self._foresight.warn_probability:
            known.prediction = replace(known.prediction, model=model, version=version)
            return [self._warn(known, outlook, probability, at)]
        if abs(probability - known.prediction.latest) < _RESTATE:
            return []
        known.prediction = replace(
            known.prediction, latest=probability, reasons=outlook.reasons or known.prediction.reasons, updated_at=at
        )
        return [self._announce(known, Phase.UPDATED, at)]

    def _warn(self, known: _Open, outlook: Outlook, probability: float, at: int) -> Anomaly:
        within = self._records.get(known.prediction.kind, Record()).within(outlook.within)
        known.raw = outlook.probability
        known.prediction = replace(
            known.prediction,
            probability=probability,
            latest=probability,
            within=within,
            settles_at=at + round(within.high * SECOND),
            reasons=outlook.reasons,
            warned_at=at,
            updated_at=at,
        )
        finding = self._finding(known, outlook, at)
        known.finding = replace(finding, window=None)  # it is kept with the incident
        return replace(finding, prediction=known.prediction)

    def _finding(self, known: _Open, outlook: Outlook, at: int) -> Anomaly:
        number = self._series.id_of(outlook.slot) if outlook.slot >= 0 else -1
        series = self._table.series(number) if number >= 0 else None
        prediction = known.prediction
        rule = f"{prediction.rule}_soon"
        nothing = Band(None, None, None)
        return Anomaly(
            id=anomaly_id(rule, prediction.entity, None, prediction.made_at),
            phase=Phase.OPENED,
            rule=rule,
            detector=DETECTOR,
            version=prediction.version,
            severity=Severity.TICKET,
            entity=prediction.entity,
            started_at=at,
            updated_at=at,
            score=prediction.probability,
            explanation=self._sentence(prediction),
            series=series,
            contributions=_shares(prediction),
            summary=f"{entity_phrase(prediction.entity)} is likely to {self._threat(prediction)}: {prediction.what}",
            action=known.action,
            runbook=known.runbook,
            window=None if number < 0 else self._evidence.window(number, nothing, by_peers=False),
        )

    def _announce(self, known: _Open, phase: Phase, at: int) -> Anomaly:
        """Return what tells of a prediction: its finding if people were warned, else a bare record of it."""
        prediction = known.prediction
        if known.finding is not None:
            return replace(
                known.finding, phase=phase, prediction=prediction, updated_at=at,
                ended_at=at if phase is Phase.CLOSED else None,
            )  # fmt: skip
        return Anomaly(
            id=anomaly_id(f"{prediction.rule}_soon", prediction.entity, None, prediction.made_at),
            phase=phase,
            rule=f"{prediction.rule}_soon",
            detector=DETECTOR,
            version=prediction.version,
            severity=Severity.INFO,
            entity=prediction.entity,
            started_at=prediction.made_at,
            updated_at=at,
            ended_at=at if phase is Phase.CLOSED else None,
            score=prediction.latest,
            explanation=self._sentence(prediction),
            prediction=prediction,
        )

    def _threat(self, prediction: Prediction) -> str:
        warner = prediction.model.partition("/")[0]
        return next((one.threat for one in self._foresight.warners if one.name == warner), "fail")

    def _sentence(self, prediction: Prediction) -> str:
        """Return why in words: ``Likely to fail within 2 h (82 %): uncorrectable memory error. 48 corrected ...``."""
        because = "; ".join(reason.text for reason in prediction.reasons[:3])
        within = f"within {span(prediction.within.high)} ({prediction.latest:.0%})"
        start = f"Likely to {self._threat(prediction)} {within}: {prediction.what}"
        return f"{start}. {because[:1].upper()}{because[1:]}." if because else f"{start}."

    def _settle(self, key: tuple[str, int], outcome: Outcome, at: int) -> Anomaly:
        known = self._open.pop(key)
        prediction = known.prediction
        at = max(at, prediction.stated_at)
        lead = (at - prediction.stated_at) / SECOND if outcome is Outcome.HIT else None
        known.prediction = replace(prediction, outcome=outcome, settled_at=at, lead_seconds=lead, updated_at=at)
        self._stats.add("predictions_settled_total", rule=prediction.rule, outcome=outcome.value)
        if outcome is not Outcome.WITHDRAWN:
            record = self._records.setdefault(prediction.kind, Record())
            record.settled += 1
            record.hits += outcome is Outcome.HIT
            record.stated += known.raw
            if lead is not None:
                record.leads.append(lead)
        return self._announce(known, Phase.CLOSED, at)

    # -- snapshots ----------------------------------------------------------------------------------------------------

    def state(self) -> State:
        """Return what a snapshot keeps."""
        state: dict[str, Any] = {
            "minute": self._minute,
            "open": [[*key, _open_to_json(one)] for key, one in self._open.items()],
            "records": [
                [rule, one.settled, one.hits, one.stated, list(one.leads)]
                for rule, one in sorted(self._records.items())
            ],
            "events": [
                [number, event_to_json(event)] for _, number, event in sorted(self._events, key=lambda each: each[:2])
            ],
            "heard": self._heard,
            **nested("series", self._series.state()),
        }
        for warner in self._foresight.warners:
            state |= nested(f"warner-{warner.name}-{warner.version}", warner.state())
        return state

    def restore(self, state: State) -> None:
        """
        Take back what ``state`` returned, after the table. Raises Permanent.

        A warner of another version begins anew; the predictions stay open and are settled as they would be.
        """
        kept = Kept(state)
        self._minute, self._heard = kept.integer("minute"), kept.integer("heard")
        self._open = {(rule, entity): _open_from_json(told) for rule, entity, told in kept.rows("open", str, int, dict)}
        for rule, settled, hits, stated, leads in kept.rows("records", str, int, int, float, list):
            self._records[rule] = Record(settled, hits, stated, deque(leads, maxlen=LEADS))
        self._events = []
        for number, told in kept.rows("events", int, dict):
            event = event_from_json(told)
            heappush(self._events, (event.timestamp, number, event))
        self._series.restore(kept.within("series").state)
        for warner in self._foresight.warners:
            own = kept.within(f"warner-{warner.name}-{warner.version}").state
            if own:
                warner.restore(own)
            else:
                warner.reset(np.arange(self._series.size))


def _shares(prediction: Prediction) -> tuple[Contribution, ...]:
    speaking = [reason for reason in prediction.reasons if reason.weight > 0]
    total = sum(reason.weight for reason in speaking)
    return tuple(
        Contribution(prediction.entity, reason.metric, reason.weight / total, reason.value) for reason in speaking
    )


def _open_to_json(one: _Open) -> dict[str, Any]:
    return {
        "prediction": prediction_to_json(one.prediction),
        "raw": one.raw,
        "action": one.action,
        "runbook": one.runbook,
        "finding": None if one.finding is None else anomaly_to_json(one.finding),
    }


def _open_from_json(told: dict[str, Any]) -> _Open:
    finding = told["finding"]
    return _Open(
        prediction_from_json(told["prediction"]),
        float(told["raw"]),
        str(told["action"]),
        str(told["runbook"]),
        None if finding is None else anomaly_from_json(finding),
    )


def watched_series_for(
    table: SeriesTable, rounds: Rounds, findings: Findings, rules: list[MetricRule], foresight: Foresight
) -> WatchedSeries:
    """Return the series that the warners of ``foresight`` want to see."""
    metrics = frozenset(metric for warner in foresight.warners for metric in warner.metrics)
    limits = any(warner.wants_limits for warner in foresight.warners)
    return WatchedSeries(table, rounds, findings, rules, metrics, limits)
