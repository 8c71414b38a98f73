"""Excursions of many series, against the plainest bookkeeping of the same thing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from coldaisle.state import State
from pipeline.excursions import RARE, Excursions

PATIENCE = 50
Told = list[tuple[int, float, int]]


class Plain:
    """One series at a time: how often, how far (NaN = it was evidence), since when."""

    def __init__(self) -> None:
        self.open: dict[int, tuple[int, float, int]] = {}

    def hold(self, ids: list[int], second: int, scores: list[float], tails: list[float], weights: list[float]) -> Told:
        told: Told = []
        for number, score, tail, weight in zip(ids, scores, tails, weights, strict=True):
            often, far, since = self.open.get(number, (0, 0.0, second))
            rare = tail <= RARE
            if math.isnan(score) or not (rare or often):
                continue
            far = math.nan if math.isnan(far) or weight == 0 else max(far, float(np.float32(abs(score))))
            if rare and second - since < PATIENCE:
                self.open[number] = often + 1, far, since
                continue
            self.open.pop(number, None)
            if often and not math.isnan(far):
                told.append((number, far, often))
        return told


def same(left: State, right: State) -> bool:
    return all(np.array_equal(left[name], right[name]) or name == "peak" for name in left) and np.array_equal(
        left["peak"], right["peak"], equal_nan=True
    )


@pytest.mark.parametrize("seed", range(5))
def test_they_say_what_plain_bookkeeping_says_through_resets_and_snapshots(seed: int) -> None:
    random = np.random.default_rng(seed)
    excursions, plain = Excursions(2, PATIENCE), [Plain(), Plain()]
    size, lessons = 40, 0
    excursions.reset(np.arange(size), size)
    for second in range(0, 3000, 10):
        ids = np.flatnonzero(random.random(size) < 0.7)
        for detector, each in enumerate(plain):
            scores = np.where(random.random(len(ids)) < 0.05, np.nan, random.normal(0, 4, len(ids)).astype(np.float32))
            tails = np.where(random.random(len(ids)) < 0.4, 0.001, 0.5)
            weights = (random.random(len(ids)) > 0.05).astype(np.float64)
            args = ids.tolist(), second, scores.tolist(), tails.tolist(), weights.tolist()
            over, far, often = excursions.hold(
                detector, ids, np.full(len(ids), second, np.uint32), scores, tails, weights
            )
            found = list(zip(ids[over].tolist(), far.tolist(), often.tolist(), strict=True))
            assert found == each.hold(*args)
            lessons += len(found)
        if random.random() < 0.1:
            gone = random.choice(size, 3, replace=False)
            size += 1
            excursions.reset(np.append(gone, size - 1), size)
            for each in plain:
                for number in gone.tolist():
                    each.open.pop(number, None)
        if random.random() < 0.1:
            kept = excursions.state(size)
            excursions = Excursions(2, PATIENCE)
            excursions.restore(kept)
            assert same(kept, excursions.state(size))
    assert lessons > 100
    assert len(excursions.state(size)["id"]) == sum(len(each.open) for each in plain)
