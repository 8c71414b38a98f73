from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

from coldaisle.entity_detector import EntityRows
from coldaisle.errors import ConfigError
from models.artefact import Card, load, save
from models.forest_kernel import Kernel
from models.forest_reasons import Reasons
from models.forest_trees import Trees, flatten, path_lengths, trees_of
from models.isolation_forest import KIND, Forest, filled, fit, forests_of, train_forest

NAMES = tuple(f"gpu_{word}/peers" for word in ("power_watts", "temperature_celsius", "clock_sm_hertz", "fan", "used"))
HOUR = 3_600_000_000_000


def life(rows: int = 2000, seed: int = 1, features: int = len(NAMES)) -> NDArray[np.float32]:
    """Normal life: residuals of which the first two go together."""
    values = np.random.default_rng(seed).normal(size=(rows, features))
    values[:, 1] = 0.8 * values[:, 0] + 0.6 * values[:, 1]
    return values.astype(np.float32)


def sklearn_of(values: NDArray[np.float32], seed: int, trees: int, samples: int) -> Any:
    return IsolationForest(n_estimators=trees, max_samples=samples, random_state=seed).fit(values)


@cache
def trained() -> Forest:
    return Forest(train_forest(life(), NAMES, 0, trees=50), "v1")


@cache
def small() -> Trees:
    return train_forest(life(600), NAMES, 0, trees=3).trees


def stored(folder: Path) -> tuple[Path, Card]:
    blocks = [EntityRows("gpu", NAMES, life(900, seed)) for seed in range(2)]
    card, arrays = fit(blocks, 0, HOUR, HOUR, seed=3)
    save(folder / card.version, card, arrays)
    return folder / card.version, card


@settings(derandomize=True, deadline=None, max_examples=25)
@given(
    rows=st.integers(2, 700),
    features=st.integers(1, 12),
    trees=st.integers(1, 12),
    samples=st.integers(2, 256),
    asked=st.integers(1, 200),
    grain=st.sampled_from([0.0, 0.5, 3.0]),
    seed=st.integers(0, 1000),
)
def test_scores_are_scikit_learns(
    rows: int, features: int, trees: int, samples: int, asked: int, grain: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    drawn = random.normal(size=(rows + asked, features)) * 3
    if grain:  # quantised sensors: many rows stand exactly on a threshold or on each other
        drawn = np.round(drawn / grain) * grain
    values = drawn.astype(np.float32)
    model = sklearn_of(values[:rows], seed, trees, min(samples, rows))
    kernel = Kernel(flatten(model), features)
    np.testing.assert_allclose(kernel.score(values[rows:]), model.score_samples(values[rows:]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("rows", [0, 1, 63, 64, 65, 511, 512, 4096, 4097])
def test_scores_do_not_depend_on_how_many_rows_come_at_once(rows: int) -> None:
    model = sklearn_of(life(), 5, 20, 256)
    asked = life(4097, seed=9)[:rows] * 2
    scores = Kernel(flatten(model), len(NAMES)).score(asked)
    assert len(scores) == rows
    if rows:
        np.testing.assert_allclose(scores, model.score_samples(asked), rtol=0, atol=1e-12)


def test_a_row_on_a_threshold_goes_where_scikit_learn_sends_it() -> None:
    model = sklearn_of(life(), 5, 30, 256)
    trees = flatten(model)
    asks = trees.feature >= 0
    asked = np.tile(life(1), (3 * int(asks.sum()), 1))
    on = np.concatenate([np.nextafter(trees.threshold[asks], np.float32(side)) for side in (-np.inf, np.inf)])
    asked[np.arange(len(asked)), np.tile(trees.feature[asks], 3)] = np.concatenate([trees.threshold[asks], on])
    np.testing.assert_allclose(Kernel(trees, len(NAMES)).score(asked), model.score_samples(asked), rtol=0, atol=1e-12)


def test_scoring_is_pure_and_leaves_numpy_as_it_was() -> None:
    before = np.getbufsize()
    forest, rows = trained(), life(1000, seed=4)
    kept = rows.copy()
    first, second = forest.score(NAMES, rows), forest.score(NAMES, rows)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(rows, kept)
    assert np.getbufsize() == before


def test_the_same_seed_gives_the_same_forest_and_another_seed_another() -> None:
    one, same, other = (train_forest(life(), NAMES, seed, trees=20) for seed in (1, 1, 2))
    assert all(np.array_equal(one.trees.arrays()[name], same.trees.arrays()[name]) for name in one.trees.arrays())
    assert (one.usual, one.spread) == (same.usual, same.spread)
    assert len(one.trees.feature) != len(other.trees.feature) or not np.array_equal(one.trees[2], other.trees[2])


@settings(derandomize=True, deadline=None, max_examples=12)
@given(feature=st.integers(0, len(NAMES) - 1), away=st.sampled_from([-9.0, 9.0, 30.0]), seed=st.integers(0, 50))
def test_the_feature_that_is_planted_is_the_reason(feature: int, away: float, seed: int) -> None:
    forest = trained()
    row = life(1, seed + 100) * 0.5
    row[0, feature] = away
    told = forest.reasons(NAMES, row)[0]
    assert int(np.argmax(told)) == feature
    assert told.sum() == pytest.approx(1.0)
    assert (told >= 0).all()


def test_two_planted_features_are_the_first_two_reasons() -> None:
    row = np.zeros((1, len(NAMES)), np.float32)
    row[0, [1, 3]] = 8.0, -8.0
    told = trained().reasons(NAMES, row)[0]
    assert set(np.argsort(-told)[:2].tolist()) == {1, 3}


def test_what_features_spare_adds_up_to_what_the_row_is_shorter() -> None:
    model = sklearn_of(life(), 7, 8, 256)
    trees, rows = flatten(model), life(40, seed=8) * 2
    roots = trees.starts
    expected = np.zeros(len(trees.feature))
    for node in range(len(trees.feature) - 1, -1, -1):
        base = int(roots[np.searchsorted(roots, node, side="right") - 1])
        if trees.feature[node] < 0:
            expected[node] = path_lengths(trees)[node]
        else:
            below = [base + int(trees.left[node]), base + int(trees.right[node])]
            weight = trees.samples[below]
            expected[node] = (expected[below] * weight).sum() / weight.sum()
    usual = 2.0 * (np.log(255.0) + np.euler_gamma) - 2.0 * 255.0 / 256.0
    length = -np.log2(-model.score_samples(rows)) * usual
    np.testing.assert_allclose(Reasons(trees).gains(rows).sum(axis=1), expected[roots].mean() - length, atol=1e-9)
    assert Reasons(trees).shares(rows).shape == rows.shape


def test_an_unknown_feature_is_taken_as_expected_and_too_few_give_no_opinion() -> None:
    forest = trained()
    rows = life(3, seed=2)
    rows[0, 2] = np.nan
    rows[1, :3] = np.nan
    rows[2] = np.nan
    scores = forest.score(NAMES, rows)
    assert np.isfinite(scores[0])
    assert np.isnan(scores[1:]).all()
    as_expected = rows[:1].copy()
    as_expected[0, 2] = 0.0
    assert scores[0] == forest.score(NAMES, as_expected)[0]


def test_what_is_not_finite_is_cut_and_not_passed_on() -> None:
    assert filled(np.array([[np.nan, np.inf, -np.inf, 1e30, 2.0]])).tolist() == [[0.0, 64.0, -64.0, 64.0, 2.0]]


def test_features_may_stand_in_another_order_or_among_others() -> None:
    forest, rows = trained(), life(50, seed=6)
    names = ("new_metric/peers", *reversed(NAMES))
    wider = np.concatenate([np.full((50, 1), 60.0, np.float32), rows[:, ::-1]], axis=1)
    np.testing.assert_array_equal(forest.score(names, wider), forest.score(NAMES, rows))
    told = forest.reasons(names, wider)
    assert (told[:, 0] == 0).all()
    np.testing.assert_array_equal(told[:, :0:-1], forest.reasons(NAMES, rows))


def test_strange_rows_score_above_usual_ones() -> None:
    forest = trained()
    usual, strange = life(500, seed=11), np.zeros((1, len(NAMES)), np.float32)
    strange[0, :4] = 6.0, -6.0, 5.0, -5.0
    assert forest.score(NAMES, strange)[0] > np.quantile(forest.score(NAMES, usual), 0.999)


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        (np.zeros((100, 5)), NAMES),
        (np.zeros((2000, 2)), NAMES[:2]),
        (np.full((2000, 5), np.nan), NAMES),
        (np.zeros((2000, 5)), NAMES[:3]),
    ],
)
def test_too_little_to_learn_from_is_refused(rows: NDArray[np.float64], names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="isolation forest"):
        train_forest(rows, names, 0)


def test_an_artefact_scores_as_what_was_saved(tmp_path: Path) -> None:
    blocks = [EntityRows("gpu", NAMES, life(1800)), EntityRows("node", NAMES[:4], life(1500, 2)[:, :4])]
    blocks.append(EntityRows("port", NAMES[:3], life(20)[:, :3]))  # too few: left out
    card, arrays = fit(blocks, 0, HOUR, HOUR, seed=3)
    save(tmp_path / "one", card, arrays)
    back, again = load(tmp_path / "one", KIND, card.metrics)
    mine, theirs = forests_of(card, arrays), forests_of(back, again)
    assert list(mine) == list(theirs) == ["gpu", "node"]
    assert card.metrics[0] == f"gpu:{sorted(NAMES)[0]}"
    asked = life(300, seed=21)
    np.testing.assert_array_equal(mine["gpu"].score(NAMES, asked), theirs["gpu"].score(NAMES, asked))
    assert np.isfinite(card.scores["gpu later rows, strangest hundredth in spreads"])


def test_a_damaged_artefact_is_refused(tmp_path: Path) -> None:
    folder, card = stored(tmp_path)
    weights = folder / "weights.safetensors"
    data = weights.read_bytes()
    for broken in (data[: len(data) // 2], data[:-9] + b"\x00" + data[-8:], b""):
        weights.write_bytes(broken)
        with pytest.raises(ConfigError):
            load(folder, KIND)
    weights.write_bytes(data)
    with pytest.raises(ConfigError, match="train it again"):
        load(folder, KIND, (*card.metrics[1:], "gpu:another/peers"))


def test_a_forest_whose_card_and_trees_do_not_fit_is_refused(tmp_path: Path) -> None:
    folder, card = stored(tmp_path)
    _, arrays = load(folder, KIND)
    told = card.parameters["kinds"]["gpu"]
    wrong: list[Card] = [
        replace(card, parameters={}),
        replace(card, parameters={"kinds": {"gpu": {**told, "features": told["features"][:2]}}}),
        replace(card, parameters={"kinds": {"gpu": {**told, "spread": 0.0}}}),
        replace(card, parameters={"kinds": {"node": told}}),
        replace(card, metrics=card.metrics[:-1]),
    ]
    for each in wrong:
        with pytest.raises(ConfigError, match="isolation forest"):
            forests_of(each, arrays)


def _changed(trees: Trees, **columns: Any) -> dict[str, NDArray[Any]]:
    return trees._replace(**columns).arrays()


def test_arrays_that_are_no_trees_are_refused() -> None:
    trees = train_forest(life(), NAMES, 0, trees=5).trees
    asks = np.flatnonzero(trees.feature >= 0)
    looped, beyond, apart, unsized = (trees.left.copy() for _ in range(4))
    looped[asks[3]] = 0
    beyond[asks[3]] = 10_000
    apart[asks[3]] = trees.right[asks[3]]
    unsized[:] = -1
    strange = trees.feature.copy()
    strange[asks[0]] = len(NAMES)
    broken = [
        {**trees.arrays(), "left": looped},
        {**trees.arrays(), "left": beyond},
        {**trees.arrays(), "left": apart},
        {**trees.arrays(), "left": unsized},
        _changed(trees, feature=strange),
        _changed(trees, sizes=trees.sizes[:-1]),
        _changed(trees, threshold=trees.threshold[:-1]),
        _changed(trees, threshold=np.full_like(trees.threshold, np.nan)),
        _changed(trees, samples=trees.samples * 0),
        _changed(trees, feature=trees.feature.astype(np.int32)),
        {name: array for name, array in trees.arrays().items() if name != "right"},
    ]
    for arrays in broken:
        with pytest.raises(ConfigError, match="isolation forest"):
            trees_of(arrays, len(NAMES))
    assert trees_of(trees.arrays(), len(NAMES)) is not None


@settings(derandomize=True, deadline=None, max_examples=30)
@given(data=st.data())
def test_whatever_arrays_hold_they_are_refused_or_served(data: st.DataObject) -> None:
    trees = small()
    arrays = {name: array.copy() for name, array in trees.arrays().items()}
    for _ in range(data.draw(st.integers(1, 4))):
        name = data.draw(st.sampled_from(sorted(arrays)))
        at = data.draw(st.integers(0, len(arrays[name]) - 1))
        arrays[name][at] = data.draw(st.sampled_from([-2, -1, 0, 1, 2, 7, 300, 32_000]))
    try:
        served = trees_of(arrays, len(NAMES))
    except ConfigError:
        return
    assert np.isfinite(Kernel(served, len(NAMES)).score(life(70))).all()
