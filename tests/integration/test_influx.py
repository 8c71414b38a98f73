"""What only a real InfluxDB can show: its escapes, its refusals, its tasks, and its death in the midst of writing."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from coldaisle.clock import DAY, HOUR, MINUTE, SECOND, ManualClock, SystemClock
from coldaisle.errors import Backpressure, ConfigError, Transient
from coldaisle.event import Event
from coldaisle.frame import Block
from coldaisle.matcher import Matcher, Operator
from coldaisle.selfstats import SelfStats
from coldaisle.series import Layout, Series, labels, labels_of
from coldaisle.store import influx_late, influx_reader
from coldaisle.store.influx import InfluxStore
from coldaisle.store.influx_checkup import check, fix
from coldaisle.store.influx_settings import InfluxConfig
from coldaisle.store.influx_tiers import task_name, tiers_of
from tests.integration.influx_server import TOKEN, InfluxProcess, config_of
from tests.integration.programme import ROOT, environment

pytestmark = [pytest.mark.integration, pytest.mark.influxdb, pytest.mark.xdist_group("influxdb")]
NAMES = (f"real{number}" for number in count())
CLOCK = SystemClock()
START = 1_763_780_400 * SECOND  # a whole hour


def ready(server: InfluxProcess, **more: object) -> InfluxConfig:
    """Return settings whose buckets are there."""
    config = config_of(server, next(NAMES), **more)  # type: ignore[arg-type]
    for bucket in (config.bucket, config.event_bucket):
        server.make_bucket(bucket)
    return config


def block(series: Series, times: object, values: object) -> Block:
    at, what = np.asarray(times, np.int64), np.asarray(values, np.float64)
    return Block(Layout([series]), np.zeros(len(at), np.int64), at, what)


AWKWARD = st.text(
    st.one_of(st.sampled_from("a%05CF,= \\\"'\n\r\t\x00#_{$}Zü€🔥"), st.characters(exclude_categories=["Cs"]))
)
# Without shrinking: every example asks a server.
ON_THE_SERVER = settings(
    derandomize=True,
    max_examples=40,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
PAIRS = st.dictionaries(AWKWARD, AWKWARD, max_size=3)


@pytest.fixture(scope="module")
def shared(influx_server: InfluxProcess) -> Iterator[InfluxStore]:
    store = InfluxStore(ready(influx_server))
    yield store
    store.close()


@ON_THE_SERVER
@given(AWKWARD, PAIRS, st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 10**18))
def test_any_text_in_metrics_and_labels_comes_back_from_the_server(
    shared: InfluxStore, metric: str, pairs: dict[str, str], value: float, after: int
) -> None:
    series = Series(metric, labels_of(pairs.items()))
    shared.write([block(series, [START + after], [value])])
    shared.flush()
    exact = [Matcher(name, Operator.EQUAL, text) for name, text in pairs.items()]
    found = [line for line in shared.query(metric, exact, START + after, START + after) if line.series == series]
    assert [line.values.tolist() for line in found] == [[value]]
    assert series in shared.series(metric)
    assert metric in shared.metrics()


@ON_THE_SERVER
@given(AWKWARD, AWKWARD, PAIRS, AWKWARD, PAIRS, st.integers(0, 10**18))
def test_any_text_in_events_comes_back_from_the_server(
    shared: InfluxStore, kind: str, code: str, pairs: dict[str, str], text: str, attributes: dict[str, str], after: int
) -> None:
    event = Event(kind, code, START + after, labels_of(pairs.items()), text, attributes)
    shared.write_events([event])
    shared.flush()
    exact = [Matcher(name, Operator.EQUAL, value) for name, value in pairs.items()]
    assert event in shared.events(START + after, START + after, exact)


def test_a_line_whose_type_conflicts_is_handed_over_and_the_others_are_kept(
    influx_server: InfluxProcess, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[tuple[bytes, str]] = []
    config = ready(influx_server)
    store = InfluxStore(config, reject=lambda line, reason: told.append((line, reason)))
    # Somebody else wrote text where we write numbers.
    influx_server.write_lines(config.bucket, f'a_watts,node=n1 value="text" {START}\n')
    both = [Series("a_watts", labels(node="n1")), Series("b_watts", labels(node="n1"))]
    times = START + np.arange(200) * SECOND
    with caplog.at_level(logging.WARNING):
        store.write([Block(Layout(both), np.arange(200) % 2, times, np.arange(200.0))])
        store.flush()
    assert len(told) == 100
    assert all(line.startswith(b"a_watts") and "field type conflict" in reason for line, reason in told)
    (line,) = store.query("b_watts", (), START, START + HOUR)
    assert line.values.tolist() == list(range(1, 200, 2))
    store.close()


def test_samples_that_the_bucket_would_not_keep_are_counted(influx_server: InfluxProcess) -> None:
    stats = SelfStats()
    config = config_of(influx_server, next(NAMES))
    influx_server.make_bucket(config.bucket, keep_seconds=7 * 86_400)
    store = InfluxStore(config, stats=stats)
    now = CLOCK.now()
    series = Series("m_watts", labels(node="n1"))
    store.write([block(series, [now - 400 * DAY, now - 399 * DAY, now], [1, 2, 3])])
    store.flush()
    (line,) = store.query("m_watts", (), 0, now)
    assert line.values.tolist() == [3.0]
    assert stats.get("store_lines_dropped_total", reason="older than the bucket keeps") == 2
    store.close()


def test_a_bucket_that_is_not_there_is_a_matter_for_a_person(influx_server: InfluxProcess) -> None:
    store = InfluxStore(config_of(influx_server, "nowhere"))
    store.write([block(Series("m_watts", ()), [START], [1])])
    with pytest.raises(ConfigError, match=r"no bucket nowhere in organisation hall.*doctor --fix"):
        store.flush()
    with pytest.raises(ConfigError, match="no bucket nowhere"):
        store.metrics()
    influx_server.make_bucket("nowhere")
    store.flush()
    assert store.metrics() == ["m_watts"]
    store.close()


def test_a_huge_answer_is_thinned_by_the_server_and_keeps_extremes_and_gaps(
    shared: InfluxStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    wave = np.sin(np.arange(3_000) / 9.0)
    wave[777], wave[2_000:2_100] = 50.0, np.nan
    one, other = (Series("wave_watts", labels(node=node)) for node in ("n1", "n2"))
    times = START + np.arange(3_000) * SECOND
    shared.write([block(one, times, wave), block(other, times, -wave)])
    shared.flush()
    monkeypatch.setattr(influx_reader, "_RAW_ROWS", 10)
    lines = shared.query("wave_watts", (), START, START + HOUR, max_points=100)
    assert [line.series for line in lines] == [one, other]
    for line, sign in zip(lines, (1, -1), strict=True):
        assert 50 < len(line.values) <= 100
        known = sign * line.values[~np.isnan(line.values)]
        assert (known.max(), known.min()) == (50.0, np.nanmin(wave))
        gap = line.timestamps[np.isnan(line.values)]
        assert len(gap) >= 1
        assert START + 2_000 * SECOND <= gap.min() <= gap.max() < START + 2_100 * SECOND
    (only,) = shared.query("wave_watts", [Matcher("node", Operator.MATCHES, "n2")], START, START + HOUR, 100)
    assert only.values.tolist() == lines[1].values.tolist() or np.isnan(only.values).any()


class Writing:
    """Writes a sample a turn and flushes, as the role ``store`` does, whatever happens to the server."""

    def __init__(self, store: InfluxStore) -> None:
        self._store, self._stop = store, threading.Event()
        self.written = 0
        self.longest_seconds = 0.0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        series = [Series("m_watts", labels(node=f"n{node}")) for node in range(10)]
        layout, index = Layout(series), np.arange(10)
        while not self._stop.is_set():
            began = time.monotonic()
            at = np.full(10, START + self.written * SECOND)
            try:
                self._store.write([Block(layout, index, at, np.full(10, float(self.written)))])
                self._store.flush()
            except (Transient, Backpressure):
                continue
            self.written += 1
            self.longest_seconds = max(self.longest_seconds, time.monotonic() - began)
            self._stop.wait(0.005)


@pytest.mark.parametrize("way", ["killed", "stopped", "hung"])
def test_a_server_that_is_gone_for_a_while_costs_no_sample_and_doubles_none(tmp_path: Path, way: str) -> None:
    """Twenty seconds when it is stopped, as in the issue of a real night; the other ways shorter."""
    away_seconds = {"killed": 2.0, "stopped": 20.0, "hung": 5.0}[way]
    with InfluxProcess(tmp_path / "server") as server:
        config = ready(server, queue=tmp_path / "queue", timeout_seconds=2.0)
        store = InfluxStore(config)
        writing = Writing(store)
        time.sleep(1.0)
        before = writing.written
        if way == "hung":
            server.pause()
            time.sleep(away_seconds)
            server.resume()
        else:
            (server.kill if way == "killed" else server.stop)()
            time.sleep(away_seconds)
            assert writing.written > before + 100, "writing stood still while the server was away"
            server.start()
        time.sleep(2.0)
        writing.stop()
        store.close()
        again = InfluxStore(config)
        deadline = time.monotonic() + 20
        while list((tmp_path / "queue").glob("*.queue")) and time.monotonic() < deadline:
            time.sleep(0.05)
        lines = again.query("m_watts", (), 0, START + DAY, max_points=1_000_000)
        assert len(lines) == 10
        for line in lines:
            assert line.values.tolist() == list(map(float, range(writing.written)))
        again.close()
        assert writing.longest_seconds < 12.0


def test_what_a_killed_writer_had_flushed_while_the_server_was_away_is_delivered(tmp_path: Path) -> None:
    """Twice: the writer dies in the midst of it, and the next one begins with what lies on the disk."""
    with InfluxProcess(tmp_path / "server") as server:
        config = ready(server, queue=tmp_path / "queue")
        server.kill()
        told = json.dumps(config.model_dump(mode="json") | {"token": TOKEN}) + "\n"
        flushed = 0
        for turn in range(2):
            command = [sys.executable, "-m", "tests.integration.influx_writer_process"]
            with subprocess.Popen(
                command, text=True, cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
            ) as writer:
                assert writer.stdin is not None
                assert writer.stdout is not None
                writer.stdin.write(told)
                writer.stdin.flush()
                for said in writer.stdout:
                    flushed = max(flushed, int(said))
                    if int(said) >= 30 + 20 * turn:
                        writer.kill()
                        break
        server.start()
        store = InfluxStore(config)
        deadline = time.monotonic() + 20
        while list((tmp_path / "queue").glob("*.queue")) and time.monotonic() < deadline:
            time.sleep(0.05)
        lines = store.query("m_watts", (), 0, START + DAY, max_points=1_000_000)
        assert len(lines) == 10
        for line in lines:
            # At most the flush that nobody heard of is there besides.
            assert line.values.tolist()[:flushed] == list(map(float, range(flushed)))
            assert len(line.values) <= flushed + 20
        store.close()


def test_windows_are_made_by_tasks_that_run(influx_server: InfluxProcess) -> None:
    """The tasks follow the clock on the wall; here they are told to run for a time that is past."""
    config = config_of(influx_server, next(NAMES))
    assert {finding.severity for finding in fix(config, CLOCK)} == {"ok"}
    store = InfluxStore(config)
    hour = CLOCK.now() // HOUR * HOUR
    series = Series("m_watts", labels(node="n1", gpu="GPU-1"))
    seconds = np.arange(600)
    values = np.where(seconds == 333, 99.0, seconds % 60)
    # The last ten minutes before the hour, and an odd one out in an earlier minute of that hour.
    store.write([block(series, hour - 600 * SECOND + seconds * SECOND, values)])
    store.write([block(series, [hour - 700 * SECOND], [-5.0])])
    store.flush()
    _, minutes, hours = tiers_of(config)
    influx_server.run_task(task_name(minutes), hour)
    influx_server.run_task(task_name(hours), hour)
    made = influx_server.windows(minutes.bucket, hour - 660 * SECOND, hour)
    assert len(made) == 10
    fifth = made[hour - 300 * SECOND]
    assert (fifth["min"], fifth["max"], fifth["count"]) == (0.0, 99.0, 60.0)
    assert fifth["mean"] == pytest.approx(fifth["sum"] / 60)
    (whole,) = influx_server.windows(hours.bucket, hour - HOUR, hour).values()
    everything = np.append(values, -5.0)
    assert (whole["min"], whole["max"], whole["count"]) == (-5.0, 99.0, 601.0)
    assert whole["mean"] == pytest.approx(everything.mean())
    # A sample that came late changes its minute at the next run, and nothing else.
    store.write([block(series, [hour - 300 * SECOND + 1], [1000.0])])
    store.flush()
    influx_server.run_task(task_name(minutes), hour)
    again = influx_server.windows(minutes.bucket, hour - 660 * SECOND, hour)
    assert again.pop(hour - 300 * SECOND)["max"] == 1000.0
    made.pop(hour - 300 * SECOND)
    assert again == made
    store.close()


def test_samples_that_come_hours_late_are_in_the_windows_too(
    influx_server: InfluxProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(influx_late, "_QUIET_SECONDS", 0.1)
    config = config_of(influx_server, next(NAMES), queue=tmp_path)
    fix(config, CLOCK)
    stats = SelfStats()
    store = InfluxStore(config, stats=stats)
    hour = CLOCK.now() // HOUR * HOUR - 30 * HOUR
    store.write([block(Series("m_watts", labels(node="n1")), hour + np.arange(120) * MINUTE, np.arange(120.0))])
    store.flush()
    deadline = time.monotonic() + 20
    while stats.total("store_late_hours_total") < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    _, minutes, hours = tiers_of(config)
    assert len(influx_server.windows(minutes.bucket, hour, hour + 2 * HOUR)) == 120
    made = influx_server.windows(hours.bucket, hour, hour + 2 * HOUR)
    assert [row["mean"] for row in made.values()] == [29.5, 89.5]
    store.close()


def test_what_is_no_longer_kept_as_samples_is_answered_by_windows(influx_server: InfluxProcess) -> None:
    """Samples for 30 days, minutes for 60: a span of 100 days is answered by all three tiers."""
    config = config_of(influx_server, next(NAMES))
    fix(config, CLOCK)
    now = START + 100 * DAY
    store = InfluxStore(config, ManualClock(now))
    series = Series("m_watts", labels(node="n1"))
    late = influx_late.LateWindows(store._server, ManualClock(now), None, SelfStats())
    for day, value in ((1, 7.0), (50, 8.0), (99, 9.0)):
        at = START + day * DAY
        store.write([block(series, at + np.arange(60) * MINUTE, np.append(np.zeros(59), value))])
        store.flush()
        late.make(at // HOUR)
    late.close()
    store.close()
    aged = InfluxStore(config.model_copy(update={"raw_days": 30, "minute_days": 60}), ManualClock(now), read_only=True)
    found: list[tuple[float, int]] = []
    for part in aged._reader.find("m_watts", (), (START, now), 100_000):
        rows = aged._reader.rows(part, [series], 100_000, ())
        found.append((float(rows[2].max()), len(rows[2])))
    # Samples; a least and a greatest of each minute; a least and a greatest of an hour.
    assert found == [(9.0, 60), (8.0, 120), (7.0, 2)]
    (line,) = aged.query("m_watts", (), START, now, max_points=1000)
    assert sorted(set(line.values.tolist())) == [0.0, 7.0, 8.0, 9.0]
    assert aged.metrics() == ["m_watts"]
    assert aged.series("m_watts") == [series]
    aged.close()


def test_the_checkup_finds_what_is_wrong_and_mends_what_it_may(influx_server: InfluxProcess) -> None:
    config = config_of(influx_server, next(NAMES))
    found = check(config, CLOCK)
    assert [finding.severity for finding in found] == ["ok"] + ["error"] * 6
    assert all(finding.fixable for finding in found[1:])
    assert [finding.text for finding in fix(config, CLOCK)][:6] == ["made; keeps everything"] * 4 + ["made"] * 2
    assert {finding.severity for finding in check(config, CLOCK)} == {"ok"}
    shorter = config.model_copy(update={"raw_days": 7})
    assert [f.text for f in check(shorter, CLOCK) if f.severity == "warning"] == [
        "keeps everything; the configuration says 7 days"
    ]
    assert fix(shorter, CLOCK)[0].text == "keeps 7 days from now on"
    assert {finding.severity for finding in check(shorter, CLOCK)} == {"ok"}
    behind = check(shorter, ManualClock(CLOCK.now() + 60 * SECOND))
    (clock,) = (finding.text for finding in behind if finding.part == "influxdb clock")
    assert re.match(r"its clock is 6[01] s behind this machine's", clock)


def test_the_checkup_names_a_token_that_may_not_write_and_one_that_is_unknown(influx_server: InfluxProcess) -> None:
    config = config_of(influx_server, next(NAMES))
    fix(config, CLOCK)
    reading = influx_server.token(influx_server.may("read", "buckets"), influx_server.may("read", "tasks"))
    found = check(config.model_copy(update={"token": type(config.token)(reading)}), CLOCK)
    warned = [finding for finding in found if finding.severity == "warning"]
    assert len(warned) == 4
    assert all("write permission for bucket" in finding.remedy for finding in warned)
    unknown = check(config.model_copy(update={"token": type(config.token)("canary-77")}), CLOCK)
    assert [finding.severity for finding in unknown] == ["error"]
    assert "the token is unknown" in unknown[0].text
    assert "canary-77" not in repr(found + unknown)
