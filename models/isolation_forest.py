"""Isolation forests over what detectors think of one entity's metrics: trained, stored, scored, explained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.entity_detector import EntityRows
from coldaisle.errors import ConfigError
from models.artefact import Card, version_of
from models.forest_kernel import Kernel
from models.forest_reasons import Reasons
from models.forest_trees import MOST_SAMPLES, Trees, flatten, trees_of

KIND = "isolation_forest"
TREES = 100
"""Path lengths have settled well before so many (Liu, Ting and Zhou 2008, figure 4)."""
FEWEST_FEATURES = 3
"""What fewer metrics say together their own detectors say as well."""
FEWEST_ROWS = 2 * MOST_SAMPLES
KNOWN_SHARE = 0.5
"""Of the features: a row of which less is known is not judged."""
OFTEN_KNOWN = 0.1
"""Of the rows: a feature known in fewer is not learnt."""
_SIGMA_OF_MAD = 1.4826
_SPREAD_LEAST = 1e-3
_LIMIT = np.float32(64.0)
_ROWS_READ = 200_000

Floats = NDArray[np.float64]


class Fit(NamedTuple):
    """A forest with what makes its scores comparable: where normal life has them and how far they spread."""

    features: tuple[str, ...]
    trees: Trees
    usual: float  # median of -score_samples over what it learnt from
    spread: float  # robust standard deviation of the same


class Forest:
    """The forest of one kind of entity, ready to serve; ``version`` names the model that it came from."""

    def __init__(self, fit: Fit, version: str) -> None:
        self.fit = fit
        self.version = version
        self._kernel = Kernel(fit.trees, len(fit.features))
        self._reasons = Reasons(fit.trees)
        self._columns: dict[tuple[str, ...], NDArray[np.int64]] = {}

    def score(self, features: tuple[str, ...], values: NDArray[np.float32]) -> Floats:
        """Return how strange rows over ``features`` are, in spreads above the usual; NaN where too little is known."""
        rows, known = self._own(features, values)
        if not known.any():
            return np.full(len(values), np.nan)
        strange = -self._kernel.score(rows)
        strange -= self.fit.usual
        strange /= self.fit.spread
        np.maximum(strange, 0.0, out=strange)
        strange[~known] = np.nan
        return strange

    def reasons(self, features: tuple[str, ...], values: NDArray[np.float32]) -> Floats:
        """Return each feature's share in the strangeness of each row, [n, len(features)]."""
        rows, _ = self._own(features, values)
        mine = self._reasons.shares(rows)
        found = np.zeros(values.shape)
        at = self._places(features)
        here = at >= 0
        found[:, at[here]] = mine[:, here]
        return found

    def _own(self, features: tuple[str, ...], values: NDArray[np.float32]) -> tuple[NDArray[np.float32], Any]:
        at = self._places(features)
        rows = np.full((len(values), len(at)), np.nan, np.float32)
        rows[:, at >= 0] = values[:, at[at >= 0]]
        known = (~np.isnan(rows)).mean(axis=1) >= KNOWN_SHARE
        return filled(rows), known

    def _places(self, features: tuple[str, ...]) -> NDArray[np.int64]:
        """Return where each of the forest's features stands among ``features``, -1 = nowhere."""
        known = self._columns.get(features)
        if known is None:
            self._columns.clear()  # the features of a kind change only when metrics come or go
            place = {name: number for number, name in enumerate(features)}
            known = np.array([place.get(name, -1) for name in self.fit.features], np.int64)
            self._columns[features] = known
        return known


def filled(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """
    Return rows that a forest can take: what is unknown becomes 0, what is huge is cut.

    0 means "as its detector expected": the one value that never makes a row look strange, so that a sensor
    that is missing is not what a row is found for (its absence is found by other rules).
    """
    rows = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=float(_LIMIT), neginf=-float(_LIMIT))
    return np.clip(rows, -_LIMIT, _LIMIT, out=rows)


def train_forest(
    features: NDArray[np.floating], names: Sequence[str], seed: int, trees: int = TREES, samples: int = MOST_SAMPLES
) -> Fit:
    """
    Train on rows of normal life, ``features`` [n, f] in signed spreads, NaN = unknown, column i being ``names[i]``.

    Columns that are hardly ever known are left out. The same rows and ``seed`` give the same forest with the
    same scikit-learn. Raises ConfigError where there is too little to learn from.
    """
    if features.ndim != 2 or features.shape[1] != len(names):
        raise ConfigError(f"isolation forest: {len(names)} names for rows of shape {features.shape}")
    if not 2 <= samples <= MOST_SAMPLES:
        raise ConfigError(f"isolation forest: {samples} samples a tree; give 2 to {MOST_SAMPLES}")
    often = np.flatnonzero((~np.isnan(features)).mean(axis=0) >= OFTEN_KNOWN) if len(features) else np.zeros(0, int)
    rows = filled(features[:, often])
    if len(rows) < FEWEST_ROWS or len(often) < FEWEST_FEATURES:
        raise ConfigError(
            f"isolation forest: {len(rows)} rows of {len(often)} features are too few (at least {FEWEST_ROWS} of "
            f"{FEWEST_FEATURES}); give more history"
        )
    # Serving a forest needs none of it, and it doubles the time that a start takes.
    from sklearn.ensemble import IsolationForest  # noqa: PLC0415

    model = IsolationForest(n_estimators=trees, max_samples=min(samples, len(rows)), random_state=seed, n_jobs=1)
    flat = flatten(model.fit(rows))
    strange = -Kernel(flat, len(often)).score(rows[: 1 << 16])
    usual = float(np.median(strange))
    spread = max(float(_SIGMA_OF_MAD * np.median(np.abs(strange - usual))), _SPREAD_LEAST)
    return Fit(tuple(names[number] for number in often.tolist()), flat, usual, spread)


def fit(
    blocks: Iterable[EntityRows], data_from: int, data_to: int, created_at: int, seed: int
) -> tuple[Card, dict[str, NDArray[Any]]]:
    """
    Return the model of every kind of entity in ``blocks`` (rows of normal life), as an artefact keeps it.

    Of very many rows an evenly spread part is learnt from, and the newest tenth is kept aside: the card's
    scores say how far its strangest hundredth stands from what was learnt. Kinds with too little history are
    left out. Times are Unix ns. Raises ConfigError where no kind has enough.
    """
    history = _Histories()
    for block in blocks:
        history.take(block)
    arrays: dict[str, NDArray[Any]] = {}
    kinds: dict[str, Any] = {}
    scores: dict[str, float] = {}
    refused = "no rows"
    for kind, (names, rows) in sorted(history.joined().items()):
        later = max(1, len(rows) // 10)
        try:
            one = train_forest(rows[:-later], names, seed)
        except ConfigError as error:
            refused = f"{kind}: {error}"
            continue
        arrays |= {f"{kind}/{name}": array for name, array in one.trees.arrays().items()}
        kinds[kind] = {
            "features": list(one.features), "usual": one.usual, "spread": one.spread, "rows": len(rows) - later
        }  # fmt: skip
        strange = Forest(one, "").score(names, rows[-later:])
        told = strange[~np.isnan(strange)]
        if len(told):
            scores[f"{kind} later rows, strangest hundredth in spreads"] = float(np.quantile(told, 0.99))
    if not kinds:
        raise ConfigError(f"isolation forest: nothing to learn from ({refused})")
    metrics = tuple(f"{kind}:{feature}" for kind, told in kinds.items() for feature in told["features"])
    parameters = {"trees": TREES, "samples": MOST_SAMPLES, "kinds": kinds}
    version = version_of(created_at, arrays)
    return Card(KIND, version, created_at, data_from, data_to, metrics, parameters, scores, seed), arrays


def forests_of(card: Card, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Forest]:
    """Return the stored forests by kind of entity. Raises ConfigError where the artefact is no forest's."""
    kinds = card.parameters.get("kinds")
    if not isinstance(kinds, dict) or not kinds:
        raise ConfigError(f"isolation forest {card.version}: names no kind of entity; train it again")
    found: dict[str, Forest] = {}
    metrics: list[str] = []
    for kind, told in kinds.items():
        features, usual, spread = _told(card.version, kind, told)
        metrics += [f"{kind}:{feature}" for feature in features]
        start = f"{kind}/"
        mine = {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}
        found[kind] = Forest(Fit(features, trees_of(mine, len(features)), usual, spread), card.version)
    if tuple(metrics) != card.metrics:
        raise ConfigError(f"isolation forest {card.version}: its features are not those on its card; train it again")
    return found


def _told(version: str, kind: str, told: Any) -> tuple[tuple[str, ...], float, float]:
    if isinstance(told, dict):
        features, usual, spread = told.get("features"), told.get("usual"), told.get("spread")
        named = isinstance(features, list) and features and all(isinstance(each, str) for each in features)
        if named and isinstance(usual, float) and isinstance(spread, float) and 0 <= usual <= 1 and spread > 0:
            return tuple(str(each) for each in told["features"]), usual, spread
    raise ConfigError(f"isolation forest {version}: its parameters for {kind!r} are not a forest's; train it again")


class _Histories:
    """Rows by kind, features as they come; when there are very many, every second one is let go."""

    def __init__(self) -> None:
        self._order: dict[str, list[tuple[tuple[str, ...], NDArray[np.float32]]]] = {}
        self._stride: dict[str, int] = {}
        self._seen: dict[str, int] = {}

    def take(self, block: EntityRows) -> None:
        """Take note of rows; those of which nothing is known say nothing."""
        rows = block.values[(~np.isnan(block.values)).any(axis=1)]
        stride = self._stride.setdefault(block.kind, 1)
        seen = self._seen.get(block.kind, 0)
        kept = rows[(-seen) % stride :: stride]
        self._seen[block.kind] = seen + len(rows)
        several = self._order.setdefault(block.kind, [])
        if len(kept):
            several.append((block.features, kept.copy()))
        if sum(len(part) for _, part in several) > _ROWS_READ:
            self._stride[block.kind] = 2 * stride
            self._order[block.kind] = [(names, part[::2]) for names, part in several]

    def joined(self) -> dict[str, tuple[tuple[str, ...], NDArray[np.float32]]]:
        """Return names and rows by kind, oldest first, a column for every feature that was ever there."""
        found = {}
        for kind, several in self._order.items():
            names = tuple(sorted({name for features, _ in several for name in features}))
            place = {name: number for number, name in enumerate(names)}
            rows = np.full((sum(len(part) for _, part in several), len(names)), np.nan, np.float32)
            at = 0
            for features, part in several:
                rows[at : at + len(part), [place[name] for name in features]] = part
                at += len(part)
            found[kind] = names, rows
        return found
