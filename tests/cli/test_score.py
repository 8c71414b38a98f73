"""``coldaisle score`` as its users meet it: files in, files out, the same rows in the same order."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli.main import main

ROWS = 420
FAULT = slice(360, 380)


def table(rows: int = ROWS, fault: bool = True, seed: int = 1) -> pd.DataFrame:
    """One entity at a row a minute: two metrics that belong together, one constant, one of its own."""
    random = np.random.default_rng(seed)
    load = random.normal(50.0, 2.0, rows)
    frame = pd.DataFrame({
        "time": pd.date_range("2026-03-01", periods=rows, freq="min").strftime("%Y-%m-%d %H:%M:%S"),
        "power_watts": load * 10 + random.normal(0.0, 2.0, rows),
        "load": load,
        "fans": np.full(rows, 4.0),
        "noise": random.normal(0.0, 1.0, rows),
    })  # fmt: skip
    if fault and rows > FAULT.start:
        frame.loc[FAULT.start : FAULT.stop - 1, "power_watts"] += 400.0
    return frame


def save(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_csv(path, index=False)
    return path


def score(tmp_path: Path, *arguments: object, output: str = "out") -> Path:
    assert main(["score", *map(str, arguments), "--output", str(tmp_path / output)]) == 0
    return tmp_path / output


def answer(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"timestamp": str})


def test_the_answer_has_the_same_rows_in_the_same_order_and_five_columns(tmp_path: Path) -> None:
    frame = table()
    scored = answer(score(tmp_path, save(frame, tmp_path / "node-1.csv")) / "node-1.csv")
    assert list(scored.columns) == ["timestamp", "anomaly_score", "is_anomaly", "top_metric", "explanation"]
    assert list(scored["timestamp"]) == list(frame["time"])
    known = scored["anomaly_score"].dropna()
    assert len(known) > ROWS // 2
    assert known.between(0, 1).all()
    assert set(scored["is_anomaly"]) <= {0, 1}


def test_it_is_silent_while_warming_up(tmp_path: Path) -> None:
    scored = answer(score(tmp_path, save(table(), tmp_path / "a.csv")) / "a.csv")[:100]
    assert scored["anomaly_score"].isna().all()
    assert scored["top_metric"].isna().all()
    assert (scored["is_anomaly"] == 0).all()


def test_a_fault_is_found_and_explained_by_its_metric(tmp_path: Path) -> None:
    scored = answer(score(tmp_path, save(table(), tmp_path / "a.csv")) / "a.csv")
    found = scored[scored["is_anomaly"] == 1]
    assert len(found) > 0
    assert found.index[0] in range(FAULT.start, FAULT.start + 3)
    first = found.iloc[0]
    assert first["top_metric"] == "power_watts"
    assert "power_watts is 9" in first["explanation"]
    assert "expected about" in first["explanation"]
    assert all(said.startswith("Goes on; began with power_watts") for said in found["explanation"].iloc[1:])
    assert scored[scored["is_anomaly"] == 0]["explanation"].isna().all()
    assert scored["top_metric"].notna().equals(scored["anomaly_score"].notna())


def test_history_is_learnt_first_so_that_the_first_row_has_a_score(tmp_path: Path) -> None:
    history = save(table(fault=False, seed=9), tmp_path / "history.csv")
    today = table(60, fault=False)
    today["time"] = pd.date_range("2026-03-02", periods=60, freq="min").strftime("%Y-%m-%dT%H:%M:%SZ")
    scored = answer(score(tmp_path, save(today, tmp_path / "today.csv"), "--train", history) / "today.csv")
    assert scored["anomaly_score"].notna().all()


def test_history_without_a_metric_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = save(table().drop(columns="load"), tmp_path / "history.csv")
    assert refused(tmp_path, capsys, save(table(), tmp_path / "a.csv"), "--train", history).count("'load'") == 1


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("whole")
    return answer(score(folder, save(table(), folder / "a.csv")) / "a.csv")


@settings(derandomize=True, max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(210, ROWS - 1))
def test_cutting_the_input_changes_no_earlier_row(tmp_path: Path, whole: pd.DataFrame, rows: int) -> None:
    part = answer(score(tmp_path, save(table()[:rows], tmp_path / "a.csv")) / "a.csv")
    pd.testing.assert_frame_equal(part, whole[:rows], check_dtype=False)


def test_rows_out_of_order_are_scored_in_order_and_answered_in_place(tmp_path: Path, whole: pd.DataFrame) -> None:
    order = np.random.default_rng(3).permutation(ROWS)
    mixed = answer(score(tmp_path, save(table().iloc[order], tmp_path / "a.csv")) / "a.csv")
    pd.testing.assert_frame_equal(mixed, whole.iloc[order].reset_index(drop=True), check_dtype=False)


def test_gaps_missing_values_and_duplicate_times_work(tmp_path: Path) -> None:
    frame = table().drop(index=range(250, 280)).reset_index(drop=True)
    frame = pd.concat([frame[:300], frame[295:]])
    frame["power_watts"] = frame["power_watts"].astype(object)
    frame.iloc[5:9, 1] = "inf"
    frame.iloc[40:60, 2] = np.nan
    frame.iloc[310, 1:] = np.nan
    frame["never"] = np.nan
    scored = answer(score(tmp_path, save(frame, tmp_path / "a.csv")) / "a.csv")
    assert len(scored) == len(frame)
    assert list(scored["timestamp"]) == list(frame["time"])
    assert pd.isna(scored["anomaly_score"][310])
    assert scored["anomaly_score"][311:].notna().all()


@pytest.mark.parametrize(("factor", "kind"), [(1, "s"), (10**3, "ms"), (10**6, "us"), (10**9, "ns")])
def test_an_epoch_may_be_of_any_unit(tmp_path: Path, whole: pd.DataFrame, factor: int, kind: str) -> None:
    frame = table()
    seconds = pd.to_datetime(frame["time"]).astype("datetime64[s]").astype("int64")
    frame["time"] = seconds * factor
    scored = answer(score(tmp_path, save(frame, tmp_path / f"{kind}.csv")) / f"{kind}.csv")
    assert list(scored["timestamp"]) == [str(moment) for moment in frame["time"]]
    pd.testing.assert_series_equal(scored["anomaly_score"], whole["anomaly_score"])


def test_parquet_is_read_and_written_too(tmp_path: Path, whole: pd.DataFrame) -> None:
    frame = table()
    frame["time"] = pd.to_datetime(frame["time"], utc=True)
    frame.to_parquet(tmp_path / "a.parquet", index=False)
    scored = pd.read_parquet(score(tmp_path, tmp_path / "a.parquet", "--format", "parquet") / "a.parquet")
    np.testing.assert_allclose(scored["anomaly_score"].astype(float), whole["anomaly_score"])
    assert scored["timestamp"][0] == "2026-03-01T00:00:00+00:00"


def test_a_folder_stands_for_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    for name in ("b.csv", "a.csv"):
        save(table(fault=False), tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("not a table")
    out = score(tmp_path, tmp_path / "in", "--json")
    assert sorted(path.name for path in out.iterdir()) == ["a.csv", "b.csv"]
    summary = json.loads(capsys.readouterr().out)
    assert [Path(one["input"]).name for one in summary["files"]] == ["a.csv", "b.csv"]
    assert summary["files"][0]["rows"] == ROWS
    assert summary["budget_false_events_per_day"] == 0.2


def test_columns_without_numbers_are_ignored_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = table(fault=False).assign(host="n1", label=0)
    score(tmp_path, save(frame, tmp_path / "a.csv"), "--json", "--exclude", "label")
    captured = capsys.readouterr()
    assert "no numbers in host" in captured.err
    assert json.loads(captured.out)["files"][0]["metrics"] == 4


def test_time_may_stand_in_any_column(tmp_path: Path, whole: pd.DataFrame) -> None:
    frame = table()[["power_watts", "load", "fans", "noise", "time"]]
    scored = answer(score(tmp_path, save(frame, tmp_path / "a.csv"), "--timestamp", "time") / "a.csv")
    pd.testing.assert_frame_equal(scored, whole)


def test_a_single_metric_is_scored_as_well(tmp_path: Path) -> None:
    frame = table()[["time", "power_watts"]]
    scored = answer(score(tmp_path, save(frame, tmp_path / "a.csv")) / "a.csv")
    assert (scored["is_anomaly"][FAULT] == 1).any()


def test_a_sensor_that_stands_still_is_explained_as_such(tmp_path: Path) -> None:
    frame = table(fault=False)[["time", "power_watts"]]
    frame.loc[FAULT.start : FAULT.start + 19, "power_watts"] = float(frame["power_watts"].median())
    scored = answer(score(tmp_path, save(frame, tmp_path / "a.csv")) / "a.csv")
    assert scored["explanation"][FAULT.start + 11].startswith("power_watts has stood still at 498.9 for 12 rows")


def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Return the one line with which the command refused, having written nothing."""
    before = sorted(tmp_path.rglob("*"))
    assert main(["score", *map(str, arguments), "--output", str(tmp_path / "out")]) == 2
    assert sorted(tmp_path.rglob("*")) == before
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        ("time,load\n", "no rows"),
        ("time,host\n2026-01-01,n1\n", "no numeric column"),
        ("time\n2026-01-01\n", "no numeric column"),
        ("time,load\n2026-01-01,1\nyesterday,2\n", "column 'time', row 2: 'yesterday' is not a time"),
        ("time,load\n2026-01-01,1\n,2\n", "row 2"),
        ("time,load\n1e30,1\n2e30,2\n", "not a time"),
        ("time,load\n2026-01-01,1,2,3\n", "a.csv"),
    ],
)
def test_a_file_that_cannot_be_scored_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, says: str
) -> None:
    (tmp_path / "a.csv").write_text(content)
    error = refused(tmp_path, capsys, tmp_path / "a.csv")
    assert "a.csv" in error
    assert says in error


def test_a_missing_time_column_names_what_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(tmp_path, capsys, save(table(), tmp_path / "a.csv"), "--timestamp", "when")
    assert "'when'" in error
    assert "power_watts" in error


def test_one_bad_file_among_good_ones_leaves_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(table(), tmp_path / "good.csv")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really")
    assert "bad.parquet" in refused(tmp_path, capsys, tmp_path / "good.csv", tmp_path / "bad.parquet")


def test_a_truncated_gzip_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole_bytes = gzip.compress(table().to_csv(index=False).encode())
    (tmp_path / "a.csv.gz").write_bytes(whole_bytes[: len(whole_bytes) // 2])
    assert "a.csv.gz" in refused(tmp_path, capsys, tmp_path / "a.csv.gz")


def test_two_inputs_of_one_name_and_an_output_over_its_input_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    one, two = save(table(), tmp_path / "a.csv"), save(table(), tmp_path / "other" / "a.csv")
    assert "two inputs" in refused(tmp_path, capsys, one, two)
    assert main(["score", str(one), "--output", str(tmp_path)]) == 2
    pd.testing.assert_frame_equal(pd.read_csv(one), pd.read_csv(two))


@pytest.mark.parametrize("budget", ["0", "-1", "nan"])
def test_a_budget_that_means_nothing_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], budget: str
) -> None:
    assert "--budget" in refused(tmp_path, capsys, save(table(), tmp_path / "a.csv"), f"--budget={budget}")


def test_a_path_that_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such file" in refused(tmp_path, capsys, tmp_path / "nowhere.csv")


def test_an_output_below_a_file_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table_file = save(table(), tmp_path / "a.csv")
    assert main(["score", str(table_file), "--output", str(tmp_path / "a.csv" / "out")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--output" in said
