from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from numpy.typing import NDArray

from cli.settings import ModelsConfig, Settings
from cli.trained import NOTED_NS, ModelWatch, entity_detector_of, shadow_scores
from coldaisle.clock import ManualClock
from coldaisle.entity_detector import EntityRows
from coldaisle.selfstats import SelfStats
from models.artefact import WEIGHTS_FILE, save
from models.forest_shadow import FAILED, Shadowed
from models.isolation_forest import KIND, Forest, fit
from models.registry import Registry

pytestmark = pytest.mark.xdist_group("trained")  # two forests for all of them
FEATURES = ("a", "b", "c")


def rows(seed: int, count: int = 800, far: float = 0.0) -> EntityRows:
    values = np.random.default_rng(seed).normal(far, 1, (count, 3)).astype(np.float32)
    return EntityRows("gpu", FEATURES, values)


@pytest.fixture(scope="module")
def two_forests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with a champion and a challenger: look, do not change it."""
    place = tmp_path_factory.mktemp("trained")
    registry = Registry(place / "models")
    for number, name in enumerate(("first", "second")):
        card, arrays = fit([rows(number)], 1, 2, 3, seed=number)
        save(place / name, replace(card, version=name), arrays)
        registry.add(place / name, number)
        if name == "first":
            registry.promote(KIND, name, "", number)
    return place / "models"


@pytest.fixture
def settings(two_forests: Path, tmp_path: Path) -> Settings:
    """A registry of one's own with a champion and a challenger."""
    copytree(two_forests, tmp_path / "models")
    return Settings(models=ModelsConfig(folder=tmp_path / "models"))


def folder(settings: Settings) -> Path:
    assert settings.models.folder is not None
    return settings.models.folder


def test_without_models_forests_grow_by_themselves(tmp_path: Path) -> None:
    detector = entity_detector_of(Settings(models=ModelsConfig(folder=tmp_path / "none")), SelfStats())
    assert detector.model_of("gpu") == ""
    assert not (tmp_path / "none").exists()


def test_the_champion_answers_and_the_challenger_is_only_counted(settings: Settings) -> None:
    stats = SelfStats()
    detector = entity_detector_of(settings, stats)
    alone = entity_detector_of(settings.model_copy(update={"models": ModelsConfig(folder=folder(settings))}), stats)
    Registry(folder(settings)).shadow(KIND, None, "", 9)
    champion = entity_detector_of(settings, SelfStats())
    assert isinstance(alone, Shadowed)
    assert detector.model_of("gpu") == "first"
    for far in (0.0, 9.0):
        shown = rows(5, 50, far)
        np.testing.assert_array_equal(detector.score(shown), champion.score(shown))
        np.testing.assert_array_equal(detector.reasons(shown), champion.reasons(shown))
    told = shadow_scores(stats)
    assert set(told) == {"first", "second"}
    assert told["second"]["rows"] == told["first"]["rows"] == 100
    assert told["second"]["strange_share"] >= 0.4
    assert told["second"]["both_strange_share"] <= told["second"]["strange_share"]


def test_a_corrupt_champion_is_told_and_scoring_starts(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    (folder(settings) / KIND / "first" / WEIGHTS_FILE).write_bytes(b"x")
    stats = SelfStats()
    with caplog.at_level("WARNING", logger="coldaisle.models"):
        detector = entity_detector_of(settings, stats)
    assert detector.model_of("gpu") == ""
    assert stats.get("models_refused", job=KIND) == 1
    assert WEIGHTS_FILE in caplog.text


def test_a_challenger_that_fails_is_asked_no_more(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stats = SelfStats()
    detector = entity_detector_of(settings, stats)
    before = detector.score(rows(5, 50))

    def broken(self: Forest, features: tuple[str, ...], values: NDArray[np.float32]) -> NDArray[np.float64]:
        if self.version == "second":
            raise ZeroDivisionError("a broken model")
        return honest(self, features, values)

    honest = Forest.score
    monkeypatch.setattr(Forest, "score", broken)
    for _ in range(2):
        np.testing.assert_array_equal(detector.score(rows(5, 50)), before)
    assert stats.total(FAILED) == 1
    assert caplog.text.count("asked no more") == 1


def test_what_both_counted_is_written_down_now_and_then(settings: Settings) -> None:
    stats, clock = SelfStats(), ManualClock(1000)
    watch = ModelWatch(settings, stats, clock)
    entity_detector_of(settings, stats).score(rows(5, 50))
    watch.step()
    assert Registry(folder(settings)).job(KIND).live == {}
    clock.advance(NOTED_NS / 1e9)
    watch.step()
    live = Registry(folder(settings)).job(KIND).live
    assert {version: each.scores["rows"] for version, each in live.items()} == {"first": 50, "second": 50}


def test_a_snapshot_of_a_shadowed_champion_is_the_champions(settings: Settings) -> None:
    shadowed = entity_detector_of(settings, SelfStats())
    Registry(folder(settings)).shadow(KIND, None, "", 9)
    champion = entity_detector_of(settings, SelfStats())
    assert shadowed.state().keys() == champion.state().keys()
    champion.restore(shadowed.state())
    np.testing.assert_array_equal(champion.score(rows(5, 50)), shadowed.score(rows(5, 50)))


def test_a_refused_model_is_a_sentence_on_the_health_page_until_it_is_mended(settings: Settings) -> None:
    clock = ManualClock(1000)
    watch = ModelWatch(settings, SelfStats(), clock)
    watch.step()
    assert (watch.problems, watch.versions) == ((), {f"model {KIND}": "first"})
    path = folder(settings) / KIND / "second" / WEIGHTS_FILE
    whole = path.read_bytes()
    path.write_bytes(b"x")
    clock.advance(61)
    watch.step()
    (problem,) = watch.problems
    assert problem.startswith("Model refused: ")
    assert WEIGHTS_FILE in problem
    path.write_bytes(whole)
    clock.advance(61)
    watch.step()
    assert watch.problems == ()
