"""What ``coldaisle score`` makes of time columns that are no dates, and of dull files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cli.main import main
from cli.score_files import read
from coldaisle.errors import ConfigError

MINUTE_NS = 60 * 10**9


def times(tmp_path: Path, column: list[object]) -> list[int]:
    path = tmp_path / "one.csv"
    pd.DataFrame({"t": column, "value": np.arange(len(column)) * 1.0}).to_csv(path, index=False)
    return list(read(path, None, ()).timestamps)


def scored(tmp_path: Path, frame: pd.DataFrame) -> pd.DataFrame:
    path = tmp_path / "one.csv"
    frame.to_csv(path, index=False)
    assert main(["score", str(path), "--output", str(tmp_path / "out")]) == 0
    return pd.read_csv(tmp_path / "out" / "one.csv", dtype={"timestamp": str})


def test_row_numbers_count_minutes(tmp_path: Path) -> None:
    assert times(tmp_path, [0, 1, 2, 3]) == [0, MINUTE_NS, 2 * MINUTE_NS, 3 * MINUTE_NS]


def test_the_usual_step_is_a_minute_whatever_it_counts(tmp_path: Path) -> None:
    assert times(tmp_path, [10, 20, 30, 50]) == [0, MINUTE_NS, 2 * MINUTE_NS, 4 * MINUTE_NS]
    assert times(tmp_path, [0.0, 0.25, 0.5, 0.75]) == [0, MINUTE_NS, 2 * MINUTE_NS, 3 * MINUTE_NS]


def test_an_epoch_stays_an_epoch(tmp_path: Path) -> None:
    assert times(tmp_path, [1_700_000_000, 1_700_000_010]) == [1_700_000_000 * 10**9, 1_700_000_010 * 10**9]


def test_counters_may_stand_still_go_back_and_leap(tmp_path: Path) -> None:
    assert times(tmp_path, [3, 1, 1, 2]) == [2 * MINUTE_NS, 0, 0, MINUTE_NS]
    assert times(tmp_path, [7, 7]) == [0, 0]
    assert times(tmp_path, [0.0, 1e-9, 2e-9, 9e7])[-1] > 0


def test_a_first_column_that_runs_to_and_fro_is_no_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.DataFrame({"Data": np.sin(np.arange(300) / 5.0), "Label": 0})
    frame.to_csv(tmp_path / "one.csv", index=False)
    assert main(["score", str(tmp_path / "one.csv"), "--output", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "'Data', holds no times" in said
    assert "--no-timestamp" in said
    path = str(tmp_path / "one.csv")
    assert main(["score", path, "--output", str(tmp_path / "out"), "--no-timestamp", "--exclude", "Label"]) == 0
    answer = pd.read_csv(tmp_path / "out" / "one.csv")
    assert answer["timestamp"].tolist() == list(range(300))
    assert set(answer["top_metric"].dropna()) == {"Data"}


def test_somebody_may_say_that_shuffled_numbers_are_times(tmp_path: Path) -> None:
    shuffled = np.random.default_rng(0).permutation(300)
    frame = pd.DataFrame({"row": shuffled, "value": np.sin(shuffled / 5.0)})
    frame.to_csv(tmp_path / "one.csv", index=False)
    assert list(read(tmp_path / "one.csv", "row", ()).timestamps // MINUTE_NS) == shuffled.tolist()
    with pytest.raises(ConfigError, match="holds no times"):
        read(tmp_path / "one.csv", None, ())


def test_a_later_row_does_not_change_when_the_earlier_ones_were(tmp_path: Path) -> None:
    rows: list[object] = [float(at) for at in range(60)]
    assert times(tmp_path, [*rows, *(60.0 + 5.0 * at for at in range(300))])[:60] == times(tmp_path, rows)


FRAMES = {
    "counted rows": pd.DataFrame({"n": np.arange(300), "value": np.random.default_rng(1).normal(size=300)}),
    "the same time always": pd.DataFrame({"n": np.zeros(200), "value": np.random.default_rng(1).normal(size=200)}),
    "backwards": pd.DataFrame({"n": np.arange(200)[::-1], "value": np.random.default_rng(1).normal(size=200)}),
    "a constant": pd.DataFrame({"n": np.arange(300), "value": 5.0}),
    "no value at all": pd.DataFrame({"n": np.arange(300), "value": 1.0, "void": np.full(300, np.nan)}),
    "fifty rows": pd.DataFrame({"n": np.arange(50), "value": np.random.default_rng(1).normal(size=50)}),
    "one row": pd.DataFrame({"n": [0], "value": [1.0]}),
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES.keys())
def test_odd_files_are_answered_row_by_row(tmp_path: Path, frame: pd.DataFrame) -> None:
    answer = scored(tmp_path, frame)
    assert len(answer) == len(frame)
    assert answer["is_anomaly"].isin([0, 1]).all()
