"""The champion among forecasters is taken up by whoever scores, and whatever is wrong with it is said in one line."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cli import trained
from cli.doctor_models import models_can_be_loaded
from cli.settings import ModelsConfig, Settings
from cli.trained import ModelWatch, forecaster_of
from cli.wiring import bar_of, foresight_of, rules_of
from coldaisle.clock import HOUR, MINUTE, ManualClock
from coldaisle.frame import Frame, Sample
from coldaisle.prediction import Outcome, Prediction, by_rule
from coldaisle.selfstats import SelfStats
from coldaisle.series import Series, labels
from coldaisle.topology import Topology
from models.artefact import CARD_FILE, WEIGHTS_FILE, Card, save
from models.forecast.neural import train_neural
from models.forecast.served import PathForecaster, ServedForecaster
from models.forecast.windows import Table
from models.registry import Registry
from pipeline.engine_settings import EngineSettings
from pipeline.scoring import Engine
from pipeline.watch import Watch, ground_of
from tests.models.forecast.foreteller import Foreteller, card
from tests.pipeline.test_predictions import Deaf

INLET = "node_inlet_temperature_celsius"
START = 500_000 * HOUR

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None,
    reason="NO NEURAL FORECAST IS TESTED: torch is not installed; `make forecast` installs it",
)


def settings_in(folder: Path) -> Settings:
    return Settings(models=ModelsConfig(folder=folder / "models"))


def promoted(folder: Path, known: Card, arrays: dict[str, np.ndarray]) -> Path:
    registry = Registry(folder / "models")
    save(folder / known.version, known, arrays)
    place = registry.add(folder / known.version, 1)
    registry.promote(known.kind, known.version, "", 2)
    return place


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Which models were served; without torch."""
    folders: list[Path] = []

    def serve(folder: Path, known: Card, _stats: SelfStats) -> PathForecaster:
        folders.append(folder)
        return Foreteller(known, lambda history, _last: history)

    monkeypatch.setattr(trained, "ServedForecaster", serve)
    monkeypatch.setattr(trained, "find_spec", lambda name: object())
    return folders


def refused(folder: Path, caplog: pytest.LogCaptureFixture, stats: SelfStats | None = None) -> str:
    """Return the line that says why there is no forecaster."""
    settings, stats = settings_in(folder), stats or SelfStats()
    with caplog.at_level("WARNING", logger="coldaisle.models"):
        assert forecaster_of(settings, rules_of(settings), stats) is None
    assert stats.get("models_refused", job="forecast") == 1
    [record] = caplog.records
    assert "\n" not in record.getMessage()
    return record.getMessage()


def test_a_champion_is_served_and_none_is_fine(tmp_path: Path, served: list[Path]) -> None:
    settings, stats = settings_in(tmp_path), SelfStats()
    assert forecaster_of(settings, rules_of(settings), stats) is None
    place = promoted(tmp_path, card((INLET,)), {"a": np.ones(3)})
    forecaster = forecaster_of(settings, rules_of(settings), stats)
    assert forecaster is not None
    assert forecaster.card.version == "v7"
    assert served == [place]
    assert stats.get("models_refused", job="forecast") == 0
    unwanted = settings.model_copy(update={"engine": EngineSettings(early_warning=False)})
    assert forecaster_of(unwanted, rules_of(settings), stats) is None


def test_a_corrupt_champion_is_refused_and_the_one_before_it_serves(
    tmp_path: Path, served: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    first = promoted(tmp_path, card((INLET,)), {"a": np.ones(3)})
    second = promoted(tmp_path, replace(card((INLET,)), version="v8"), {"a": np.ones(3)})
    (second / WEIGHTS_FILE).write_bytes(b"x")
    settings, stats = settings_in(tmp_path), SelfStats()
    forecaster = forecaster_of(settings, rules_of(settings), stats)
    assert forecaster is not None
    assert forecaster.card.version == "v7"
    (first / WEIGHTS_FILE).write_bytes(b"x")
    with caplog.at_level("WARNING", logger="coldaisle.models"):
        assert forecaster_of(settings, rules_of(settings), stats) is None
    assert stats.get("models_refused", job="forecast") == 2
    assert caplog.text.count(WEIGHTS_FILE) >= 2


def test_a_champion_of_a_newer_version_is_refused(
    tmp_path: Path, served: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    path = promoted(tmp_path, card((INLET,)), {"a": np.ones(3)}) / CARD_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    assert "newer" in refused(tmp_path, caplog)
    assert not served


@pytest.mark.parametrize(
    ("known", "why"),
    [
        (card(("unheard_of", "gpu_utilization_ratio")), "learnt no metric that a rule sets a limit for"),
        (card((INLET,), step_seconds=2.0), "--step 1m"),
    ],
)
def test_a_champion_of_other_metrics_or_steps_is_refused(
    known: Card, why: str, tmp_path: Path, served: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    promoted(tmp_path, known, {"a": np.ones(3)})
    assert why in refused(tmp_path, caplog)
    assert not served


def test_without_the_extra_the_light_forecaster_stays_and_doctor_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    promoted(tmp_path, card((INLET,)), {"a": np.ones(3)})
    monkeypatch.setattr(trained, "find_spec", lambda name: None)
    monkeypatch.setattr("cli.doctor_models.find_spec", lambda name: None)
    assert "`make forecast` installs it" in refused(tmp_path, caplog)
    findings = models_can_be_loaded(settings_in(tmp_path))
    assert [each.severity for each in findings] == ["ok", "warning"]
    assert "make forecast" in findings[1].remedy
    watch = ModelWatch(settings_in(tmp_path), SelfStats(), ManualClock(1000))
    watch.step()
    assert watch.versions == {}
    assert ["make forecast" in problem for problem in watch.problems] == [True]


# -- with a network ---------------------------------------------------------------------------------------------------


def waves(minutes: np.ndarray, nodes: int = 3) -> np.ndarray:
    """Inlets [nodes, minutes] that rise and fall between 21 and 37 degrees in 150 minutes, each in its own time."""
    random = np.random.default_rng(1)
    phase = random.uniform(0, 1, (nodes, 1))
    noise = random.normal(0, 0.2, (nodes, len(minutes)))
    return np.asarray(29.0 + 8.0 * np.sin(2 * np.pi * (minutes / 150.0 + phase)) + noise)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry whose champion has learnt two days of waves."""
    folder = tmp_path_factory.mktemp("network")
    minutes = np.arange(-2 * 24 * 60, 0)
    table = Table(START + minutes * MINUTE, waves(minutes))
    promoted(folder, *_trained(table))
    return folder


def _trained(table: Table) -> tuple[Card, dict[str, np.ndarray]]:
    return train_neural(
        "nhits", table.part(0, 2400), 60, 120, seed=1, created_at=5, metrics=(INLET,), batches=60,
        calibration=table.part(2300, 2880),
    )  # fmt: skip


@contextmanager
def serving(folder: Path) -> Iterator[tuple[Settings, SelfStats, ServedForecaster]]:
    settings, stats = settings_in(folder), SelfStats()
    forecaster = forecaster_of(settings, rules_of(settings), stats)
    assert isinstance(forecaster, ServedForecaster)
    try:
        yield settings, stats, forecaster
    finally:
        forecaster.close()


def whole(settings: Settings, forecaster: PathForecaster | None) -> Engine:
    rules = rules_of(settings)
    bar, ahead = bar_of(settings, rules, SelfStats()), foresight_of(settings, forecaster)
    return Engine(
        bar.detectors, bar.calibrator, rules, Topology(), settings.engine, SelfStats(), ahead, bar.entities
    )  # fmt: skip


def watch(settings: Settings, forecaster: PathForecaster | None) -> Watch:
    """An engine that judges nothing, which is quicker: predictions come from the watch."""
    topology, ahead = Topology(), foresight_of(settings, forecaster)
    ground = ground_of(topology, settings.engine)
    return Watch(ground, topology, rules_of(settings), settings.engine, SelfStats(), lambda _: Deaf(), ahead)


def lived(stage: Engine | Watch, together: int = 1) -> list[Prediction]:
    """Show four hours of waves and a half, so many minutes at a time; return what became of each prediction."""
    minutes = np.arange(260)
    values = waves(minutes)
    last: dict[str, Prediction] = {}
    for begin in range(0, len(minutes), together):
        frames = []
        for minute in range(begin, begin + together):
            for node, value in enumerate(values[:, minute].tolist()):
                sample = Sample(Series(INLET, labels(node=f"n{node}")), START + minute * MINUTE, value)
                frames.append(Frame.of("test", f"n{node}", [sample]))
        found = stage.process(frames, START + (begin + together) * MINUTE)
        last.update((each.prediction.id, each.prediction) for each in found if each.prediction is not None)
    return list(last.values())


def leads(told: list[Prediction]) -> list[float]:
    """Minutes by which crossings were foretold, of the hits."""
    return [one.lead_seconds / 60 for one in told if one.outcome is Outcome.HIT and one.lead_seconds is not None]


@needs_torch
@pytest.mark.slow
@pytest.mark.xdist_group("torch")  # ten seconds to import: once
@pytest.mark.timeout(900)  # importing torch and lightning takes minutes where all cores are busy
def test_an_engine_with_a_champion_foretells_a_crossing_by_the_network(network: Path) -> None:
    with serving(network) as (settings, stats, forecaster):
        told = lived(whole(settings, forecaster))
        assert lived(watch(settings, forecaster), 20) == told  # whenever samples come, and however long an answer takes
        assert stats.get("forecasts_failed_total") == 0
        version = forecaster.card.version
    by_network = [one for one in told if one.model == "limit_warning/nhits"]
    assert {one.version for one in by_network} == {version}
    assert {one.outcome for one in by_network} <= {Outcome.HIT, Outcome.OPEN}
    assert "by the trained forecaster nhits" in by_network[0].reasons[0].text
    assert by_rule(told)["inlet_above_allowable (nhits)"].hits >= 3
    # A wave that still falls shows no trend; who has learnt it knows when it comes back.
    assert min(leads(by_network)) >= 30
    assert max(leads(lived(watch(settings, None)))) <= 15
