"""The drift detector: a small lasting departure from the siblings, however slowly it came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.clock import SECOND
from coldaisle.detector import Batch, Ids, Scores, Traits
from models.cohorts import Cohorts
from models.columns import rows_in
from models.level import CLIP, NEVER_CHANGED, RESOLUTION, SIGMA_OF_DEVIATION
from models.peer_plan import GroupedMemory, Part
from models.peers import SIGMA_OF_MAD

BLOCKS = 5
"""Blocks in a window. The second highest of five is reached by a healthy member in spite of two odd blocks."""
_PATIENCE = 4  # times the usual distance of two blocks: a longer gap begins a new window
_YOUNG = 3.0  # evaluations after which what members differ among themselves counts half
_BORROWED = 30.0  # evaluations that the group's usual spread is worth beside a member's own
_TRUSTED, _DOUBTED = 2.0, 5.0  # spreads up to which a residual teaches fully, and from which it hardly does
_HARDLY = 0.05  # how much it does then
_GROWN_UP = 240.0  # evaluations after which it does not count at all
_REGROUPED = 10.0  # evaluations that what was known in another group is worth in a new one
_WILD = 1e36  # what 32 bits can hold, and sums of it too
_SIDES = ("high", "low")

Floats = NDArray[np.float64]


class DriftSettings(NamedTuple):
    """How the drift detector looks, remembers and accumulates."""

    block_seconds: float = 60.0
    half_life_seconds: float = 3 * 86_400.0  # of a member's own offset
    spread_half_life_seconds: float = 86_400.0
    warm_up: int = 3  # evaluations, after the first window
    slack: float = 1.0  # spreads that do not count
    most: float = 16.0  # where sums stop growing, so that a fault that ends is over soon
    minimum: int = 3  # members present


class Drift:
    """
    Compares what members of a group *reach* within minutes, and accumulates what lasts.

    Members of one job do the same work, but not in the same second: what differs at an instant is mostly
    phase. So each member's samples are cut into blocks of ``block_seconds``, of which the highest and the
    lowest are kept; the second highest maximum and the second lowest minimum of the last five blocks are its
    *window*. Each is compared with the median over the siblings, after the member's own usual offset has
    been taken off (learnt within minutes, forgotten with ``half_life_seconds``: a fault that creeps in over
    hours teaches it nearly nothing). The residual is divided by the greatest of three spreads: its own
    usual, its group's usual, and the group's of now.

    The score is the residual in spreads, or the two-sided cumulated sum of it less the slack (Page 1954) if
    that is greater; a window counts as much as a sample of a chart does, since windows that overlap say the
    same thing. The expected value is the sample less the residual. A move of the whole group gives no
    score. A member that changes its group looks at a new window and keeps its offset, which it then learns quicker.
    """

    name = "drift"
    version = "1"

    def __init__(self, settings: DriftSettings = DriftSettings()) -> None:  # noqa: B008
        self._settings = settings
        self._block_ns = round(settings.block_seconds * SECOND)
        decay = settings.block_seconds * np.log(2.0)
        self._slowest = -np.expm1(-decay / settings.half_life_seconds)  # a block
        self._slowest_spread = -np.expm1(-decay / settings.spread_half_life_seconds)
        columns: dict[str, Any] = {
            "block": np.int32(-1),  # the block that is being filled; -1 = none
            "stride": np.int32(1),  # blocks between the last two
            "filled": np.int8(0),  # blocks in the window
            "judged": np.int32(-1),  # the block in which the window was last looked at
            "count": np.float32(0),  # evaluations that taught
            "step": np.float32(0),  # smallest change of an extreme from block to block, 0 = none yet
            "steps": np.int8(0),
            "score": np.float32(np.nan),
            "away": np.float32(np.nan),  # the residual that the score is about
            "spread": np.float32(np.nan),
        }
        for side in _SIDES:
            columns |= {
                side: np.float32(np.nan),  # extreme of the block that is being filled
                **{f"{side}{age}": np.float32(np.nan) for age in range(BLOCKS)},
                f"{side}_offset": np.float32(0),
                f"{side}_deviation": np.float32(0),  # mean absolute residual
                f"{side}_residual": np.float32(0),  # the newest
                f"{side}_up": np.float32(0),
                f"{side}_down": np.float32(0),
            }
        self._memory = GroupedMemory(columns, settings.minimum)

    def admit(self, ids: Ids, traits: Traits) -> None:
        """Make room; those whose group has changed look at a new window."""
        rows, memory = self._memory.admit(ids, traits), self._memory
        memory["count"][rows] = np.minimum(memory["count"][rows], _REGROUPED)
        self._begin(rows)

    def forget(self, ids: Ids) -> None:
        """Drop what was learnt of ``ids``, their group included."""
        self._memory.forget(ids)

    def accept(self, ids: Ids) -> None:
        """Take where ``ids`` stand now among their siblings as their own offset."""
        rows, memory = self._memory.rows_of(ids), self._memory
        for side in _SIDES:
            memory[f"{side}_offset"][rows] += memory[f"{side}_residual"][rows]
            for column in ("residual", "up", "down"):
                memory[f"{side}_{column}"][rows] = 0.0
        for column in ("score", "away"):
            memory[column][rows] = np.where(np.isnan(memory[column][rows]), np.nan, 0.0)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what a snapshot keeps: by series id, whatever the order of the rows."""
        return self._memory.state()

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take back what ``state`` returned. Raises Permanent where a column is missing or of another length."""
        self._memory.restore(state)

    def score(self, batch: Batch) -> Scores:
        """Return what the newest whole window of each series says: signed spreads or sum, whichever is greater."""
        scores = Scores(*(np.full(len(batch.ids), np.nan) for _ in range(3)))
        memory = self._memory
        for members, rows, _ in memory.parts(batch.ids):
            scores.score[members] = memory["score"][rows]
            scores.expected[members] = batch.values[members] - memory["away"][rows]
            scores.spread[members] = memory["spread"][rows]
        return scores

    def learn(self, batch: Batch, weight: Floats) -> None:
        """
        Take note of the samples, and look at windows that are whole.

        A ``weight`` of 0 keeps a sample's residual out of the offset and the spread; seen it is all the same,
        or the end of a fault would go unnoticed.
        """
        for part in self._memory.parts(batch.ids):
            timestamps = batch.timestamps[part.members]
            self._note(part, timestamps // self._block_ns, batch.values[part.members])
            due, now = self._due(part, timestamps)
            if due.any():
                self._look(part, due, now, weight[part.members])

    def _begin(self, rows: NDArray[np.int64]) -> None:
        memory = self._memory
        memory["filled"][rows] = 0
        memory["block"][rows] = -1
        for column in ("score", "away", "spread"):
            memory[column][rows] = np.nan
        for side in _SIDES:
            memory[f"{side}_up"][rows] = memory[f"{side}_down"][rows] = 0.0

    def _note(self, part: Part, block: NDArray[np.int64], values: Floats) -> None:
        """Put samples into their blocks; a block that ends moves into the window."""
        memory, rows = self._memory, part.rows
        before = memory["block"][rows]
        ended = block > before
        if ended.any():
            self._move(rows_in(rows)[ended], block[ended])
        samples = np.clip(values, -_WILD, _WILD).astype(np.float32)
        # fmax and fmin take what is a number, so a new block begins with its first sample.
        memory["high"][rows] = np.fmax(memory["high"][rows], samples)
        memory["low"][rows] = np.fmin(memory["low"][rows], samples)

    def _move(self, rows: NDArray[np.int64], block: NDArray[np.int64]) -> None:
        memory = self._memory
        before = memory["block"][rows]
        stride = np.where(before < 0, 0, block - before)
        lost = stride > np.maximum(BLOCKS, _PATIENCE * memory["stride"][rows].astype(np.int64))
        again = rows[lost]
        if len(again):
            self._begin(again)
        whole = rows[(before >= 0) & ~lost]
        memory["block"][rows] = block
        memory["stride"][rows] = np.maximum(stride, 1)
        memory["filled"][whole] = np.minimum(memory["filled"][whole] + 1, BLOCKS)
        for side in _SIDES:
            for age in range(BLOCKS - 1, 0, -1):
                memory[f"{side}{age}"][whole] = memory[f"{side}{age - 1}"][whole]
            newest = memory[side][whole]
            change = np.abs(newest - memory[f"{side}1"][whole])
            moved = change > RESOLUTION * np.abs(newest)
            step = memory["step"][whole]
            memory["step"][whole] = np.where(moved & ((change < step) | (step == 0)), change, step)
            memory["steps"][whole] = np.minimum(memory["steps"][whole] + moved, 4)
            memory[f"{side}0"][whole] = newest
            memory[side][rows] = np.nan

    def _due(self, part: Part, timestamps: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """
        Return which members' groups have a window to look at, and the block of each member's group.

        A group looks half a block late, all of it at once, when the block before has ended for everybody.
        """
        counts = part.cohorts.counts
        starts = np.cumsum(counts) - counts
        now = (np.maximum.reduceat(timestamps, starts) - self._block_ns // 2) // self._block_ns
        last = np.maximum.reduceat(self._memory["judged"][part.rows], starts)
        return part.cohorts.to_members(now > last), part.cohorts.to_members(now)

    def _look(self, part: Part, due: NDArray[np.bool_], now: NDArray[np.int64], weight: Floats) -> None:
        memory = self._memory
        rows = rows_in(part.rows)
        memory["judged"][rows[due]] = now[due]
        ready = due & (memory["filled"][rows] == BLOCKS)
        counts = np.bincount(part.cohorts.of[ready], minlength=len(part.cohorts.counts))
        ready &= part.cohorts.to_members(counts >= self._settings.minimum)
        memory["score"][rows[due & ~ready]] = np.nan
        if not ready.any():
            return
        cohorts = part.cohorts if ready.all() else Cohorts(counts[counts >= self._settings.minimum])
        rows, weight = rows[ready], weight[ready]
        high, low = (self._judge(side, rows, cohorts, weight) for side in _SIDES)
        score = np.where(np.abs(low.score) > np.abs(high.score), low.score, high.score)
        by_low = np.abs(low.score) > np.abs(high.score)
        still = memory["step"][rows] == 0
        if still.any():
            np.clip(score, -NEVER_CHANGED, NEVER_CHANGED, out=score, where=still)
        silent = memory["count"][rows] < self._settings.warm_up
        memory["score"][rows] = np.where(silent, np.nan, score)
        memory["away"][rows] = np.where(silent, np.nan, np.where(by_low, low.residual, high.residual))
        memory["spread"][rows] = np.where(silent, np.nan, np.where(by_low, low.spread, high.spread))
        memory["count"][rows] += weight

    def _judge(self, side: str, rows: NDArray[np.int64], cohorts: Cohorts, weight: Floats) -> _Judged:
        """Compare one side of the windows with the siblings', sum up, and learn."""
        memory, settings = self._memory, self._settings
        window = self._window(side, rows)
        count = memory["count"][rows]
        offset = np.where(count == 0, 0.0, memory[f"{side}_offset"][rows].astype(np.float64))
        residual = window - offset
        residual -= cohorts.to_members(cohorts.medians(residual))
        deviation = memory[f"{side}_deviation"][rows].astype(np.float64)
        spread = self._spread(rows, window, residual, deviation, cohorts)
        young = count < _GROWN_UP
        if young.any():
            # How far members differ among themselves bounds what a young offset may be wrong by.
            own = offset - cohorts.to_members(cohorts.medians(offset))
            among = cohorts.to_members(SIGMA_OF_MAD * cohorts.medians(np.abs(own)))
            spread += np.where(young, among * _YOUNG / (_YOUNG + count), 0.0)
        far = residual / spread
        trust = np.clip((_DOUBTED - np.abs(far)) / (_DOUBTED - _TRUSTED), _HARDLY, 1.0)
        weight = np.where(count < BLOCKS, weight, weight * trust)
        up, down = memory[f"{side}_up"][rows], memory[f"{side}_down"][rows]
        now = np.clip(far, -2.0 * CLIP, 2.0 * CLIP)
        # A sum that grew for long would take as long to shrink: what is back in the middle forgets it quicker.
        kept = np.where(np.abs(far) < 0.5 * settings.slack, 1.0 - 1.0 / BLOCKS, 1.0)
        up, down = kept * up, kept * down
        up = np.clip(up + (now - settings.slack) / BLOCKS, 0.0, settings.most)
        down = np.clip(down - (now + settings.slack) / BLOCKS, 0.0, settings.most)
        most = np.where(up >= down, up, -down)
        self._learn(side, rows, residual, spread, weight)
        for column, values in (("residual", residual), ("up", up), ("down", down)):
            memory[f"{side}_{column}"][rows] = values
        return _Judged(np.where(np.abs(most) > np.abs(far), most, far), residual, spread)

    def _learn(self, side: str, rows: NDArray[np.int64], residual: Floats, spread: Floats, weight: Floats) -> None:
        memory = self._memory
        count = memory["count"][rows]
        blocks = memory["stride"][rows]
        least = 1.0 / (count + 1.0)
        rate = np.maximum(np.minimum(self._slowest * blocks, 1.0 / BLOCKS), least) * weight
        spread_rate = np.maximum(np.minimum(self._slowest_spread * blocks, 1.0 / BLOCKS), least) * weight
        limit = np.where(count < BLOCKS, np.inf, CLIP * spread)
        held = np.clip(residual, -limit, limit)
        memory[f"{side}_offset"][rows] += rate * held
        deviation = memory[f"{side}_deviation"][rows]
        wide = np.where(count == 0, 0.0, np.abs(held))
        memory[f"{side}_deviation"][rows] = deviation + spread_rate * (wide - deviation)

    def _window(self, side: str, rows: NDArray[np.int64]) -> Floats:
        blocks = np.stack([self._memory[f"{side}{age}"][rows] for age in range(BLOCKS)])
        blocks.sort(axis=0)
        return np.asarray(blocks[-2] if side == "high" else blocks[1], np.float64)

    def _spread(
        self, rows: NDArray[np.int64], window: Floats, residual: Floats, deviation: Floats, cohorts: Cohorts
    ) -> Floats:
        memory = self._memory
        of_now = SIGMA_OF_MAD * cohorts.medians(np.abs(residual))
        usual = SIGMA_OF_DEVIATION * cohorts.medians(deviation)
        spread = cohorts.to_members(np.maximum(of_now, usual))
        count = memory["count"][rows]
        own = (count * SIGMA_OF_DEVIATION * deviation + _BORROWED * cohorts.to_members(usual)) / (count + _BORROWED)
        np.maximum(spread, own, out=spread)
        grain = np.where(memory["steps"][rows] > 2, 0.5, 1.0 / NEVER_CHANGED) * memory["step"][rows]
        np.maximum(spread, grain, out=spread)
        return np.asarray(np.maximum(spread, RESOLUTION * np.abs(window) + 1e-300))


class _Judged(NamedTuple):
    score: Floats
    residual: Floats
    spread: Floats
