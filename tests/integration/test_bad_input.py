"""Bad input, each to a real process: one line with thing and remedy, exit code 2, nothing half-written."""

from __future__ import annotations

import fcntl
import gzip
import os
import resource
import socket
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coldaisle.clock import SECOND
from coldaisle.frame import Block
from coldaisle.series import Layout, Series, labels
from coldaisle.store.recording import RecordingWriter
from tests.integration.programme import coldaisle

pytestmark = pytest.mark.integration

LONG = ("--time-column", "ts", "--node-column", "node", "--metric-column", "sensor", "--value-column", "value")


def rows(count: int) -> str:
    lines = [f"2026-01-05T09:{n // 60 % 60:02}:{n % 60:02}Z,n{n % 7},fan{n % 5},{n % 997}.5" for n in range(count)]
    return "\n".join(["ts,node,sensor,value", *lines, ""])


def left_in(folder: Path) -> set[str]:
    """The names of everything in a folder, hidden things too."""
    return {path.name for path in folder.iterdir()}


# --- tables ------------------------------------------------------------------------------------------------------


def test_a_csv_without_a_column_that_was_named(tmp_path: Path) -> None:
    (tmp_path / "day.csv").write_text(rows(20).replace("sensor", "probe", 1))
    coldaisle("import", "day.csv", "-o", "day", *LONG, cwd=tmp_path).refused("day.csv", "'sensor'", "probe")
    assert left_in(tmp_path) == {"day.csv"}


def test_a_csv_without_the_time_that_was_named_cannot_be_scored(tmp_path: Path) -> None:
    (tmp_path / "day.csv").write_text("when,fan\n" + "".join(f"{n},{n}\n" for n in range(30)))
    coldaisle("score", "day.csv", "--output", "out", "--timestamp", "ts", cwd=tmp_path).refused(
        "day.csv", "'ts'", "when"
    )
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


@pytest.mark.parametrize("command", ["import", "score", "replay"])
def test_a_parquet_of_the_wrong_schema(tmp_path: Path, command: str) -> None:
    table = pa.table({"colour": ["red", "blue"], "weight": [[1.0], [2.0]]})
    folder = tmp_path / "recording"
    folder.mkdir()
    pq.write_table(table, folder / "samples.parquet")
    words = {
        "import": ("import", "recording/samples.parquet", "-o", "out", *LONG),
        "score": ("score", "recording/samples.parquet", "--output", "out"),
        "replay": ("replay", "recording"),
    }[command]
    coldaisle(*words, cwd=tmp_path).refused("samples.parquet")
    assert left_in(tmp_path) - {"out"} == {"recording"}
    assert not (tmp_path / "out").exists() or not left_in(tmp_path / "out")


@pytest.mark.parametrize("command", ["import", "score"])
def test_a_gzip_that_was_cut_short(tmp_path: Path, command: str) -> None:
    whole = gzip.compress(rows(20_000).encode())
    (tmp_path / "day.csv.gz").write_bytes(whole[: len(whole) // 2])
    words: tuple[object, ...] = ("import", "day.csv.gz", "-o", "out", *LONG, "--quiet")
    if command == "score":
        words = ("score", "day.csv.gz", "--output", "out")
    coldaisle(*words, cwd=tmp_path).refused("day.csv.gz")
    assert not (tmp_path / "out").exists() or not left_in(tmp_path / "out")
    assert left_in(tmp_path) - {"out"} == {"day.csv.gz"}


# --- configuration -----------------------------------------------------------------------------------------------

UP_FILES = {
    "a misspelt key": ("[storage]\nretention_day = 3\n", ("bad.toml", "retention_day", "'retention_days'")),
    "a misspelt section": ("[storge]\nfolder = 'x'\n", ("bad.toml", "'storage'")),
    "a collector there is not": ("[[collector]]\nkind = 'hots'\n", ("bad.toml", "'hots'", "host")),
    "a misspelt key of a collector": ("[[collector]]\nkind = 'host'\ninterval = 5\n", ("'interval_seconds'",)),
    "a text where a number belongs": ("[serve]\nport = 'eighty'\n", ("bad.toml", "serve.port")),
    "no TOML at all": ("[serve\nport = 1\n", ("bad.toml", "TOML")),
    "a variable that is not set": ("[serve]\ntoken = '${NO_SUCH_TOKEN}'\n", ("NO_SUCH_TOKEN", "set it")),
    "an open door without a token": ("[serve]\nhost = '0.0.0.0'\n", ("bad.toml", "token")),
    "a topology that is not there": ("topology = 'hall.toml'\n", ("hall.toml",)),
    "rules that are not there": ("rules = 'mine'\n", ("mine",)),
}


@pytest.mark.parametrize(("text", "words"), list(UP_FILES.values()), ids=list(UP_FILES))
def test_a_configuration_with_a_mistake(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    (tmp_path / "bad.toml").write_text(text)
    coldaisle("up", "--config", "bad.toml", "--port", 0, cwd=tmp_path).refused(*words)
    assert left_in(tmp_path) == {"bad.toml"}


def test_a_configuration_that_is_not_there(tmp_path: Path) -> None:
    coldaisle("up", "--config", "none.toml", cwd=tmp_path).refused("none.toml", "config/example.toml")


# --- the machine ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["up", "demo"])
def test_a_port_in_use(tmp_path: Path, command: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        coldaisle(command, "--port", port, "--data", "data", cwd=tmp_path).refused(f"port {port}", "--port")
    assert not list((tmp_path / "data").rglob("*.parquet"))


def test_a_data_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    coldaisle("up", "--port", 0, "--data", "file/data", cwd=tmp_path).refused("file/data", "--data")
    assert left_in(tmp_path) == {"file"}


def test_a_data_folder_that_cannot_be_written(tmp_path: Path) -> None:
    coldaisle("up", "--port", 0, "--data", "/proc/coldaisle", cwd=tmp_path).refused("/proc/coldaisle", "--data")


def test_a_recording_cannot_be_made_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "day.csv").write_text(rows(20))
    coldaisle("import", "day.csv", "-o", "day.csv/out", *LONG, cwd=tmp_path).refused("day.csv")
    assert left_in(tmp_path) == {"day.csv"}


def test_a_folder_that_is_a_file_cannot_be_scored(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    coldaisle("score", "file/inside", "--output", "out", cwd=tmp_path).refused("file/inside")


def test_incidents_without_a_data_folder(tmp_path: Path) -> None:
    coldaisle("incidents", "list", "--data", "none", cwd=tmp_path).refused("none", "--data")
    assert left_in(tmp_path) == set()


def test_incidents_of_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "incidents.sqlite").write_bytes(b"not a database at all, but long enough to have a header" * 40)
    coldaisle("incidents", "list", "--data", ".", cwd=tmp_path).refused("incidents.sqlite")


# --- a full disk ---------------------------------------------------------------------------------------------------


def noisy_csv(path: Path, count: int) -> None:
    """Numbers that do not compress below a megabyte."""
    values = np.random.default_rng(1).random((count, 4))
    lines = [f"{1_700_000_000 + n}," + ",".join(map(repr, row)) for n, row in enumerate(values.tolist())]
    path.write_text("\n".join(["ts,a,b,c,d", *lines, ""]))


def test_a_full_disk_ends_an_import_and_leaves_nothing(tmp_path: Path, small_disk: Path) -> None:
    noisy_csv(tmp_path / "day.csv", 60_000)
    coldaisle("import", "day.csv", "-o", small_disk / "day", "--quiet", cwd=tmp_path).refused(
        str(small_disk), "No space left"
    )
    assert left_in(small_disk) == set()


def test_a_full_disk_ends_scoring_and_leaves_no_half_file(tmp_path: Path, small_disk: Path) -> None:
    noisy_csv(tmp_path / "day.csv", 5_000)
    (small_disk / "ballast").write_bytes(bytes(1000 << 10))
    coldaisle("score", "day.csv", "--output", small_disk / "out", cwd=tmp_path).refused(
        str(small_disk), "No space left"
    )
    assert not (small_disk / "out").exists() or left_in(small_disk / "out") == set()


def test_up_does_not_start_on_a_full_disk(tmp_path: Path, small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(1 << 20))
    coldaisle("up", "--port", 0, "--data", small_disk / "data", cwd=tmp_path).refused(str(small_disk), "--data")
    assert left_in(small_disk) <= {"ballast", "data"}


def test_a_folder_that_another_one_writes(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with (tmp_path / "data" / ".lock").open("w") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        coldaisle("up", "--port", 0, "--data", "data", cwd=tmp_path).refused("data", "another Coldaisle", "--data")
    assert left_in(tmp_path / "data") == {".lock"}


def test_a_file_that_may_not_grow_ends_an_import_in_the_same_way(tmp_path: Path) -> None:
    """Where no disk can be mounted, a quota does the same."""
    noisy_csv(tmp_path / "day.csv", 60_000)
    limit = 1 << 20
    out = tmp_path / "out"
    out.mkdir()
    coldaisle(
        "import", "day.csv", "-o", out / "day", "--quiet", cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    ).refused(str(out))  # fmt: skip
    assert left_in(out) == set()


# --- recordings ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good") / "recording"
    layout = Layout((Series("node_fan_speed_rpm", labels(node="n1")),))
    times = np.arange(20, dtype=np.int64) * SECOND + 1_700_000_000 * SECOND
    with RecordingWriter(folder) as writer:
        writer.write(Block(layout, np.zeros(20, np.int64), times, np.full(20, 9000.0)))
    return folder


BROKEN = {
    "truth that is no JSON": ("truth.jsonl", "{half", ("truth.jsonl", "line 1")),
    "truth without its fault": ("truth.jsonl", '{"id": "f1"}\n', ("truth.jsonl", "line 1")),
    "an event without its time": ("events.jsonl", '{"kind": "xid", "code": "79"}\n', ("events.jsonl", "line 1")),
    "a topology that is no TOML": ("topology.toml", "[[entity]\n", ("topology.toml",)),
    "a topology with a kind there is not": (
        "topology.toml", '[[entity]]\nkind = "gpus"\nname = "g1"\n', ("topology.toml", "gpus"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "text", "words"), list(BROKEN.values()), ids=list(BROKEN))
def test_a_recording_with_a_broken_file(
    tmp_path: Path, recording: Path, name: str, text: str, words: tuple[str, ...]
) -> None:
    folder = tmp_path / "recording"
    folder.mkdir()
    os.link(recording / "samples.parquet", folder / "samples.parquet")
    (folder / name).write_text(text)
    coldaisle("replay", "recording", cwd=tmp_path).refused(*words)


def test_samples_that_were_cut_short(tmp_path: Path, recording: Path) -> None:
    folder = tmp_path / "recording"
    folder.mkdir()
    whole = (recording / "samples.parquet").read_bytes()
    (folder / "samples.parquet").write_bytes(whole[: len(whole) // 2])
    coldaisle("replay", "recording", cwd=tmp_path).refused("samples.parquet")
