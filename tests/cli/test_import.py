from __future__ import annotations

import argparse
import gzip
import os
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli.import_history import add_arguments, run
from cli.main import main
from cli.sensor_names import metric_name, split_unit, unit_of
from cli.sensor_status import status_word
from coldaisle.clock import SECOND, parse_rfc3339
from coldaisle.series import Series, labels
from coldaisle.store.recording import Recording

DATA = Path(os.environ.get("COLDAISLE_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
IPMI = DATA / "harvard_ipmi" / "ipmi_2025-06-03_numeric.csv.gz"
NAMES = "node,ts,sensor,value,unit,status"
LONG = ["--time-column", "ts", "--node-column", "node", "--metric-column", "sensor", "--value-column", "value"]
IPMITOOL = [*LONG, "--unit-column", "unit", "--status-column", "status"]
DAY = """\
n1,2025-06-03T00:01:00Z,Fan 1,4000,RPM,ok
n1,2025-06-03T00:00:00Z,CMOS Battery,2.4,Volts,nc
n1,2025-06-03T00:02:00Z,Fan 1,0,RPM,cr
n2,2025-06-03T00:02:00Z,Sys Power,na,Watts,ok
n1,2025-06-03T00:03:00Z,Fan 1,3900,RPM,ok
"""


def imported(folder: Path, text: str, *options: str, name: str = "day.csv") -> Recording:
    (folder / name).write_text(text)
    args = parsed(str(folder / name), "-o", str(folder / "out"), "--quiet", *options)
    assert run(args) == 0
    return Recording(folder / "out")


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def rows(recording: Recording) -> list[tuple[str, int, float]]:
    return [
        (recording.layout.series[i].metric, t // SECOND, v)
        for _, block in recording.blocks(60 * SECOND)
        for i, t, v in zip(block.index.tolist(), block.timestamps.tolist(), block.values.tolist(), strict=True)
    ]


def test_a_long_table_becomes_series_named_by_sensor_and_unit(tmp_path: Path) -> None:
    recording = imported(tmp_path, DAY, "--no-header", "--columns", NAMES, *IPMITOOL)
    assert recording.layout.series[0] == Series("cmos_battery_volts", labels(node="n1", sensor="CMOS Battery"))
    found = rows(recording)
    assert [(metric, value) for metric, _, value in found if metric != "sys_power_watts"] == [
        ("cmos_battery_volts", 2.4),
        ("fan_1_rpm", 4000.0),
        ("fan_1_rpm", 0.0),
        ("fan_1_rpm", 3900.0),
    ]
    assert [time for _, time, _ in found] == sorted(time for _, time, _ in found)
    assert [np.isnan(value) for metric, _, value in found if metric == "sys_power_watts"] == [True]


def test_a_changed_status_is_an_event_and_so_is_a_first_one_that_is_not_ok(tmp_path: Path) -> None:
    first, down, up = imported(tmp_path, DAY, "--no-header", "--columns", NAMES, *IPMITOOL).events()
    assert (first.kind, first.code, first.labels) == (
        "status",
        "non_critical",
        labels(node="n1", sensor="CMOS Battery"),
    )
    assert dict(first.attributes) == {"value": "2.4", "unit": "volts", "previous": ""}
    assert (down.code, down.attributes["previous"], down.timestamp) == (
        "critical",
        "ok",
        parse_rfc3339("2025-06-03T00:02:00Z"),
    )
    assert down.text == "Fan 1 of node n1 turned critical at 0 rpm; it was ok."
    assert (up.code, up.attributes["previous"]) == ("ok", "critical")


def test_a_wide_table_takes_its_node_from_the_file_or_the_option(tmp_path: Path) -> None:
    text = "time,GPU power (W),temp_celsius,state\n1763780400,300,61.5,idle\n1763780460,,62,busy\n"
    recording = imported(tmp_path, text, name="n7.csv")
    assert set(recording.layout.series) == {
        Series("gpu_power_watts", labels(node="n7", sensor="GPU power")),
        Series("temp_celsius", labels(node="n7", sensor="temp_celsius")),
    }
    assert sorted(rows(recording)) == [
        ("gpu_power_watts", 1763780400, 300.0),
        ("temp_celsius", 1763780400, 61.5),
        ("temp_celsius", 1763780460, 62.0),
    ]
    (tmp_path / "again").mkdir()
    assert {s.label("node") for s in imported(tmp_path / "again", text, "--node", "n9").layout.series} == {"n9"}


def test_parquet_is_read_as_it_is_typed(tmp_path: Path) -> None:
    table = pa.table(
        {
            "when": pa.array([1763780400_000, 1763780460_000], pa.int64()).cast(pa.timestamp("ms", "UTC")),
            "host": ["a", "b"],
            "power_kw": [1, 2],
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    assert main(["import", str(tmp_path / "x.parquet"), "-o", str(tmp_path / "out"), "--node-column", "host"]) == 0
    recording = Recording(tmp_path / "out")
    assert [series.label("node") for series in recording.layout.series] == ["a", "b"]
    assert [time for _, time, _ in rows(recording)] == [1763780400, 1763780460]


@pytest.mark.parametrize(
    "time",
    ["2025-11-22T03:00:00Z", "2025-11-22 03:00:00", "2025-11-22T04:00:00+01:00", "1763780400", "1763780400000",
     "1763780400.0", "1763780400000000000", "20251122T030000Z"],
)  # fmt: skip
def test_times_are_understood_in_every_usual_form(tmp_path: Path, time: str) -> None:
    assert rows(imported(tmp_path, f"time,a_watts\n{time},1\n")) == [("a_watts", 1763780400, 1.0)]


def test_rows_that_say_nothing_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "day.csv"
    path.write_text(
        "node,ts,sensor,value\nn1,1763780400,Fan,1\nn1,,Fan,2\n,1763780400,Fan,3\nn1,1763780400,Fan,x\nn1\n"
    )
    assert main(["import", str(path), "-o", str(tmp_path / "out"), *LONG]) == 0
    told = capsys.readouterr().out
    for reason in ("has no time", "names no node", "not a number", "has 1 cells, expected 4"):
        assert f"1 rows: {reason}" in told or f"1 rows: has a value that is {reason}" in told
    assert "2 samples of 1 series on 1 nodes" in told


def gz(text: bytes, cut: int = 0) -> bytes:
    data = gzip.compress(text)
    return data[: len(data) - cut]


BIG = ("node,ts,sensor,value\n" + "".join(f"n{i},1763780400,Fan,{i}\n" for i in range(5_000))).encode()


@pytest.mark.parametrize(
    ("data", "options", "reason"),
    [
        (BIG, [*LONG[:-1], "reading"], "has no column 'reading'; it has node, ts, sensor, value"),
        (b"", LONG, "is empty"),
        (gz(BIG, cut=2_000), LONG, "not whole"),
        (b"PAR1 and no more", LONG, "Parquet magic bytes not found"),
        (BIG.replace(b"1763780400", b"noon"), LONG, "'noon' is neither an ISO 8601 time nor an epoch"),
        (b"node,ts,sensor,value\n", LONG, "no row can be used"),
        (BIG, [*LONG, "--no-header"], "--no-header and --columns go together"),
        (BIG, LONG[2:], "--time-column is missing"),
        (BIG, ["--metric-column", "sensor"], "--metric-column and --value-column go together"),
        (b"a,a\n1,2\n", [], "column 'a' is there twice"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes, options: list[str], reason: str
) -> None:
    path = tmp_path / "day.csv"
    path.write_bytes(data)
    assert main(["import", str(path), "-o", str(tmp_path / "out"), "--quiet", *options]) == 2
    told = capsys.readouterr().err
    assert re.search(re.escape(reason), told)
    assert told.count("\n") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["day.csv"]


def test_what_is_missing_or_exists_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(tmp_path / "none.csv"), "-o", str(tmp_path / "out")]) == 2
    assert "none.csv: cannot be read: No such file" in capsys.readouterr().err
    (tmp_path / "day.csv").write_text("t,a\n1763780400,1\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").write_text("")
    assert main(["import", str(tmp_path / "day.csv"), "-o", str(tmp_path / "out"), "--quiet"]) == 2
    assert "out: exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sensor", "unit", "name"),
    [
        ("Sys Power", "Watts", "sys_power_watts"),
        ("Ambient Temp", "C", "ambient_temp_celsius"),
        ("PSU1 FAN_A DUTY", "percent", "psu1_fan_a_duty_percent"),
        ("Power Watts", "Watts", "power_watts"),
        ("RPM", "RPM", "rpm"),
        ("Chassis Intrusion", "unspecified", "chassis_intrusion"),
        ("Airflow", "CFM", "airflow_cubic_feet_per_minute"),
        ("12V", "Volts", "sensor_12v_volts"),
        ("Dust", "Grains", "dust_grains"),
    ],
)
def test_a_metric_is_the_sensor_with_its_base_unit_once(sensor: str, unit: str, name: str) -> None:
    assert metric_name(sensor, unit_of(unit)) == name


def test_units_are_brought_to_their_base() -> None:
    assert unit_of("kW").convert(np.array([1.5])).tolist() == [1500.0]
    assert unit_of("F").convert(np.array([212.0]))[0] == pytest.approx(100.0)
    assert split_unit("Fan (rear)") == ("Fan (rear)", "")
    assert [status_word(text) for text in ("ok", "NC", "nr", "Lower Critical")] == [
        "ok",
        "non_critical",
        "non_recoverable",
        "lower_critical",
    ]


@pytest.mark.integration
@pytest.mark.real_data
@pytest.mark.skipif(not IPMI.exists(), reason="the Harvard IPMI day is not there; set COLDAISLE_DATA")
def test_the_harvard_day_becomes_a_recording(tmp_path: Path) -> None:
    options = ["--no-header", "--columns", NAMES, *IPMITOOL, "--quiet"]
    assert run(parsed(str(IPMI), "-o", str(tmp_path / "day"), *options)) == 0
    recording = Recording(tmp_path / "day")
    assert len(recording) == 5_963_412
    assert len({series.label("node") for series in recording.layout.series}) == 1_691
    assert recording.interval_seconds == 60.0
    codes = [event.code for event in recording.events()]
    # 145 from ok to cr and one to nc, three between those, and two that begin unwell.
    assert (len(codes), codes.count("critical")) == (151, 148)
    assert sum(len(block) for _, block in recording.blocks(60 * SECOND)) == 5_963_412
