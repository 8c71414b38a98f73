"""What the host collector tells of a machine made of files, of this one, and of files that cannot be read."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldaisle.clock import ManualClock, SystemClock
from coldaisle.config import load, parse
from coldaisle.errors import ConfigError, Transient
from coldaisle.event import Event
from coldaisle.frame import Frame
from coldaisle.selfstats import SelfStats
from coldaisle.series import Series, labels
from collectors.host.collector import HostCollector
from collectors.host.config import HostConfig
from collectors.prometheus.collector import PrometheusCollector
from collectors.prometheus.config import PrometheusConfig
from collectors.runner import Runner, Spec
from collectors.scrape import scrape
from tests.collectors.exporter import node_exporter
from tests.collectors.golden import golden, text_of
from tests.collectors.machine import PROC, make_machine

FOLDER = Path(__file__).parents[2] / "collectors" / "host"


class Machine:
    """The machine of files, and a collector that watches it."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.sys, self.root = make_machine(folder)
        self.stats = SelfStats()
        self.collector = HostCollector(HostConfig(proc=self.proc, sys=self.sys, root=self.root), "n1")

    def scrape(self) -> Frame:
        return scrape(self.collector, "n1", ManualClock(1), self.stats)[0]

    def unread(self) -> dict[str, float]:
        return {dict(pairs)["reason"]: v for name, pairs, v in self.stats.rows() if name == "collector_unread_total"}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def values(frame: Frame, metric: str) -> list[float]:
    return [sample.value for sample in frame.samples() if sample.series.metric == metric]


def test_a_machine_of_files_gives_the_golden_samples(machine: Machine) -> None:
    machine.scrape()
    (machine.proc / "stat").write_text(PROC["stat"].replace("1000 20 300 8000 500", "1060 20 320 8010 510"))
    text = text_of(machine.scrape())
    # The file system is the real one below the test: its fill is no constant.
    lines = [line for line in text.splitlines(keepends=True) if "node_filesystem_used_ratio" not in line]
    assert "".join(lines) == golden(FOLDER / "testdata" / "machine.prom", "".join(lines))
    assert machine.unread() == {}


def test_cpu_shares_are_of_the_time_since_the_scrape_before(machine: Machine) -> None:
    assert values(machine.scrape(), "node_cpu_utilization_ratio") == []
    # 100 ticks on: 60 user, 20 system, 10 idle, 10 waiting.
    (machine.proc / "stat").write_text(PROC["stat"].replace("1000 20 300 8000 500", "1060 20 320 8010 510"))
    frame = machine.scrape()
    assert values(frame, "node_cpu_utilization_ratio") == [pytest.approx(0.8)]
    assert values(frame, "node_cpu_iowait_ratio") == [pytest.approx(0.1)]
    assert values(machine.scrape(), "node_cpu_utilization_ratio") == [], "no time has passed: nothing is known"


def test_a_device_mounted_twice_is_one_file_system_and_pseudo_ones_are_none(machine: Machine) -> None:
    mounts = [s.series.label("mount") for s in machine.scrape().samples() if s.series.metric.startswith("node_filesys")]
    assert mounts == ["/"]


@pytest.mark.parametrize("name", sorted(set(PROC) - {"stat"}))
def test_a_file_that_is_missing_is_counted_and_the_rest_is_read(machine: Machine, name: str) -> None:
    whole = len(machine.scrape())
    (machine.proc / name).unlink()
    frame = machine.scrape()
    assert machine.unread() == {"missing": 1}
    assert values(frame, "collector_errors") == [1.0]
    assert values(frame, "collector_up") == [1.0]
    assert 10 < len(frame) < whole


@pytest.mark.parametrize("name", ["class/hwmon/hwmon0/temp1_input", "class/hwmon/hwmon1/fan1_input"])
@pytest.mark.parametrize(
    ("number", "reason"), [(errno.EACCES, "permission"), (errno.EIO, "input/output"), (errno.ENODATA, "no data")]
)
def test_a_sensor_that_cannot_be_read_is_absent_never_zero(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, name: str, number: int, reason: str
) -> None:
    whole, real, sick = len(machine.scrape()), Path.read_text, machine.sys / name

    def read_text(path: Path, encoding: str | None = None, errors: str | None = None) -> str:
        if path == sick:
            raise OSError(number, "sick")  # root may read everything, so the kernel's answer is played
        return real(path, encoding, errors)

    monkeypatch.setattr(Path, "read_text", read_text)
    assert len(machine.scrape()) == whole - 1
    assert machine.unread() == {reason: 1}


@settings(derandomize=True, max_examples=40, deadline=None)
@given(name=st.sampled_from(sorted(PROC)), text=st.text(max_size=60))
def test_no_content_of_a_kernel_file_breaks_the_scrape(
    tmp_path_factory: pytest.TempPathFactory, name: str, text: str
) -> None:
    machine = Machine(tmp_path_factory.mktemp("machine"))
    (machine.proc / name).write_text(text, encoding="utf-8", errors="replace")
    frame = machine.scrape()
    assert values(frame, "collector_up") == [1.0]


def test_a_machine_without_proc_is_transient(tmp_path: Path) -> None:
    collector = HostCollector(HostConfig(proc=tmp_path / "none"), "n1")
    with pytest.raises(Transient, match="is no mounted proc file system"):
        list(collector.collect(1))


def test_a_machine_without_board_sensors_is_no_error(machine: Machine, tmp_path: Path) -> None:
    collector = HostCollector(HostConfig(proc=machine.proc, sys=tmp_path / "none", root=machine.root), "n1")
    frame, _ = scrape(collector, "n1", ManualClock(1), machine.stats)
    assert values(frame, "node_hwmon_temperature_celsius") == []
    assert machine.unread() == {}


def test_the_sample_configuration_is_accepted() -> None:
    assert load(FOLDER / "sample.toml", HostConfig).interval_seconds == 15


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("skip_disks", "(", "is no regular expression"),
        ("deadline_seconds", 60, "longer than interval_seconds"),
        ("intervall_seconds", 5, "did you mean 'interval_seconds'"),
    ],
)
def test_a_bad_key_is_refused_by_name(key: str, value: object, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse({key: value}, HostConfig, "up.toml")


def test_this_machine_says_what_psutil_says() -> None:
    frame, _ = scrape(HostCollector(HostConfig(), "n1"), "n1", SystemClock())
    assert values(frame, "node_memory_total_bytes") == [psutil.virtual_memory().total]
    used = {s.series.label("mount"): s.value for s in frame.samples() if "filesystem_used" in s.series.metric}
    for mount, ratio in used.items():
        assert ratio == pytest.approx(psutil.disk_usage(str(mount)).percent / 100, abs=0.01)
    received = {s.series.label("interface"): s.value for s in frame.samples() if "receive_bytes" in s.series.metric}
    interfaces = {name for name in psutil.net_io_counters(pernic=True) if name != "lo" and name[:4] != "veth"}
    assert interfaces == set(received)


def translated(url: str, node: str = "n1") -> dict[Series, float]:
    target = PrometheusCollector(PrometheusConfig(url=url), node, SelfStats())
    frame, _ = scrape(target, node, SystemClock())
    target.close()
    return {sample.series: sample.value for sample in frame.samples()}


@pytest.mark.integration
def test_node_exporter_says_the_same_of_the_machine_of_files(machine: Machine, tmp_path: Path) -> None:
    options = (
        f"--path.procfs={machine.proc}", f"--path.sysfs={machine.sys}", "--collector.disable-defaults",
        "--collector.hwmon", "--collector.meminfo", "--collector.loadavg", "--collector.netdev",
        "--collector.diskstats", "--no-collector.netdev.netlink",
    )  # fmt: skip
    with node_exporter(tmp_path, *options) as url:
        theirs = translated(url)
    compared = 0
    for sample in machine.scrape().samples():
        # Their sensors' names are metrics of their own.
        pairs = tuple(pair for pair in sample.series.labels if pair[0] != "sensor_name")
        series = Series(sample.series.metric, pairs)
        if series in theirs:
            assert theirs[series] == pytest.approx(sample.value), series
            compared += 1
    assert compared == 1 + 2 + 2 * 3 + 2 * 5 + 5


@pytest.mark.integration
def test_node_exporter_says_the_same_of_this_machine(tmp_path: Path) -> None:
    with node_exporter(tmp_path) as url:
        theirs = translated(url)
        frame, _ = scrape(HostCollector(HostConfig(), "n1"), "n1", SystemClock())
    steady = {"node_memory_total_bytes", "node_uptime_seconds", "node_disk_busy_seconds_total"}
    near = {"node_memory_available_bytes", "node_filesystem_used_ratio", "node_disk_read_bytes_total"}
    compared: set[str] = set()
    for sample in frame.samples():
        if sample.series.metric in steady | near and sample.series in theirs:
            tolerance = 0.02 if sample.series.metric in steady else 0.1
            assert theirs[sample.series] == pytest.approx(sample.value, rel=tolerance, abs=2.0), sample.series
            compared.add(sample.series.metric)
    assert {"node_memory_total_bytes", "node_uptime_seconds", "node_filesystem_used_ratio"} <= compared


@pytest.mark.integration
def test_a_real_exporter_goes_through_the_runner_into_frames(tmp_path: Path) -> None:
    frames: list[Frame] = []
    enough = threading.Event()

    def take(frame: Frame, events: list[Event]) -> None:
        frames.append(frame)
        if len(frames) >= 2:
            enough.set()

    with node_exporter(tmp_path) as url:
        target = PrometheusCollector(PrometheusConfig(url=url), "n1", SelfStats())
        runner = Runner([Spec(target, "n1", 0.3, 0.3)], take, SystemClock(), SelfStats())
        runner.start()
        assert enough.wait(20)
        runner.stop()
    assert values(frames[0], "collector_up") == [1.0]
    metrics = {series.metric for series in frames[0].layout.series}
    assert {"node_load_average", "node_memory_total_bytes", "node_cpu_seconds_total"} <= metrics
    assert frames[0].layout.series[0].label("node") == "n1"
    assert Series("collector_up", labels(collector="prometheus", node="n1")) in frames[0].layout.series
