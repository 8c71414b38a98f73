from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cli.evaluation_marks import DEFAULT, chosen
from cli.main import main
from coldaisle.errors import ConfigError
from coldaisle.store.recording import RecordingWriter
from collectors.simulator.config import SimulatorConfig
from collectors.simulator.simulator import Simulator, record
from models.marks import auc_pr, event_f1

ROWS = 900


def series(seed: int, event: bool = True) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    load = np.sin(np.arange(2 * ROWS) / 30) + random.normal(0, 0.05, 2 * ROWS)
    values = np.stack([load * 2, load * 3 + 1, random.normal(0, 1, 2 * ROWS)], axis=1)
    labels = np.zeros(ROWS, int)
    if event:
        values[ROWS + 600 : ROWS + 660, 0] += 9.0
        labels[600:660] = 1
    return values, labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two npz files with history, a CSV file with labels and one without."""
    place = tmp_path_factory.mktemp("evaluate") / "machines"
    place.mkdir()
    for seed in (1, 2):
        values, labels = series(seed)
        np.savez(place / f"m{seed}.npz", train=values[:ROWS], test=values[ROWS:], label=labels)
    values, labels = series(3)
    times = pd.date_range("2026-01-01", periods=ROWS, freq="5min").astype(str)
    table = pd.DataFrame({"timestamp": times, "load": values[ROWS:, 0], "Label": labels})
    table.to_csv(place / "t.csv", index=False)
    table.drop(columns="Label").to_csv(place / "unlabelled.csv", index=False)
    (place / "README.txt").write_text("nothing to read here")
    return place


def evaluated(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main(["evaluate", *map(str, words), "--jobs", "1", "--quiet"])
    out, err = capsys.readouterr()
    return code, out, err


def test_noise_and_the_classic_method_are_always_in_the_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = evaluated(capsys, folder / "m1.npz", "--detectors", "reconstruction")
    assert code == 0
    names = [line.split("  ")[0] for line in out.splitlines()]
    assert names.count("random") == names.count("pca") == names.count("reconstruction") == 2  # marks and reliability
    assert "VUS-PR" in out
    assert "chosen without labels" in out


def test_json_holds_every_file_the_means_and_the_reliability(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = evaluated(capsys, folder, "--json")
    assert code == 0
    (told,) = json.loads(out)["sets"]
    assert told["set"] == "machines"
    assert [one["name"] for one in told["files"]] == ["m1", "m2", "t"]
    means = {row["detector"]: row for row in told["means"]}
    assert means["coldaisle --train"]["files"] == 2  # the CSV file has no history
    assert means["pca"]["vus_pr"] > means["random"]["vus_pr"]
    assert 0 <= means["coldaisle"]["event_f1"] <= 1
    stated = told["reliability"]["coldaisle"]
    assert stated[0]["stated"] == 0.1
    assert stated[0]["rows"] > 0
    assert json.loads(out)["uses_labels"] == ["vus_pr", "auc_pr", "oracle_event_f1"]


@pytest.mark.integration
def test_two_processes_give_what_one_gives(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--detectors", "pca", "--json", "--quiet"]
    assert main(["evaluate", str(folder), *options, "--jobs", "2"]) == 0
    two = capsys.readouterr().out
    assert main(["evaluate", str(folder), *options, "--jobs", "1"]) == 0
    assert capsys.readouterr().out == two


def test_the_page_needs_nothing_else_and_draws_every_file(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "report.html"
    assert evaluated(capsys, folder, "--html", page, "--detectors", "pca")[0] == 0
    text = page.read_text(encoding="utf-8")
    assert "http" not in text.replace("http-equiv", "")
    assert text.count('class="file"') == 3
    assert text.count('class="event"') == 3
    assert "prefers-color-scheme:dark" in text
    assert not re.search(r"\b(nan|None|inf)\b", text)
    assert len(text) < 400_000


@pytest.mark.parametrize("metrics", [1, 2])
def test_the_row_coldaisle_is_what_the_command_score_gives(
    tmp_path: Path, metrics: int, capsys: pytest.CaptureFixture[str]
) -> None:
    values, labels = series(4)
    times = pd.date_range("2026-01-01", periods=ROWS, freq="1min").astype(str)
    columns = {f"m{number}": values[ROWS:, number] for number in range(metrics)}
    pd.DataFrame({"timestamp": times, **columns, "label": labels}).to_csv(tmp_path / "a.csv", index=False)
    code, out, _ = evaluated(capsys, tmp_path / "a.csv", "--detectors", "coldaisle", "--json")
    assert code == 0
    mark = json.loads(out)["sets"][0]["files"][0]["detectors"]["coldaisle"]
    assert main(["score", str(tmp_path / "a.csv"), "--exclude", "label", "--output", str(tmp_path / "out")]) == 0
    given = pd.read_csv(tmp_path / "out" / "a.csv")
    scores = given["anomaly_score"].fillna(-1.0).to_numpy()
    assert mark["event_f1"] == pytest.approx(event_f1(labels > 0, given["is_anomaly"].to_numpy() > 0))
    assert mark["auc_pr"] == pytest.approx(auc_pr(labels > 0, scores), abs=0.02)  # the file holds six digits


def test_the_interval_decides_what_a_day_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def days(*options: str) -> float:
        out = evaluated(capsys, folder / "m1.npz", "--detectors", "pca", "--json", *options)[1]
        return float(json.loads(out)["sets"][0]["files"][0]["days"])

    assert days() == pytest.approx(ROWS / 1440)
    assert days("--interval", "5m") == pytest.approx(ROWS / 288)
    assert days("--interval", "machines=10m", "--interval", "other=1h") == pytest.approx(ROWS / 144)


def test_a_recording_with_truth_is_judged_by_the_whole_pipeline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faults = [{"kind": "gpu_off_bus", "after_seconds": 240.0, "lasts_seconds": 120.0}]
    config = SimulatorConfig.model_validate(
        {"rows": 1, "racks_per_row": 1, "nodes_per_rack": 2, "seed": 5, "step_seconds": 10.0, "faults": faults}
    )
    with RecordingWriter(tmp_path / "hall") as writer:
        record(Simulator(config), 420.0, writer)
    code, out, _ = evaluated(capsys, tmp_path / "hall", "--html", tmp_path / "page.html")
    assert code == 0
    assert "recordings" in out
    assert "1/1" in out
    assert "<h2>Recordings</h2>" in (tmp_path / "page.html").read_text()


def test_a_file_without_an_event_is_judged_by_its_false_alarms(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values, labels = series(1, event=False)
    np.savez(tmp_path / "calm.npz", test=values[ROWS:], label=labels)
    code, out, _ = evaluated(
        capsys, tmp_path / "calm.npz", "--detectors", "pca", "--json", "--html", tmp_path / "p.html"
    )
    mark = json.loads(out)["sets"][0]["files"][0]["detectors"]["pca"]
    assert code == 0
    assert (mark["vus_pr"], mark["event_f1"], mark["events"]) == (None, None, 0)
    assert mark["false_per_day"] >= 0


def test_detectors_are_named_or_all() -> None:
    assert chosen(None) == DEFAULT
    assert chosen("forest, trained") == ("random", "pca", "forest", "coldaisle --train")
    assert set(chosen("all")) >= set(DEFAULT)
    for wrong in ("magic", "pca,magic", ","):
        with pytest.raises(ConfigError, match="there are random"):
            chosen(wrong)


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({"test": np.ones((5, 2))}, "no array 'label'"),
        ({"test": np.ones((5, 2)), "label": np.ones(4)}, "4 labels for 5 rows"),
        ({"test": np.ones((5, 2)), "label": np.ones(5), "train": np.ones((5, 3))}, "train has 3 columns"),
        ({"test": np.array([["a"]]), "label": np.ones(1)}, "rows of numbers are needed"),
        ({"test": np.array([{}], object), "label": np.ones(1)}, "cannot be read as npz"),
    ],
)
def test_a_broken_npz_file_is_refused_by_name(
    tmp_path: Path,
    arrays: dict[str, np.ndarray],
    why: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    np.savez(tmp_path / "x.npz", **arrays)  # type: ignore[arg-type]
    code, _, err = evaluated(capsys, tmp_path / "x.npz")
    assert code == 2
    assert why in err
    assert "x.npz" in err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("nowhere",), "no such file or folder"),
        (("{folder}/unlabelled.csv",), "without labels nothing can be judged"),
        (("{folder}/README.txt",), "neither npz, CSV, Parquet nor a recording"),
        (("{folder}", "--budget", "0"), "--budget 0"),
        (("{folder}", "--interval", "often"), "--interval 'often'"),
        (("{folder}", "--interval", "0s"), "cannot stand at the same time"),
        (("{folder}", "--html", "nowhere/page.html"), "no such folder to write into"),
    ],
)
def test_a_wrong_question_is_refused(
    folder: Path, words: tuple[str, ...], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = evaluated(capsys, *(word.replace("{folder}", str(folder)) for word in words))
    assert code == 2
    assert why in err
