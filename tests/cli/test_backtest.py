from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.main import main
from coldaisle.store.recording import RecordingWriter
from collectors.simulator.config import SimulatorConfig
from collectors.simulator.simulator import Simulator, record

pytestmark = pytest.mark.xdist_group("backtest")  # one hall for all of them


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine minutes of four nodes, a GPU gone in it."""
    path = tmp_path_factory.mktemp("backtest") / "hall"
    faults = [{"kind": "gpu_off_bus", "after_seconds": 240.0, "lasts_seconds": 180.0}]
    config = SimulatorConfig.model_validate(
        {"rows": 1, "racks_per_row": 1, "nodes_per_rack": 4, "seed": 5, "step_seconds": 10.0, "faults": faults}
    )
    with RecordingWriter(path) as writer:
        record(Simulator(config), 540.0, writer)
    return path


def rules_without_anything(folder: Path) -> Path:
    folder.mkdir()
    (folder / "none.toml").write_text("", encoding="utf-8")
    return folder


def test_without_rules_a_lost_gpu_is_told_by_nobody(
    hall: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = rules_without_anything(tmp_path / "rules")
    assert main(["backtest", str(hall), "--rules", str(rules), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["before"]["marks"]["recall"] == 1.0
    assert told["after"]["incidents"] < told["before"]["incidents"]
    assert told["only_before"]
    assert told["only_before"][0]["severity"] in ("page", "ticket")


@pytest.mark.slow
def test_the_text_counts_both_sides_and_ends_with_a_verdict(hall: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backtest", str(hall), "--budget", "0.5", "--quiet"]) == 0
    text = capsys.readouterr().out
    assert "before     after  difference" in text
    assert "recall" in text
    assert text.rstrip().splitlines()[-1].startswith("After the change: ")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ([], "before and after are the same"),
        (["--budget", "1"], "before and after are the same"),
        (["--budget", "0"], "alert_budget_per_1000_gpus_per_day"),
        (["--budget", "nan"], "alert_budget_per_1000_gpus_per_day"),
        (["--config", "nowhere.toml"], "nowhere.toml"),
        (["--rules", "nowhere"], "nowhere: no such folder of rules"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(
    hall: Path, options: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["backtest", str(hall), "--quiet", *options]) == 2
    assert why in capsys.readouterr().err


def test_what_is_no_recording_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backtest", str(tmp_path / "none"), "--budget", "2"]) == 2
    assert "no such folder" in capsys.readouterr().err
