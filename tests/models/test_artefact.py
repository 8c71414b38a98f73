from __future__ import annotations

import json
import os
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from coldaisle.clock import DAY
from coldaisle.errors import ConfigError
from models.artefact import CARD_FILE, PAGE_FILE, WEIGHTS_FILE, Card, load, read_card, save, version_of

WEIGHTS: dict[str, NDArray[Any]] = {
    "depth": np.arange(12, dtype=np.int32).reshape(3, 4),
    "threshold": np.linspace(0, 1, 7),
    "leaf": np.array([True, False]),
    "scalar": np.array(2.5, dtype=np.float32),
    "none": np.zeros((0, 3)),
}
CARD = Card(
    kind="isolation_forest",
    version="2026-11-22T21-00-00Z-3f9a",
    created_at=20_000 * DAY,
    data_from=19_000 * DAY,
    data_to=19_990 * DAY,
    metrics=("gpu_power_watts", "gpu_temperature_celsius"),
    parameters={"trees": 100, "nested": {"a": [1, 2.5, None]}},
    scores={"vus_pr": 0.41},
    seed=7,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path / "model", CARD, WEIGHTS)
    return tmp_path / "model"


def rewrite(folder: Path, **changes: Any) -> None:
    """Change the card as one does who knows how it is checked."""
    path = folder / CARD_FILE
    told = {**json.loads(path.read_text()), **changes}
    del told["sha256"]
    told["sha256"] = sha256(json.dumps(told, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    path.write_text(json.dumps(told))


def put_weights(folder: Path, data: bytes) -> None:
    (folder / WEIGHTS_FILE).write_bytes(data)
    rewrite(folder, weights={"bytes": len(data), "sha256": sha256(data).hexdigest()})


def safetensors_of(header: Any, body: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def test_a_model_comes_back_as_it_was_saved(folder: Path) -> None:
    card, back = load(folder, CARD.kind, CARD.metrics)
    assert card == CARD
    assert read_card(folder) == CARD
    assert set(back) == set(WEIGHTS)
    for name, array in WEIGHTS.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)
        assert back[name].flags.writeable


def test_people_find_a_page_that_says_what_it_is_for_and_how_good_it_was(folder: Path) -> None:
    page = (folder / PAGE_FILE).read_text()
    assert "isolation_forest" in page
    assert "vus_pr | 0.41" in page
    assert "990.0 days" in page


def test_names_from_data_do_not_draw_on_the_page(tmp_path: Path) -> None:
    save(tmp_path / "m", replace(CARD, metrics=("<script>", "a|b`c\n# d")), WEIGHTS)
    page = (tmp_path / "m" / PAGE_FILE).read_text()
    assert "<script>" not in page
    assert "\n# d" not in page


def test_a_folder_holds_no_leavings_of_writing(folder: Path) -> None:
    assert os.listdir(folder.parent) == ["model"]
    assert sorted(os.listdir(folder)) == sorted([CARD_FILE, PAGE_FILE, WEIGHTS_FILE])


def test_a_model_is_never_written_over(folder: Path) -> None:
    with pytest.raises(ConfigError, match="already there"):
        save(folder, CARD, {"other": np.ones(1)})
    assert set(load(folder, CARD.kind)[1]) == set(WEIGHTS)
    assert os.listdir(folder.parent) == ["model"]


def test_a_view_is_stored_as_it_reads(tmp_path: Path) -> None:
    whole = np.arange(24.0).reshape(4, 6)
    save(tmp_path / "m", CARD, {"turned": whole.T[::2]})
    np.testing.assert_array_equal(load(tmp_path / "m", CARD.kind)[1]["turned"], whole.T[::2])


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (np.array(["a"]), "cannot be stored"),
        (np.array([None]), "cannot be stored"),
        (np.array([1.0, np.nan]), "not finite"),
        (np.array([np.inf], dtype=np.float32), "not finite"),
    ],
)
def test_what_is_no_weight_is_not_stored(tmp_path: Path, array: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        save(tmp_path / "m", CARD, {"bad": array})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("change", [{"version": "../x"}, {"kind": "a/b"}, {"scores": {"mase": float("nan")}}])
def test_a_card_that_cannot_be_kept_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"cannot name|leave out"):
        save(tmp_path / "m", replace(CARD, **change), WEIGHTS)


@pytest.mark.parametrize("file", [CARD_FILE, WEIGHTS_FILE])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused_by_name(folder: Path, file: str, share: float) -> None:
    path = folder / file
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ConfigError, match=file):
        load(folder, CARD.kind)


@pytest.mark.parametrize("file", [CARD_FILE, WEIGHTS_FILE])
def test_a_missing_file_is_refused_by_name(folder: Path, file: str) -> None:
    (folder / file).unlink()
    with pytest.raises(ConfigError, match=f"{file}: no such file"):
        load(folder, CARD.kind)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such model"):
        load(tmp_path / "nowhere", CARD.kind)


@given(data=st.data())
@settings(derandomize=True, max_examples=30, deadline=None)
def test_no_flipped_bit_goes_unseen(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("flipped") / "model"
    save(folder, CARD, WEIGHTS)
    path = folder / data.draw(st.sampled_from([CARD_FILE, WEIGHTS_FILE]))
    whole = bytearray(path.read_bytes())
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(whole)
    try:
        card, back = load(folder, CARD.kind)
    except ConfigError as error:
        told = str(error)
    else:  # a space in the layout of the JSON may change without changing what it says
        told = str(folder)
        assert card == CARD
        assert all(np.array_equal(back[name], array) for name, array in WEIGHTS.items())
    assert str(folder) in told


def test_a_newer_format_is_refused_with_the_remedy(folder: Path) -> None:
    rewrite(folder, format=2, something="new")
    with pytest.raises(ConfigError, match=r"newer Coldaisle.*upgrade"):
        load(folder, CARD.kind)


def test_another_kind_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="'isolation_forest', not 'tft'"):
        load(folder, "tft")


@pytest.mark.parametrize(
    ("metrics", "why"),
    [
        (("gpu_power_watts", "fan_speed_ratio"), "no metric 'fan_speed_ratio'"),
        (("gpu_power_watts",), "from 'gpu_temperature_celsius'"),
        (("gpu_temperature_celsius", "gpu_power_watts"), "another order"),
    ],
)
def test_other_metrics_are_refused(folder: Path, metrics: tuple[str, ...], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        load(folder, CARD.kind, metrics)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": "7"},
        {"metrics": "gpu"},
        {"scores": {"a": None}},
        {"parameters": []},
        {"surplus": 1},
        {"created_at": 1.5},
    ],
)
def test_a_card_with_a_wrong_field_is_refused(folder: Path, change: dict[str, Any]) -> None:
    rewrite(folder, **change)
    with pytest.raises(ConfigError, match=next(iter(change))):
        load(folder, CARD.kind)


@pytest.mark.parametrize("text", ["", "[]", "null", "[" * 100_000, '{"format": 1', "\ufeff{}", '{"format": "1"}'])
def test_a_card_that_is_no_card_is_refused(folder: Path, text: str) -> None:
    (folder / CARD_FILE).write_text(text)
    with pytest.raises(ConfigError, match=CARD_FILE):
        read_card(folder)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 8,
        (1 << 60).to_bytes(8, "little") + b"{}",
        safetensors_of([1]),
        safetensors_of({"w": {"dtype": "F64", "shape": [1 << 40], "data_offsets": [0, 1 << 43]}}),
        safetensors_of({"w": {"dtype": "F64", "shape": [1 << 62, 1 << 62], "data_offsets": [0, 0]}}),
        safetensors_of({"w": {"dtype": "F64", "shape": [0, 1 << 62], "data_offsets": [0, 0]}}),
        safetensors_of({"w": {"dtype": "F64", "shape": [-1], "data_offsets": [0, 8]}}, b"\0" * 8),
        safetensors_of({"w": {"dtype": "F64", "shape": [1] * 9, "data_offsets": [0, 8]}}, b"\0" * 8),
        safetensors_of({"w": {"dtype": "F64", "shape": [True], "data_offsets": [0, 8]}}, b"\0" * 8),
        safetensors_of({"w": {"dtype": "OBJ", "shape": [1], "data_offsets": [0, 8]}}, b"\0" * 8),
        safetensors_of({"w": {"dtype": "F64", "shape": [1], "data_offsets": [8, 16]}}, b"\0" * 16),
        safetensors_of({"w": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}}, b"\0" * 16),
        safetensors_of({"w": "F64"}),
    ],
)
def test_absurd_shapes_and_headers_are_refused_before_anything_is_allocated(folder: Path, data: bytes) -> None:
    put_weights(folder, data)
    with pytest.raises(ConfigError, match=WEIGHTS_FILE):
        load(folder, CARD.kind)


def test_weights_that_are_not_numbers_are_refused_by_name(folder: Path) -> None:
    body = np.array([1.0, np.nan]).tobytes()
    put_weights(folder, safetensors_of({"bias": {"dtype": "F64", "shape": [2], "data_offsets": [0, 16]}}, body))
    with pytest.raises(ConfigError, match="'bias' holds a number that is not finite"):
        load(folder, CARD.kind)


def test_a_sparse_file_of_a_terabyte_is_refused_unread(folder: Path) -> None:
    with (folder / WEIGHTS_FILE).open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ConfigError, match="more than a model may"):
        load(folder, CARD.kind)


def test_a_pipe_in_the_place_of_a_file_is_refused_unread(folder: Path) -> None:
    (folder / CARD_FILE).unlink()
    os.mkfifo(folder / CARD_FILE)
    with pytest.raises(ConfigError, match="is not a file"):
        read_card(folder)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        save(tmp_path / "file" / "model", CARD, WEIGHTS)


def test_the_name_of_a_version_depends_on_the_weights_only_and_the_moment() -> None:
    name = version_of(CARD.created_at, WEIGHTS)
    assert name == version_of(CARD.created_at, dict(reversed(list(WEIGHTS.items()))))
    assert name != version_of(CARD.created_at, {**WEIGHTS, "scalar": np.array(2.0)})
    assert name.startswith("2024-10-04T00-00-00Z-")


@given(array=arrays(st.sampled_from([np.float64, np.int16, np.bool_]), array_shapes(max_dims=4), elements=None))
@settings(derandomize=True, max_examples=30, deadline=None)
def test_every_finite_array_survives(array: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any") / "m"
    kept = np.nan_to_num(array) if array.dtype.kind == "f" else array
    save(folder, CARD, {"w": kept})
    np.testing.assert_array_equal(load(folder, CARD.kind)[1]["w"], kept)
