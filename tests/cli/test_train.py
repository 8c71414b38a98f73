from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cli import train, training_forest
from cli.main import main
from cli.settings import Settings, StorageConfig
from cli.training_data import from_recording, from_store, from_tables
from coldaisle.clock import MINUTE
from coldaisle.entity_detector import EntityRows
from coldaisle.errors import ConfigError
from coldaisle.store.parquet import ParquetStore
from coldaisle.store.recording import Recording, RecordingWriter
from collectors.simulator.config import SimulatorConfig
from collectors.simulator.simulator import Simulator, record
from models.artefact import load
from models.isolation_forest import KIND, forests_of
from models.registry import Registry


@pytest.fixture(autouse=True)
def as_fast_as_others(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Training makes its process nice for good; here it only says so."""
    said: list[int] = []
    monkeypatch.setattr(os, "nice", said.append)
    return said


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty minutes of four nodes in which nothing breaks."""
    path = tmp_path_factory.mktemp("train") / "hall"
    config = SimulatorConfig.model_validate(
        {"rows": 1, "racks_per_row": 1, "nodes_per_rack": 4, "seed": 3, "step_seconds": 20.0, "faults": "none"}
    )
    with RecordingWriter(path) as writer:
        record(Simulator(config), 2400.0, writer)
    return path


@pytest.mark.slow
def test_a_forest_learns_from_a_recording_and_is_stored_with_what_was_measured(
    hall: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], as_fast_as_others: list[int]
) -> None:
    models = tmp_path / "models"
    assert main(["train", str(hall), "--kind", "forest", "--models", str(models), "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["models"]
    assert told["kind"] == KIND
    assert told["reason"]
    assert 0.5 < told["scores"]["gpu separation"] <= 1.0
    assert as_fast_as_others == [train.NICENESS]
    registry = Registry(models)
    path = registry.place(KIND, told["version"])
    assert (registry.champion(KIND) if told["promoted"] else registry.challenger(KIND)) == path
    assert "gpu" in forests_of(*load(path, KIND))
    assert registry.job(KIND).history[-1].reason == told["reason"]
    assert [one.name for one in models.iterdir() if one.name.startswith(".training")] == []


def test_only_gauges_that_load_or_time_move_are_foretold(hall: Path) -> None:
    history = from_recording(hall, (), None)
    assert "gpu_temperature_celsius" in history.metrics
    assert not any(name.endswith("_total") for name in history.metrics)
    assert history.values.shape == (len(history.series), len(history.times))
    assert set(np.diff(history.times).tolist()) == {MINUTE}
    assert np.isfinite(history.values).mean() > 0.9


def test_one_metric_can_be_chosen_and_an_unknown_one_is_refused(hall: Path) -> None:
    history = from_recording(hall, ("gpu_temperature_celsius",), 2 * MINUTE)
    assert history.metrics == ("gpu_temperature_celsius",)
    assert len(history.series) == 32
    with pytest.raises(ConfigError, match="no metric 'gpu_temprature'"):
        from_recording(hall, ("gpu_temprature",), None)


def test_what_the_metric_store_holds_is_read_as_from_a_recording(hall: Path, tmp_path: Path) -> None:
    recording = Recording(hall)
    store = ParquetStore(tmp_path / "metrics")
    store.write(block for _, block in recording.blocks(10 * MINUTE) if len(block))
    store.flush()
    store.close()
    settings = Settings(storage=StorageConfig(folder=tmp_path))
    first, last = recording.span
    stored = from_store(settings, ("gpu_power_watts",), None, first, last)
    told = from_recording(hall, ("gpu_power_watts",), None)
    assert stored.series == told.series
    np.testing.assert_array_equal(stored.times, told.times)
    np.testing.assert_allclose(stored.values, told.values)


def test_files_of_other_moments_meet_on_one_grid(tmp_path: Path) -> None:
    for name, start in (("a", 0), ("b", 300)):
        times = 1_800_000_000 + np.arange(start, start + 600, 60)
        pd.DataFrame({"t": times, "x": np.arange(10.0), "y": 1.0}).to_csv(tmp_path / f"{name}.csv", index=False)
    history = from_tables([tmp_path], None)
    assert history.series == ("a/x", "a/y", "b/x", "b/y")
    assert history.values.shape == (4, 15)
    assert np.isnan(history.values[0]).tolist() == [False] * 10 + [True] * 5
    assert np.isnan(history.values[2]).tolist() == [True] * 5 + [False] * 10


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--kind", "forest", "--seed", "-1"], "--seed -1"),
        (["--kind", "forest", "--batches", "0"], "--batches 0"),
        (["--kind", "forest", "--step", "0s"], "--step '0s'"),
        (["--kind", "forest", "--config", "nowhere.toml"], "nowhere.toml"),
    ],
)
def test_a_wrong_option_is_said_in_one_line(
    hall: Path, options: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(hall), *options]) == 2
    assert why in capsys.readouterr().err


def test_a_forest_needs_a_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_text("t,x\n0,1\n60,2\n")
    assert main(["train", str(tmp_path / "a.csv"), "--kind", "forest", "--models", str(tmp_path)]) == 2
    assert "learns from a recording" in capsys.readouterr().err


def test_without_the_extra_the_way_to_install_it_is_said(
    hall: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train, "find_spec", lambda name: None)
    assert main(["train", str(hall), "--kind", "forecast"]) == 2
    assert "`make forecast` installs it" in capsys.readouterr().err


def test_a_site_without_samples_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.toml").write_text("", encoding="utf-8")
    assert find_spec("torch") is None or main(["train", "--config", str(tmp_path / "c.toml")]) == 2
    assert find_spec("torch") is None or "no samples are stored there" in capsys.readouterr().err


def test_a_corrupt_champion_keeps_nobody_from_training(
    hall: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    heard = [
        (at * MINUTE, EntityRows("gpu", ("a", "b", "c"), random.normal(size=(20, 3)).astype(np.float32)))
        for at in range(200)
    ]
    monkeypatch.setattr(training_forest, "heard_of", lambda path, config, quiet: heard)
    models = tmp_path / "models"
    assert main(["train", str(hall), "--kind", "forest", "--models", str(models), "--quiet"]) == 0
    (version,) = [one for one in (models / KIND).iterdir() if one.is_dir()]
    (version / "weights.safetensors").write_bytes(b"")
    capsys.readouterr()
    assert main(["train", str(hall), "--kind", "forest", "--models", str(models), "--seed", "2", "--json"]) == 0
    assert "champion" not in json.dumps(json.loads(capsys.readouterr().out)["models"][0]["scores"])
