"""Networks are trained by seed, kept as plain arrays and served in batches."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from coldaisle.clock import HOUR
from coldaisle.errors import ConfigError
from models import artefact
from models.forecast.neural import Forecaster, train_neural
from models.forecast.training import prepare, season_of, train_and_judge
from models.forecast.windows import Table, filled, usual_of

pytestmark = pytest.mark.timeout(900)  # importing torch and lightning takes minutes where all cores are busy

Test = TypeVar("Test", bound=Callable[..., None])
_skipped_without = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None,
    reason="NO NEURAL FORECAST IS TESTED: torch is not installed; `make forecast` installs it",
)


def needs_torch(test: Test) -> Test:
    """Mark a test that trains: torch alone takes ten seconds to import, so all such run in one process."""
    for mark in (pytest.mark.xdist_group("torch"), pytest.mark.slow, _skipped_without):
        test = mark(test)
    return test


def _table(series: int = 6, steps: int = 24 * 40) -> Table:
    at, random = np.arange(steps), np.random.default_rng(1)
    scale = random.lognormal(0, 1, (series, 1))
    values = scale * (5 + np.sin(2 * np.pi * at / 24) + random.normal(0, 0.1, (series, steps)))
    values[0, 50:60] = np.nan
    return Table(at * HOUR, values)


@needs_torch
@pytest.mark.parametrize("kind", ["nhits", "tft"])
def test_a_stored_network_foretells_what_the_trained_one_did(kind: str, tmp_path: Path) -> None:
    table = _table()
    card, arrays = train_neural(kind, table, 6, 24, seed=3, created_at=10, metrics=("power",), batches=3)
    assert json.loads(json.dumps(dict(card.parameters))) == dict(card.parameters)
    artefact.save(tmp_path / "model", card, arrays)
    stored = Forecaster(*artefact.load(tmp_path / "model", kind, ("power",)))
    history, last = table.values[:, -24:], int(table.times[-1])
    made = Forecaster(card, arrays).predict(history, last, usual_of(table.values))
    assert made.shape == (6, 6, 5)
    assert np.all(np.diff(made, axis=2) >= 0)
    assert np.array_equal(made, stored.predict(history, last, usual_of(table.values)))


@needs_torch
def test_a_seed_gives_the_same_weights_and_another_one_others() -> None:
    table, told = _table(), []
    first, again, other = (
        train_neural("nhits", table, 6, 24, seed=seed, created_at=0, batches=2)[1] for seed in (3, 3, 4)
    )
    train_neural("nhits", table, 6, 24, seed=3, created_at=0, batches=2, progress=lambda *at: told.append(at))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not all(np.array_equal(first[name], other[name]) for name in first)
    assert told[-1][:2] == (2, 2)


@needs_torch
def test_a_series_that_is_served_beside_others_gets_the_same_forecast_as_alone() -> None:
    table = _table()
    forecaster = Forecaster(*train_neural("nhits", table, 6, 24, seed=3, created_at=0, batches=2))
    history = table.values[:, -24:].copy()
    history[1, :20] = np.nan
    history[2, 3] = np.nan
    together = forecaster.predict(history, int(table.times[-1]))
    assert np.isnan(together[1]).all()
    assert np.isfinite(together[2]).all()
    np.testing.assert_allclose(together[3], forecaster.predict(history[3:4], int(table.times[-1]))[0], rtol=1e-5)


@needs_torch
def test_weights_that_do_not_fit_are_refused_in_one_line() -> None:
    card, arrays = train_neural("nhits", _table(), 6, 24, seed=3, created_at=0, batches=1)
    name = next(name for name, array in arrays.items() if array.ndim == 2 and not name.startswith("calibration"))
    for spoilt in ({**arrays, name: arrays[name][:-1]}, {key: value for key, value in arrays.items() if key != name}):
        with pytest.raises(ConfigError, match="does not fit") as caught:
            Forecaster(card, spoilt)
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="does not fit"):
        Forecaster(replace(card, parameters={**card.parameters, "levels": [0.5]}), arrays)


@needs_torch
def test_what_was_trained_is_judged_on_later_data_beside_the_light_forecaster() -> None:
    table = _table()
    outcome = train_and_judge("nhits", table, 6, 24, seed=3, created_at=10, metrics=("power",), batches=3)
    assert set(outcome.qualities) == {"nhits", "light", "seasonal_naive"}
    assert outcome.card.data_to < table.times[-1]
    assert outcome.card.scores == outcome.decision.scores
    assert outcome.decision.reason
    again = train_and_judge(
        "nhits", table, 6, 24, seed=3, created_at=10, batches=3, champion=(outcome.card, outcome.arrays)
    )
    assert not again.decision.promoted
    assert again.qualities["champion"] == again.qualities["nhits"]


def test_a_table_that_is_too_short_says_so() -> None:
    table = _table(2, 40)
    with pytest.raises(ConfigError, match="too few"):
        train_and_judge("nhits", table, 12, 48, seed=1, created_at=0)


def test_uneven_times_are_put_on_a_grid_and_what_teaches_nothing_is_left_out_and_counted() -> None:
    times = np.delete(np.arange(100) * HOUR + 5, [10, 11])[::-1]
    values = np.stack([np.arange(98.0), np.full(98, 3.0), np.full(98, np.nan)])
    prepared = prepare(times, values)
    assert prepared.table.values.shape == (1, 100)
    assert np.flatnonzero(np.isnan(prepared.table.values[0])).tolist() == [10, 11]
    assert prepared.rows.tolist() == [0]
    assert prepared.left_out == {"hardly seen": 1, "never moved": 1}
    assert season_of(prepared.table) == 24


def test_gaps_are_filled_with_what_came_before_and_at_the_start_with_what_came_after() -> None:
    nothing = np.nan
    history = np.array([[nothing, 1.0, nothing, 3.0, nothing]])
    assert filled(history).tolist() == [[1.0, 1.0, 1.0, 3.0, 3.0]]


def test_nobody_else_brings_torch_along() -> None:
    program = (
        "import sys, cli.main, cli.wiring, models.level, models.forecast.light, models.forecast.time_to_limit, "
        "models.forecast.served, models.forecast.neural, models.forecast.training, models.forecast.promotion\n"
        "sys.exit(', '.join(sorted({'torch', 'lightning', 'pytorch_forecasting'} & set(sys.modules))) or None)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
