"""Lets the detectors score, turns their scores into evidence, and says where it is enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.clock import DAY, SECOND
from coldaisle.detector import Batch, Calibrator, Detector, Ids, Scores, Teachable, surprise
from coldaisle.errors import Permanent
from coldaisle.frame import Times
from coldaisle.selfstats import SelfStats
from coldaisle.state import Kept, State, nested
from pipeline.columns import column, grown
from pipeline.engine_settings import EngineSettings
from pipeline.excursions import Excursions
from pipeline.rounds import Round
from pipeline.rulebook import RuleBook, ScoreRule
from pipeline.series_table import LOAD, STEADY, SeriesTable
from pipeline.strangest import Bar, Opinion, strangest, weigh

Floats = NDArray[np.float64]
_MOST_SPREADS = 64.0  # what one sample may add to smoothed evidence
_TEST_SECONDS = 60.0  # findings need persistence, so a look at a series counts once a minute
_LEAST = 1e-9  # of a threshold: no calibration is honest about rarer things
_MOST = 1e-4
_KEPT = {
    "_since": np.uint32, "_odd": np.uint32, "_grace": np.uint32, "_run": np.uint8,
    "tail": np.float32, "expected": np.float32, "spread": np.float32,
}  # fmt: skip
"""The columns in a snapshot, and what they are of."""
_PART = 4096  # samples worked on at a time, so that the intermediate arrays stay in the processor's cache


class Verdict(NamedTuple):
    """Of one round, per scored sample."""

    ids: Ids
    timestamps: Times
    values: Floats
    detector: NDArray[np.int8]  # whose opinion is the strangest
    tail: Floats  # NaN = no opinion
    expected: Floats
    spread: Floats
    exceeds: NDArray[np.bool_]  # improbable, harmful, and large enough for its rule
    calm: NDArray[np.bool_]  # clearly back to normal
    ripe: NDArray[np.bool_]  # exceeded for as long as its rule asks


class Judge:
    """
    Combines the detectors by what drives a metric.

    What load moves is judged by ``load_detectors`` (peers, drift), what is steady by ``steady_detectors``
    (level, seasonal, peers, drift), flags and error counters by rules alone. Scores are smoothed per series, so
    that a lasting small difference weighs more than one spike, then calibrated; of several opinions the
    strangest that its rule allows to speak counts, multiplied by their number (Bonferroni).
    """

    def __init__(
        self, table: SeriesTable, detectors: Sequence[Detector], calibrator: Calibrator, rules: RuleBook,
        settings: EngineSettings, stats: SelfStats,
    ) -> None:  # fmt: skip
        self._table = table
        self.detectors = tuple(detectors)
        self._calibrator = calibrator
        self._book = rules
        self._settings = settings
        self._stats = stats
        self.peer_detectors = frozenset(settings.peer_detectors)
        self._share = 2.0 / (settings.smoothing_samples + 1.0)
        self._heard = [(d.name in settings.load_detectors, d.name in settings.steady_detectors) for d in self.detectors]
        self.rules: dict[tuple[int, int], ScoreRule | None] = {}  # (metric, detector)
        self._floor = np.zeros((len(detectors), 0))
        self._floor_ratio = np.zeros((len(detectors), 0))
        self._for = np.zeros((len(detectors), 0), np.int64)
        self._smooth = np.full((len(detectors), 0), np.nan, np.float32)
        self._excursions = Excursions(len(detectors), settings.relearn_seconds)
        self._since = column(0, np.uint32)  # s since when a series exceeds, 0 = it does not
        self._odd = column(0, np.uint32)  # s since when it is too odd to learn from
        self._grace = column(0, np.uint32)  # s until when peers are not believed
        self._run = column(0, np.uint8)  # samples in a row that exceed
        self.tail = column(np.nan, np.float32)  # of the newest sample
        self.expected = column(np.nan, np.float32)
        self.spread = column(np.nan, np.float32)
        self.threshold = _MOST
        self._rules_read = 0
        self._opinions: list[Opinion] = []  # of the newest round, until they are taken

    def reset(self, ids: Ids) -> None:
        """Begin anew with ids."""
        size = self._table.size
        self._smooth = grown(self._smooth, size, np.nan)
        self._since, self._odd = grown(self._since, size, 0), grown(self._odd, size, 0)
        self._grace, self._run = grown(self._grace, size, 0), grown(self._run, size, 0)
        self.tail = grown(self.tail, size, np.nan)
        self.expected, self.spread = grown(self.expected, size, np.nan), grown(self.spread, size, np.nan)
        self._smooth[:, ids] = np.nan
        self._since[ids] = self._odd[ids] = self._grace[ids] = 0
        self._run[ids] = 0
        self.tail[ids] = self.expected[ids] = self.spread[ids] = np.nan
        self._excursions.reset(ids, size)
        self._read_rules()

    def admit(self, ids: Ids) -> None:
        """Tell each detector of new series, or of new groups, among those that it hears."""
        if len(ids):
            drive = self._table.drive[ids]
            for (load, steady), detector in zip(self._heard, self.detectors, strict=True):
                heard = ids[((drive == LOAD) & load) | ((drive == STEADY) & steady)]
                if len(heard):
                    detector.admit(heard, self._table.traits(heard))

    def forget(self, ids: Ids) -> None:
        """Drop everything known of ids."""
        for detector in self.detectors:
            detector.forget(ids)

    def withhold(self, ids: Ids, now: int) -> None:
        """Do not believe the peers of ``ids`` for a while: their work has just changed."""
        self._grace[ids] = (now + round(self._settings.grace_seconds * SECOND)) // SECOND
        self._since[ids] = 0
        self._run[ids] = 0
        self._smooth[:, ids] = np.nan

    def accept(self, ids: Ids) -> None:
        """Take what ``ids`` show now as normal: a person has said that it is."""
        self._since[ids] = self._odd[ids] = 0
        self._run[ids] = 0
        self._smooth[:, ids] = np.nan
        self._excursions.reset(ids, self._table.size)
        for detector in self.detectors:
            if isinstance(detector, Teachable):
                detector.accept(ids)

    def since(self, number: int) -> int:
        """Return when a series began to exceed, Unix ns."""
        return int(self._since[number]) * SECOND

    def set_budget(self, gpus: int, series: int) -> None:
        """
        Spread the alert budget over the fleet's looks.

        ``p = budget / looks``: the mean number of false alarms of that many looks, however they depend
        on each other (Bonferroni).
        """
        budget = self._settings.alert_budget_per_1000_gpus_per_day * max(1.0, gpus / 1000.0)
        looks = max(1, series) * DAY / (_TEST_SECONDS * SECOND)
        self.threshold = float(np.clip(budget / looks, _LEAST, _MOST))

    def judge(self, samples: Round) -> Verdict | None:
        """Score, decide what is evidence, then learn. None where nothing of the round is for detectors."""
        drive = self._table.drive[samples.ids]
        scored = drive <= STEADY
        if not scored.all():
            where = np.flatnonzero(scored)
            if not len(where):
                return None
            ids, times, values = samples.ids[where], samples.timestamps[where], samples.values[where]
            drive = drive[where]
        else:
            ids, times, values = samples.ids, samples.timestamps, samples.values
        heard = [
            opinion
            for number in range(len(self.detectors))
            if (opinion := self._opinion(number, ids, times, values, drive)) is not None
        ]
        self._opinions = heard
        weight, rare = np.ones(len(ids)), np.ones(len(ids))
        parts: list[Verdict] = []
        for start in range(0, len(ids), _PART):
            part = slice(start, start + _PART)
            for opinion in heard:
                self._calibrate(opinion, start, ids[part])
            parts.append(self._decided(heard, start, ids[part], times[part], values[part]))
            self._weigh(parts[-1], weight[part], rare[part])
        self._learn(heard, weight, rare)
        if len(parts) == 1:
            return parts[0]
        told = [np.concatenate([part[field] for part in parts]) for field in range(3, len(Verdict._fields))]
        return Verdict(ids, times, values, *told)

    def take_opinions(self) -> list[Opinion]:
        """Return what each detector thinks of the newest round, and keep it no longer: it is larger than the round."""
        taken, self._opinions = self._opinions, []
        return taken

    def state(self) -> State:
        """Return what a snapshot keeps, the detectors and the calibrator among it."""
        size = self._table.size
        state: dict[str, Any] = {"detectors": [[each.name, each.version] for each in self.detectors]}
        for detector in self.detectors:
            state |= nested(detector.name, detector.state())
        state |= nested("calibrator", self._calibrator.state())
        state |= nested("excursions", self._excursions.state(size))
        state |= {name.removeprefix("_"): getattr(self, name)[:size].copy() for name in _KEPT}
        return state | {"smooth": self._smooth[:, :size].copy(), "threshold": self.threshold}

    def restore(self, state: State) -> None:
        """Take back what ``state`` returned. Raises Permanent, also where other detectors judged."""
        kept, size = Kept(state), self._table.size
        theirs = list(kept.rows("detectors", str, str))
        mine = [(each.name, each.version) for each in self.detectors]
        if theirs != mine:
            raise Permanent(f"detectors: were {_named(theirs)}; now they are {_named(mine)}")
        for detector in self.detectors:
            detector.restore(kept.within(detector.name).state)
        self._calibrator.restore(kept.within("calibrator").state)
        self._excursions.restore(kept.within("excursions").state)
        for name, dtype in _KEPT.items():
            setattr(self, name, kept.array(name.removeprefix("_"), dtype, size))
        self._smooth = kept.array("smooth", np.float32, len(mine), size)
        self.threshold = kept.number("threshold")
        self._read_rules()

    def _opinion(self, number: int, ids: Ids, times: Times, values: Floats, drive: NDArray[np.int8]) -> Opinion | None:
        """Return what one detector thinks; None where nothing of the round is for it."""
        load, steady = self._heard[number]
        positions: NDArray[np.int64] | None = None
        if not (load and steady):
            wanted = drive == LOAD if load else drive == STEADY if steady else np.zeros(len(ids), np.bool_)
            if not wanted.all():
                positions = np.flatnonzero(wanted)
                if not len(positions):
                    return None
                ids, times, values = ids[positions], times[positions], values[positions]
        batch = Batch(ids, times, values)
        scores = self.detectors[number].score(batch)
        if self.detectors[number].name in self.peer_detectors and self._grace.any():
            raw = np.where(self._grace[ids] > times // SECOND, np.nan, scores.score)
            scores = Scores(raw, scores.expected, scores.spread)
        self._stats.add("samples_scored_total", float(len(ids)), detector=self.detectors[number].name)
        return Opinion(number, positions, batch, scores, np.full(len(ids), np.nan), np.full(len(ids), np.inf))

    def _smoothed(self, number: int, ids: Ids, raw: Floats) -> Floats:
        memory = self._smooth[number]
        before = memory[ids].astype(np.float64)
        smooth = np.clip(raw, -_MOST_SPREADS, _MOST_SPREADS)
        known = ~np.isnan(before)
        now = smooth.copy()
        smooth -= before
        smooth *= self._share
        smooth += before
        if not known.all():
            smooth = np.where(known, smooth, now)
        silent = np.isnan(raw)
        memory[ids] = np.where(silent, before, smooth) if silent.any() else smooth
        return smooth

    def _calibrate(self, opinion: Opinion, start: int, ids: Ids) -> None:
        """Smooth an opinion on one part of a round and say how rare it is."""
        mine, on = opinion.part(start, start + len(ids))
        smooth = self._smoothed(opinion.detector, ids[on], opinion.scores.score[mine])
        tail = self._calibrator.tail(opinion.detector, self._table.family[ids[on]], smooth)
        tail[np.isnan(tail)] = np.inf
        opinion.smooth[mine], opinion.tail[mine] = smooth, tail

    def _decided(self, heard: list[Opinion], start: int, ids: Ids, times: Times, values: Floats) -> Verdict:
        """Say where one part of a round is evidence; nearly all samples are told by their tail alone."""
        found = strangest(heard, start, len(ids))
        who, _, tail, expected, spread, farthest = found
        unsure = (tail <= np.sqrt(self.threshold)) | (np.abs(farthest) >= self._settings.certain_spreads)
        calm = ~unsure
        exceeds, ripe = np.zeros(len(ids), np.bool_), np.zeros(len(ids), np.bool_)
        at = np.flatnonzero(unsure)
        if len(at):
            metric = self._table.metric[ids[at]]
            bar = Bar(
                self.threshold, self._settings.certain_spreads, self._floor[:, metric], self._floor_ratio[:, metric],
                self._table.harm[ids[at]],
            )  # fmt: skip
            weighed = weigh(heard, at + start, values[at], found.of(at), bar)
            exceeds[at], calm[at], who[at], expected[at], spread[at] = weighed
        self._count(ids, tail < self.threshold)
        self.tail[ids], self.expected[ids], self.spread[ids] = tail, expected, spread
        run = self._run[ids]
        at = np.flatnonzero(exceeds | (run > 0))
        if len(at):
            now, over, quiet = ids[at], exceeds[at], calm[at]
            seconds = (times[at] // SECOND).astype(np.uint32)
            since = self._since[now]
            since = np.where(over, np.where(since == 0, seconds, since), np.where(quiet, 0, since)).astype(np.uint32)
            self._since[now] = since
            times_over = np.where(over, np.minimum(run[at], 250) + 1, np.where(quiet, 0, run[at]))
            self._run[now] = times_over
            lasted = (seconds - since).astype(np.int64) * SECOND
            long_enough = lasted >= self._for[who[at], self._table.metric[now]]
            ripe[at] = over & (times_over >= self._settings.confirm_samples) & long_enough
        return Verdict(ids, times, values, who, tail, expected, spread, exceeds, calm, ripe)

    def _count(self, ids: Ids, rare: NDArray[np.bool_]) -> None:
        """Count what alerting for each series would send: readings past the threshold, and runs of them."""
        number = np.count_nonzero(rare)
        if number:
            self._stats.add("readings_past_threshold_total", float(number))
            began = np.count_nonzero(rare & ~(self.tail[ids] < self.threshold))
            self._stats.add("score_crossings_total", float(began))

    def _weigh(self, verdict: Verdict, weight: Floats, rare: Floats) -> None:
        """Set to 0 what must not teach: the detectors what is odd, the calibrator what may be evidence."""
        ids, tail = verdict.ids, verdict.tail
        odd = (tail < self._settings.protect_tail_probability) | verdict.exceeds
        before = self._odd[ids]
        at = np.flatnonzero(odd | (before > 0))
        if len(at):
            seconds = (verdict.timestamps[at] // SECOND).astype(np.uint32)
            since = np.where(odd[at], np.where(before[at] == 0, seconds, before[at]), 0).astype(np.uint32)
            self._odd[ids[at]] = since
            lasting = odd[at] & (seconds - since >= self._settings.relearn_seconds)
            weight[at[odd[at] & ~lasting]] = 0.0
            # The calibrator must see the tail of normal life too, or it would think normal life ever narrower.
            evidence = (tail[at] < self.threshold) | verdict.exceeds[at]
            rare[at[odd[at] & ~lasting & evidence]] = 0.0
        if self.threshold > self._settings.protect_tail_probability:
            rare[(tail < self.threshold) & ~odd] = 0.0

    def _learn(self, heard: list[Opinion], weight: Floats, rare: Floats) -> None:
        for number, positions, batch, _, smooth, tail in heard:
            mine = weight if positions is None else weight[positions]
            judged = rare.copy() if positions is None else rare[positions]
            detector = self.detectors[number]
            detector.learn(batch, np.ones(len(mine)) if detector.name in self._settings.self_guarding else mine)
            family, seconds = self._table.family[batch.ids], (batch.timestamps // SECOND).astype(np.uint32)
            over, far, often = self._excursions.hold(number, batch.ids, seconds, smooth, tail, judged)
            self._calibrator.learn(number, family, smooth, judged)
            if len(over):
                self._calibrator.learn(number, family[over], far, often)

    def _read_rules(self) -> None:
        have, want = self._rules_read, len(self._table.rows)
        if want <= have:
            return
        self._rules_read = want
        self._floor, self._floor_ratio = grown(self._floor, want, np.inf), grown(self._floor_ratio, want, 0.0)
        self._for = grown(self._for, want, 0)
        for metric in range(have, want):
            for number, detector in enumerate(self.detectors):
                rule = self._book.score_rule(self._table.rows[metric].name, detector.name)
                self.rules[metric, number] = rule
                # Without a rule nothing is large enough.
                self._floor[number, metric] = np.inf if rule is None else rule.at_least
                self._floor_ratio[number, metric] = 0.0 if rule is None else rule.at_least_ratio
                self._for[number, metric] = 0 if rule is None else round(rule.for_seconds * SECOND)

    def scores(self) -> NDArray[np.float32]:
        """Return the anomaly score of every slot's newest sample, 0..1, NaN = no opinion; a copy."""
        return surprise(self.tail[: self._table.size].astype(np.float64)).astype(np.float32)


def _named(detectors: Sequence[tuple[str, ...]]) -> str:
    return ", ".join(f"{name} {version}" for name, version in detectors)
