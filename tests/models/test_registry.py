from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from coldaisle.errors import ConfigError
from models.artefact import CARD_FILE, WEIGHTS_FILE, Card, save
from models.registry import KEPT_MODELS, REGISTRY_FILE, Registry

CARD = Card("nhits", "v1", 10, 1, 9, ("gpu_power_watts",), {}, {"mase": 0.8}, 1)


def stored(folder: Path, version: str, kind: str = "nhits") -> Path:
    """Write a model somewhere else than in the registry."""
    path = folder / "trained" / version
    save(path, replace(CARD, version=version, kind=kind), {"w": np.arange(3.0)})
    return path


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A registry with champion v1 and challenger v2."""
    registry = Registry(tmp_path / "models")
    registry.add(stored(tmp_path, "v1"), 100)
    registry.promote("nhits", "v1", "the first", 101)
    registry.add(stored(tmp_path, "v2"), 102)
    return registry


def spoil(path: Path) -> None:
    with (path / WEIGHTS_FILE).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")


def test_without_models_nothing_decides_and_nothing_is_wrong(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "models")
    assert registry.champion("nhits") is None
    assert registry.challenger("nhits") is None
    assert (registry.jobs(), registry.entries(), registry.refused) == ([], [], [])
    assert not (tmp_path / "models").exists()


def test_an_added_model_is_tried_and_decides_nothing(registry: Registry) -> None:
    assert registry.champion("nhits") == registry.place("nhits", "v1")
    assert registry.challenger("nhits") == registry.place("nhits", "v2")


def test_kinds_that_do_one_job_share_its_champion(registry: Registry) -> None:
    assert registry.champion("tft") == registry.champion("forecast") == registry.champion("nhits")
    assert registry.champion("isolation_forest") is None


def test_a_promoted_challenger_decides_and_is_no_challenger_any_more(registry: Registry) -> None:
    registry.promote("forecast", "v2", "judged on October", 103)
    assert registry.champion("nhits") == registry.place("nhits", "v2")
    assert registry.challenger("nhits") is None
    last = registry.job("nhits").history[-1]
    assert (last.at, last.action, last.version, last.before, last.reason) == (
        103, "promoted", "v2", "v1", "judged on October",
    )  # fmt: skip


def test_rollback_goes_back_one_champion_at_a_time_and_at_last_to_none(registry: Registry) -> None:
    registry.promote("nhits", "v2", "", 103)
    assert registry.rollback("nhits", "worse at night", 104) == "v1"
    assert registry.champion("nhits") == registry.place("nhits", "v1")
    assert registry.rollback("nhits", "worse still", 105) is None
    assert registry.champion("nhits") is None
    with pytest.raises(ConfigError, match="nothing to go back from"):
        registry.rollback("nhits", "", 106)


def test_rollback_passes_over_a_champion_that_can_no_longer_be_loaded(registry: Registry, tmp_path: Path) -> None:
    registry.promote("nhits", "v2", "", 103)
    registry.add(stored(tmp_path, "v3"), 104)
    registry.promote("nhits", "v3", "", 105)
    spoil(registry.place("nhits", "v2"))
    assert registry.rollback("nhits", "", 106) == "v1"


def test_a_corrupt_model_is_not_added_and_everything_stays(registry: Registry, tmp_path: Path) -> None:
    bad = stored(tmp_path, "v3")
    spoil(bad)
    with pytest.raises(ConfigError, match="not what was saved"):
        registry.add(bad, 103)
    assert registry.champion("nhits") == registry.place("nhits", "v1")
    assert not registry.place("nhits", "v3").exists()


def test_a_corrupt_challenger_is_refused_and_the_champion_stays(registry: Registry) -> None:
    spoil(registry.place("nhits", "v2"))
    with pytest.raises(ConfigError, match="nothing was changed"):
        registry.promote("nhits", "v2", "", 103)
    assert registry.challenger("nhits") is None
    assert registry.champion("nhits") == registry.place("nhits", "v1")
    assert [path.name for path, _ in registry.refused] == ["v2"]


def test_where_the_champion_itself_is_spoilt_the_one_before_decides_with_a_reason(registry: Registry) -> None:
    registry.promote("nhits", "v2", "", 103)
    spoil(registry.place("nhits", "v2"))
    assert registry.champion("nhits") == registry.place("nhits", "v1")
    ((path, why),) = registry.refused
    assert path.name == "v2"
    assert "SHA-256" in why
    standing = {one.version: (one.standing, one.card is None) for one in registry.entries("nhits")}
    assert standing == {"v1": ("earlier", False), "v2": ("champion", True)}


def test_a_model_that_was_mended_is_no_longer_refused(registry: Registry, tmp_path: Path) -> None:
    path = registry.place("nhits", "v1")
    whole = (path / WEIGHTS_FILE).read_bytes()
    spoil(path)
    assert registry.champion("nhits") is None
    (path / WEIGHTS_FILE).write_bytes(whole + b"")
    assert registry.champion("nhits") == path
    assert registry.refused == []


def test_another_process_sees_what_was_promoted(registry: Registry) -> None:
    other = Registry(registry.folder)
    registry.promote("nhits", "v2", "", 103)
    assert other.champion("nhits") == registry.place("nhits", "v2")


def test_a_model_in_another_ones_place_is_refused(registry: Registry) -> None:
    registry.place("nhits", "v2").rename(registry.place("nhits", "v9"))
    with pytest.raises(ConfigError, match="holds version v2"):
        registry.promote("nhits", "v9", "", 103)
    with pytest.raises(ConfigError, match="already"):
        registry.promote("nhits", "v1", "", 103)


def test_names_cannot_leave_the_registry(registry: Registry) -> None:
    for name in ("../v1", "", ".hidden", "a/b"):
        with pytest.raises(ConfigError, match="names no model"):
            registry.promote("nhits", name, "", 103)


def test_shadowing_can_be_changed_and_ended(registry: Registry) -> None:
    registry.shadow("nhits", None, "enough", 103)
    assert registry.challenger("nhits") is None
    registry.shadow("nhits", "v2", "again", 104)
    assert registry.challenger("nhits") == registry.place("nhits", "v2")
    with pytest.raises(ConfigError, match="its own challenger"):
        registry.shadow("nhits", "v1", "", 105)


def test_what_both_scored_while_they_ran_is_kept_beside_each_other(registry: Registry) -> None:
    registry.note_live("nhits", {"v1": {"loss": 0.5}, "v2": {"loss": 0.4}}, 200)
    registry.note_live("nhits", {"v2": {"loss": 0.3}}, 300)
    live = registry.job("nhits").live
    assert (live["v1"].scores, live["v2"].scores, live["v2"].at) == ({"loss": 0.5}, {"loss": 0.3}, 300)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is not JSON"),
        ('{"format": 1', "is not JSON"),
        ('{"format": 9, "jobs": {}}', "newer Coldaisle"),
        ('{"format": 1, "jobs": {"forecast": {"champions": "v1"}}}', "champions"),
        ("[]", "move it away"),
    ],
)
def test_a_spoilt_register_is_told_and_the_champion_stays(registry: Registry, text: str, why: str) -> None:
    champion = registry.champion("nhits")
    (registry.folder / REGISTRY_FILE).write_text(text)
    assert registry.champion("nhits") == champion
    assert Registry(registry.folder).champion("nhits") is None
    assert why in registry.refused[0][1]
    with pytest.raises(ConfigError, match=REGISTRY_FILE):
        registry.promote("nhits", "v2", "", 103)
    assert (registry.folder / REGISTRY_FILE).read_text() == text


def test_two_who_promote_at_once_both_stand_in_the_history(registry: Registry, tmp_path: Path) -> None:
    names = [f"w{number}" for number in range(6)]
    for name in names:
        registry.add(stored(tmp_path, name), 103)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda name: Registry(registry.folder).promote("nhits", name, "", 104), names))
    champions = registry.job("nhits").champions
    assert set(champions) == {"v1", *names}
    assert json.loads((registry.folder / REGISTRY_FILE).read_text())["format"] == 1


def test_old_models_go_and_those_that_are_needed_stay(registry: Registry, tmp_path: Path) -> None:
    for number in range(KEPT_MODELS + 5):
        registry.add(stored(tmp_path, f"w{number:02d}"), 200 + number)
    names = {one.version for one in registry.entries("nhits")}
    assert "v1" in names  # the champion
    assert f"w{KEPT_MODELS + 4:02d}" in names  # the challenger
    assert len(names) <= KEPT_MODELS + 2


def test_a_folder_that_is_no_model_is_shown_as_refused(registry: Registry) -> None:
    (registry.folder / "forecast" / "strange").mkdir()
    refused = {one.version: one.refused for one in registry.entries("nhits") if one.card is None}
    assert list(refused) == ["strange"]
    assert CARD_FILE in refused["strange"]
