"""Lets the detectors score, turns their scores into evidence, and says where it is enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.clock import DAY, SECOND
from coldaisle.detector import Batch, Calibrator, Detector, Ids, Scores, surprise
from coldaisle.frame import Times
from coldaisle.selfstats import SelfStats
from pipeline.columns import column, grown
from pipeline.engine_settings import EngineSettings
from pipeline.rounds import Round
from pipeline.rulebook import RuleBook, ScoreRule
from pipeline.series_table import LOAD, STEADY, SeriesTable

Floats = NDArray[np.float64]
_MOST_SPREADS = 64.0  # what one sample may add to smoothed evidence
_STILL_ODD = 2.0  # spreads: evidence needs the present sample to be odd too, not only its memory
_TEST_SECONDS = 60.0  # findings need persistence, so a look at a series counts once a minute
_LEAST = 1e-9  # of a threshold: no calibration is honest about rarer things
_MOST = 1e-4


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


class Opinion(NamedTuple):
    """What one detector thinks of a round."""

    positions: NDArray[np.int64] | None  # in the round; None = all of it
    batch: Batch
    scores: Scores
    smooth: Floats
    tail: Floats


class Judge:
    """
    Combines the detectors by what drives a metric.

    What load moves is judged by ``load_detectors`` (peers), what is steady by ``steady_detectors``
    (level, peers), flags and error counters by rules alone. Scores are smoothed per series, so that a
    lasting small difference weighs more than one spike, then calibrated; of several opinions the
    strangest counts, multiplied by their number (Bonferroni).
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
        self._share = 2.0 / (settings.smoothing_samples + 1.0)
        self._heard = [(d.name in settings.load_detectors, d.name in settings.steady_detectors) for d in self.detectors]
        self.rules: dict[tuple[int, int], ScoreRule | None] = {}  # (metric, detector)
        self._floor = np.zeros((len(detectors), 0))
        self._floor_ratio = np.zeros((len(detectors), 0))
        self._for = np.zeros((len(detectors), 0), np.int64)
        self._smooth = np.full((len(detectors), 0), np.nan, np.float32)
        self._since = column(0, np.uint32)  # s since when a series exceeds, 0 = it does not
        self._odd = column(0, np.uint32)  # s since when it is too odd to learn from
        self._grace = column(0, np.uint32)  # s until when peers are not believed
        self._run = column(0, np.uint8)  # samples in a row that exceed
        self.tail = column(np.nan, np.float32)  # log10, of the newest sample
        self.expected = column(np.nan, np.float32)
        self.spread = column(np.nan, np.float32)
        self.threshold = _MOST
        self._rules_read = 0

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
        self._read_rules()

    def admit(self, ids: Ids) -> None:
        """Tell the detectors of new series or of new groups."""
        if len(ids):
            traits = self._table.traits(ids)
            for detector in self.detectors:
                detector.admit(ids, traits)

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
        heard = [self._opinion(number, ids, times, values, drive) for number in range(len(self.detectors))]
        verdict = self._combined(ids, times, values, heard)
        self._learn(ids, times, heard, verdict.tail)
        return verdict

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
        raw = scores.score
        if self.detectors[number].name == "peers" and self._grace.any():
            raw = np.where(self._grace[ids] > times // SECOND, np.nan, raw)
            scores = Scores(raw, scores.expected, scores.spread)
        before = self._smooth[number, ids].astype(np.float64)
        now = np.clip(raw, -_MOST_SPREADS, _MOST_SPREADS)
        smooth = np.where(np.isnan(before), now, before + self._share * (now - before))
        self._smooth[number, ids] = np.where(np.isnan(raw), before, smooth)
        tail = self._calibrator.tail(number, self._table.family[ids], smooth)
        self._stats.add("samples_scored_total", float(len(ids)), detector=self.detectors[number].name)
        return Opinion(positions, batch, scores, smooth, tail)

    def _combined(
        self, ids: Ids, times: Times, values: Floats,
        heard: list[Opinion | None],
    ) -> Verdict:  # fmt: skip
        count = len(ids)
        best = np.full(count, np.inf)
        score, raw = np.full(count, np.nan), np.full(count, np.nan)
        expected, spread = np.full(count, np.nan), np.full(count, np.nan)
        who = np.zeros(count, np.int8)
        opinions = np.zeros(count, np.int8)
        for number, opinion in enumerate(heard):
            if opinion is None:
                continue
            positions, _, scores, smooth, tail = opinion
            where = slice(None) if positions is None else positions
            opinions[where] += ~np.isnan(tail)
            # The first who speaks gives expectation and spread even before anybody is calibrated.
            better = (tail < best[where]) | (np.isnan(expected[where]) & ~np.isnan(scores.expected))
            if better.all() and positions is None:
                best, score, raw = np.where(np.isnan(tail), np.inf, tail), smooth, scores.score
                expected, spread = scores.expected, scores.spread
                who[:] = number
                continue
            chosen = np.flatnonzero(better) if positions is None else positions[better]
            best[chosen] = np.where(np.isnan(tail[better]), np.inf, tail[better])
            score[chosen], raw[chosen] = smooth[better], scores.score[better]
            expected[chosen], spread[chosen] = scores.expected[better], scores.spread[better]
            who[chosen] = number
        tail = np.minimum(best * np.maximum(opinions, 1), 1.0)
        tail[opinions == 0] = np.nan
        with np.errstate(divide="ignore"):
            self.tail[ids] = np.log10(tail)
        self.expected[ids], self.spread[ids] = expected, spread
        metric = self._table.metric[ids]
        away = np.abs(values - expected)
        floor = np.maximum(self._floor[who, metric], self._floor_ratio[who, metric] * np.abs(expected))
        harm = self._table.harm[ids]
        rare = tail < self.threshold
        exceeds = rare & (np.abs(raw) >= _STILL_ODD) & (away >= floor) & (harm * score >= 0) & (score * raw > 0)
        calm = (tail > np.sqrt(self.threshold)) | (away < 0.5 * floor) | np.isnan(tail)
        seconds = (times // SECOND).astype(np.uint32)
        since = self._since[ids]
        since = np.where(exceeds, np.where(since == 0, seconds, since), np.where(calm, 0, since)).astype(np.uint32)
        self._since[ids] = since
        run = np.where(exceeds, np.minimum(self._run[ids], 250) + 1, np.where(calm, 0, self._run[ids]))
        self._run[ids] = run
        lasted = (seconds - since).astype(np.int64) * SECOND
        ripe = exceeds & (run >= self._settings.confirm_samples) & (lasted >= self._for[who, metric])
        return Verdict(ids, times, values, who, tail, expected, spread, exceeds, calm, ripe)

    def _learn(self, ids: Ids, times: Times, heard: list[Opinion | None], tail: Floats) -> None:
        odd = tail < self._settings.protect_tail_probability
        seconds = (times // SECOND).astype(np.uint32)
        since = np.where(odd, np.where(self._odd[ids] == 0, seconds, self._odd[ids]), 0).astype(np.uint32)
        self._odd[ids] = since
        lasting = odd & (seconds - since >= self._settings.relearn_seconds)
        weight = np.where(odd & ~lasting, 0.0, 1.0)
        # The calibrator must see the tail of normal life too, or it would think normal life ever narrower.
        rare = np.where((tail < self.threshold) & ~lasting, 0.0, 1.0)
        for number, opinion in enumerate(heard):
            if opinion is None:
                continue
            positions, batch, _, smooth, _ = opinion
            mine = weight if positions is None else weight[positions]
            judged = rare if positions is None else rare[positions]
            self.detectors[number].learn(batch, mine)
            self._calibrator.learn(number, self._table.family[batch.ids], smooth, judged)

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
        return surprise(np.power(10.0, self.tail[: self._table.size].astype(np.float64))).astype(np.float32)
