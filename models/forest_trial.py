"""Whether a trained forest takes over: only where it tells strange rows from later normal ones at least as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.entity_detector import EntityRows
from coldaisle.errors import ConfigError
from models.isolation_forest import Forest, train_forest

Floats = NDArray[np.float64]

SHIFT_SPREADS = 4.0
"""How far a disturbed metric is moved: what is called odd alone is 3, and must stand clear of it."""
SHIFTED = 2
"""Metrics moved in each disturbed row: together is what a forest is for."""
MOST_ROWS = 20_000
WORSE_BY_CHANCE = 0.005
"""A difference of separations smaller than this is chance at some thousand rows (Hanley and McNeil 1982)."""
ENOUGH = 200
"""Fewer later rows than this decide nothing."""


class Verdict(NamedTuple):
    """Whether the newcomer takes over, why, and its scores (and others' beside it) by kind of entity."""

    promoted: bool
    reason: str
    scores: Mapping[str, float]


def judge(
    newcomer: Mapping[str, Forest],
    champion: Mapping[str, Forest],
    first: Sequence[EntityRows],
    later: Sequence[EntityRows],
    seed: int,
) -> Verdict:
    """
    Judge ``newcomer`` on rows that came ``later`` than what it learnt from; forests are given by kind of entity.

    A forest's separation is the probability that a disturbed row looks stranger to it than a normal one (the area
    under the ROC curve): no labels are needed. Beside it stand the champion's, and that of a forest grown from the
    ``first`` hour, as the pipeline grows one for itself where nobody trained any.
    """
    scores: dict[str, float] = {}
    worse: list[str] = []
    better = False
    judged = 0
    for kind, forest in sorted(newcomer.items()):
        rows = joined(later, kind, forest.fit.features)
        rows = rows[:: max(1, len(rows) // MOST_ROWS)]
        if len(rows) < ENOUGH:
            continue
        judged += 1
        strange = disturbed(rows, np.random.default_rng(seed))
        mine = separation(forest, rows, strange, forest.fit.features)
        scores[f"{kind} separation"] = mine
        others = {"grown": _grown(first, kind, forest.fit.features, seed), "champion": champion.get(kind)}
        for name, other in others.items():
            if other is None:
                continue
            theirs = separation(other, rows, strange, forest.fit.features)
            scores[f"{kind} separation of {name}"] = theirs
            if mine < theirs - WORSE_BY_CHANCE:
                worse.append(f"{kind}: {mine:.3f} against {theirs:.3f} of the {_WORDS[name]}")
            elif name == "champion" and mine > theirs + WORSE_BY_CHANCE:
                better = True
    missing = sorted(set(champion) - set(newcomer))
    if not judged:
        return Verdict(False, f"fewer than {ENOUGH} later rows of any kind: nothing to judge it by", scores)
    if worse:
        return Verdict(False, f"it separates disturbed rows worse on later data ({'; '.join(worse)})", scores)
    if missing:
        return Verdict(False, f"the champion knows {missing[0]}, which it does not", scores)
    if champion and not better and not set(newcomer) - set(champion):
        return Verdict(False, "it separates disturbed rows no better than the champion on later data", scores)
    told = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
    return Verdict(True, f"on later data it separates disturbed rows as well or better ({told})", scores)


_WORDS = {"grown": "forest that grows by itself", "champion": "champion"}


def joined(blocks: Sequence[EntityRows], kind: str, features: tuple[str, ...]) -> NDArray[np.float32]:
    """Return the rows of one kind with exactly ``features``, [n, f], NaN = unknown."""
    parts = []
    for block in blocks:
        if block.kind != kind:
            continue
        place = {name: number for number, name in enumerate(block.features)}
        rows = np.full((len(block.values), len(features)), np.nan, np.float32)
        for column, name in enumerate(features):
            if name in place:
                rows[:, column] = block.values[:, place[name]]
        parts.append(rows[(~np.isnan(rows)).any(axis=1)])
    return np.concatenate(parts) if parts else np.zeros((0, len(features)), np.float32)


def disturbed(rows: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
    """Return ``rows`` with two known metrics of each moved by four spreads, up or down."""
    moved = rows.copy()
    draw = np.where(np.isnan(rows), -1.0, random.random(rows.shape))
    for column in np.argsort(-draw, axis=1)[:, :SHIFTED].T:
        at = np.arange(len(rows)), column
        moved[at] += np.where(random.random(len(rows)) < 0.5, -SHIFT_SPREADS, SHIFT_SPREADS).astype(np.float32)
    return moved


def separation(
    forest: Forest, rows: NDArray[np.float32], strange: NDArray[np.float32], features: tuple[str, ...]
) -> float:
    """Return the probability that a strange row looks stranger than a normal one, ties counting half; 0.5 = blind."""
    normal, odd = forest.score(features, rows), forest.score(features, strange)
    normal, odd = np.sort(normal[~np.isnan(normal)]), odd[~np.isnan(odd)]
    if not len(normal) or not len(odd):
        return 0.5
    below = np.searchsorted(normal, odd, side="left")
    within = np.searchsorted(normal, odd, side="right")
    return float((below + within).mean() / (2.0 * len(normal)))


def _grown(first: Sequence[EntityRows], kind: str, features: tuple[str, ...], seed: int) -> Forest | None:
    try:
        return Forest(train_forest(joined(first, kind, features), features, seed), "grown")
    except ConfigError:
        return None  # too little in an hour: there would be none yet
