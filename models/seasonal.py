"""The seasonal detector: how far a series stands from what it usually does at that time of day and week."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coldaisle.clock import SECOND
from coldaisle.detector import Batch, Ids, Scores, Traits
from coldaisle.state import Kept, nested
from models.columns import Where, rows_in
from models.profiles import BIN_SECONDS, Profiles
from models.series_columns import SeriesColumns

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

DAY_SECONDS = 86_400
LOOK_SECONDS = 300
"""A series without a season is looked at so often; anything that fills a day shows at that pace."""
LONGEST_STEP_SECONDS = 3600.0
"""A gap teaches no more than this."""
MEMORY_SECONDS = 3.0 * DAY_SECONDS
WAVE_SECONDS = 1.5 * DAY_SECONDS
"""Time constants of the mean and the daily wave by which candidates are told."""
CANDIDATE_DAYS = 3
WAVE_EXPLAINS = 0.85
"""A daily wave that leaves less than this share of the deviation makes a series a candidate for a profile."""
ODD = 4.0
"""So many mean deviations away is odd; oddities a day apart make a candidate too (a nightly job is no wave)."""
RECURRENCES = 2
APART_SECONDS = 6 * 3600
JITTER_SECONDS = 2700
FARTHEST = 6.0
"""No sample pulls mean or wave harder than so many mean deviations."""
CHUNK = 4096
_NEVER = np.iinfo(np.uint32).max


class Seasonal:
    """
    Daily and weekly profiles of the series that show a season; the score is the signed distance in spreads.

    A series first pays 37 bytes for a slow mean and one daily wave, looked at every five minutes. If the wave
    explains it, or oddities come back a day later, it is given a profile (:class:`models.profiles.Profiles`),
    and has an opinion once a week of it, a week-end included, predicts better than the mean does. A profile
    that stops doing so is taken away. No opinion (NaN) without one. Days are UTC's: where the local day begins
    does not matter, since each quarter of a day is matched on its own.

    A sample is compared with the nearer of the two kinds of day that the series is known to have at that
    time, so week-ends and holidays are no anomaly. Learning is robust by itself: pass odd samples on too,
    else a nightly job that the level calls odd is never learnt. An anomaly moves the profile by three spreads a day.
    """

    name = "seasonal"
    version = "1"

    def __init__(self, warm_up_days: float = 7.0, candidate_days: float = CANDIDATE_DAYS) -> None:
        self._candidate_seconds = candidate_days * DAY_SECONDS
        self._profiles = Profiles(warm_up_days)
        self._memory = SeriesColumns({
            "slot": np.int32(-1),  # row of its profile, -1 = none
            "since": np.uint32(_NEVER),  # s
            "seen": np.uint32(0),  # s
            "mean": np.float32(0),
            "cosine": np.float32(0),
            "sine": np.float32(0),
            "flat": np.float32(0),  # mean absolute deviation from the mean
            "waved": np.float32(0),  # and from mean and wave
            "odd": np.uint32(0),  # s, when the last oddity began
            "again": np.uint8(0),  # oddities in a row that came back a day later
        })  # fmt: skip
        self._scored: tuple[Batch, Floats] | None = None

    def admit(self, ids: Ids, traits: Traits) -> None:
        """Make room; ids already known keep what was learnt, since peers do not matter here."""
        self._memory.admit(ids)

    def forget(self, ids: Ids) -> None:
        """Drop what was learnt of ``ids``."""
        rows = self._memory.rows_of(ids)
        slots = self._memory["slot"][rows]
        self._profiles.release(slots[slots >= 0])
        self._memory.forget(ids)
        self._scored = None

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what a snapshot keeps."""
        return self._memory.state() | nested("profile", self._profiles.state())

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take back what ``state`` returned. Raises Permanent where a column is missing or of another length."""
        self._memory.restore(state)
        self._profiles.restore(Kept(state).within("profile").state)
        self._scored = None

    def score(self, batch: Batch) -> Scores:
        """Return signed distances in spreads, NaN where no season is known. Raises IndexError if not admitted."""
        size = len(batch.ids)
        scores = Scores(np.full(size, np.nan), np.full(size, np.nan), np.full(size, np.nan))
        away = np.full(size, np.nan)
        for part, where in self._parts(batch.ids):
            if not self._profiles.used:
                continue
            slots = self._memory["slot"][where]
            at = np.flatnonzero(slots >= 0)
            if len(at) == 0:
                continue
            slots = slots[at]
            at = at + part.start
            score, expected, spread = self._profiles.judge(slots, batch.timestamps[at] // SECOND, batch.values[at])
            away[at] = batch.values[at] - expected
            trusted = self._profiles.trusted(slots)
            scores.score[at] = np.where(trusted, score, np.nan)
            scores.expected[at] = np.where(trusted, expected, np.nan)
            scores.spread[at] = np.where(trusted, spread, np.nan)
        self._scored = batch, away
        return scores

    def learn(self, batch: Batch, weight: Floats) -> None:
        """Take note of samples with a weight above 0."""
        known = self._scored[1] if self._scored is not None and self._scored[0] is batch else None
        for part, where in self._parts(batch.ids):
            seconds = batch.timestamps[part] // SECOND
            slots = self._memory["slot"][where]
            taught = weight[part] > 0
            rest = taught
            if self._profiles.used:
                at = np.flatnonzero(taught & (slots >= 0))
                if len(at):
                    away = None if known is None else known[part][at]
                    self._profiles.learn(slots[at], seconds[at], batch.values[part][at], away)
                    rest = taught & (slots < 0)
            seen = self._memory["seen"][where]
            due = np.flatnonzero(rest & ((seconds >= seen + np.int64(LOOK_SECONDS)) | (seen == 0)))
            if len(due):
                self._look(batch.ids[part][due], rows_in(where)[due], seconds[due], batch.values[part][due])
        self._scored = None
        self._tidy()

    def _parts(self, ids: Ids) -> Iterator[tuple[slice, Where]]:
        for start in range(0, len(ids), CHUNK):
            part = slice(start, min(start + CHUNK, len(ids)))
            yield part, self._memory.where(ids[part])

    def _look(self, ids: Ids, rows: Rows, seconds: NDArray[np.int64], values: Floats) -> None:
        memory = self._memory
        fresh = memory["since"][rows] == _NEVER
        if fresh.any():
            new = rows[fresh]
            memory["since"][new], memory["seen"][new] = seconds[fresh], seconds[fresh]
            memory["mean"][new] = values[fresh]
        age = (seconds - memory["since"][rows]).astype(np.float64)
        elapsed = np.minimum(seconds - memory["seen"][rows], LONGEST_STEP_SECONDS)
        phase = (seconds % DAY_SECONDS) * (2.0 * np.pi / DAY_SECONDS)
        mean, cosine, sine, flat, waved = (
            memory[name][rows].astype(np.float64) for name in ("mean", "cosine", "sine", "flat", "waved")
        )
        beside, above = np.cos(phase), np.sin(phase)
        from_mean = values - mean
        from_wave = from_mean - cosine * beside - sine * above
        settled = (age >= DAY_SECONDS) & (flat > 0)
        limit = np.where(settled, FARTHEST * flat, np.inf)
        held = np.clip(from_wave, -limit, limit)
        rate = elapsed / (np.minimum(age, MEMORY_SECONDS) + elapsed + 1.0)
        wave_rate = np.minimum(2.0 * elapsed / WAVE_SECONDS, 0.1)
        memory["mean"][rows] = mean + rate * held
        memory["cosine"][rows] = cosine + wave_rate * held * beside
        memory["sine"][rows] = sine + wave_rate * held * above
        # Both are measured before they learn, and from the second day, so that they are compared fairly.
        rate = elapsed / (np.clip(age - DAY_SECONDS, 0.0, MEMORY_SECONDS) + elapsed + 1.0)
        memory["flat"][rows] = np.where(
            age < DAY_SECONDS, np.abs(from_mean), flat + rate * (np.minimum(np.abs(from_mean), limit) - flat)
        )
        memory["waved"][rows] = np.where(
            age < DAY_SECONDS, np.abs(from_mean), waved + rate * (np.minimum(np.abs(from_wave), limit) - waved)
        )
        memory["seen"][rows] = seconds
        self._recur(rows[settled], seconds[settled], (np.abs(from_mean) > ODD * flat)[settled])
        self._found(ids, rows, age, seconds)

    def _recur(self, rows: Rows, seconds: NDArray[np.int64], odd: NDArray[np.bool_]) -> None:
        memory = self._memory
        rows, seconds = rows[odd], seconds[odd]
        since = seconds - memory["odd"][rows]
        begun = since > APART_SECONDS
        rows, seconds, since = rows[begun], seconds[begun], since[begun]
        same = np.abs(since - DAY_SECONDS) < JITTER_SECONDS
        memory["again"][rows] = np.where(same, np.minimum(memory["again"][rows], 250) + 1, 0)
        memory["odd"][rows] = seconds

    def _found(self, ids: Ids, rows: Rows, age: Floats, seconds: NDArray[np.int64]) -> None:
        """Give a profile to those that show a season."""
        memory = self._memory
        old = age >= self._candidate_seconds
        if not old.any():
            return
        flat = memory["flat"][rows]
        shows = (memory["waved"][rows] < WAVE_EXPLAINS * flat) | (memory["again"][rows] >= RECURRENCES)
        shows &= old & (flat > 1e-6 * np.abs(memory["mean"][rows])) & np.isfinite(flat)
        ids, rows, seconds = ids[shows], rows[shows], seconds[shows]
        if len(rows):
            slots = self._profiles.give(ids, memory["mean"][rows], memory["flat"][rows], seconds // BIN_SECONDS)
            memory["slot"][rows] = slots

    def _tidy(self) -> None:
        """Take profiles away that do not predict; their series begin anew."""
        owners = self._profiles.taken_away()
        if len(owners):
            self._memory.clear(owners)
