"""What becomes of an exporter's page: numbers, names, units, blanks, Xids, and lines that are none."""

from __future__ import annotations

import gzip
import math
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldaisle.clock import SECOND, ManualClock
from coldaisle.config import load, parse
from coldaisle.errors import ConfigError, Transient
from coldaisle.event import Event
from coldaisle.frame import Sample
from coldaisle.selfstats import SelfStats, prometheus_text
from coldaisle.series import labels, labels_of
from collectors.port import Unread
from collectors.prometheus.collector import PrometheusCollector
from collectors.prometheus.config import PrometheusConfig
from collectors.prometheus.text import Malformed, Page, parse_head, rows
from collectors.scrape import scrape
from tests.collectors.golden import golden, text_of

FOLDER = Path(__file__).parents[2] / "collectors" / "prometheus"
DCGM_PAGE = (FOLDER / "testdata" / "dcgm-exporter.txt").read_text(encoding="utf-8")
URL = "http://target/metrics"
NOW = 1_700_000_000 * SECOND

Handler = Callable[[httpx.Request], httpx.Response]


def collector(handler: Handler | str = "", stats: SelfStats | None = None, **config: object) -> PrometheusCollector:
    if isinstance(handler, str):
        page = handler
        handler = lambda request: httpx.Response(200, text=page)  # noqa: E731
    section = parse({"url": URL, **config}, PrometheusConfig, "test")
    node = section.node or "n1"
    return PrometheusCollector(section, node, stats or SelfStats(), httpx.MockTransport(handler))


def read(page: str, stats: SelfStats | None = None, **config: object) -> list[Sample | Event | Unread]:
    return list(collector(page, stats, **config).collect(NOW))


def values(page: str, **config: object) -> dict[str, float]:
    return {str(item.series): item.value for item in read(page, None, **config) if isinstance(item, Sample)}


# --- the text format -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "series", "value"),
    [
        ("up 1", 'up{node="n1"}', 1.0),
        ("  up   1  ", 'up{node="n1"}', 1.0),
        ("up\t1\r", 'up{node="n1"}', 1.0),
        ("up{} 1", 'up{node="n1"}', 1.0),
        ('up{a="b",} 1.5e3', 'up{a="b",node="n1"}', 1500.0),
        ('up { a = "b" , c="d" } -0.25', 'up{a="b",c="d",node="n1"}', -0.25),
        ('up{a="x y",b="}{#,="} 2', 'up{a="x y",b="}{#,=",node="n1"}', 2.0),
        (r'up{a="q\"uo\\te\n"} 2', 'up{a="q"uo\\te\n",node="n1"}', 2.0),
        ('ns:up{a=""} 3', 'ns:up{node="n1"}', 3.0),
        ("up +Inf", 'up{node="n1"}', math.inf),
        ("up -Inf", 'up{node="n1"}', -math.inf),
        ('up{a="ü"} 1', 'up{a="ü",node="n1"}', 1.0),
        ('up{a="b"} 7 # {trace_id="x y"} 0.67', 'up{a="b",node="n1"}', 7.0),
        ("up 7 # {} 0.67 1.5", 'up{node="n1"}', 7.0),
    ],
)
def test_a_line_gives_its_sample(line: str, series: str, value: float) -> None:
    assert values(f"# HELP up x\n{line}\n") == {series: value}


def test_a_value_that_is_no_number_of_the_target_stays_unknown() -> None:
    (only,) = read("up NaN\n")
    assert isinstance(only, Sample)
    assert math.isnan(only.value)


@pytest.mark.parametrize(
    ("page", "timestamp"),
    [
        ("up 1\n", NOW),
        ("up 1 1700000001500\n", 1_700_000_001_500_000_000),
        ('up{a="b"} 1 1700000001500\n', 1_700_000_001_500_000_000),
        ("up 1 1700000001.5\n# EOF\n", 1_700_000_001_500_000_000),
    ],
)
def test_a_sample_has_the_pages_own_time_where_there_is_one(page: str, timestamp: int) -> None:
    (only,) = read(page)
    assert isinstance(only, Sample)
    assert only.timestamp == timestamp


@pytest.mark.parametrize(
    "line",
    ["up", "up one", "up 1_000", '{a="b"} 1', 'up{a="b" 1', "up{a=b} 1", 'up{a="b"x="y"} 1', 'up{a="b",a="c"} 1',
     'up{1a="b"} 1', "9up 1", "<html>", "up 1 2 3", "up 1 soon"],
)  # fmt: skip
def test_a_malformed_line_is_told_with_its_number_and_costs_no_other_line(line: str) -> None:
    items = read(f"before 1\n\n{line}\nafter 2\n")
    assert [str(item.series) for item in items if isinstance(item, Sample)] == ['before{node="n1"}', 'after{node="n1"}']
    (bad,) = (item for item in items if isinstance(item, Unread))
    assert bad.reason == "malformed"
    assert "line 3" in bad.what


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=200))
def test_no_text_whatever_breaks_the_page(junk: str) -> None:
    items = read(f"{junk}\nup 1\n".replace("\x00", ""))
    assert any(isinstance(item, Sample) and item.series.metric == "up" for item in items)


_NAMES = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True).filter(lambda name: name != "node")
_ROWS = st.lists(
    st.tuples(
        st.from_regex(r"[a-z_:][a-z0-9_:]{0,12}", fullmatch=True),
        st.dictionaries(_NAMES, st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1)),
        st.floats(allow_nan=False),
    ),
    max_size=10,
    unique_by=lambda row: row[0],
)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(_ROWS)
def test_what_our_own_writer_writes_is_read_back(written: list[tuple[str, dict[str, str], float]]) -> None:
    text = prometheus_text([(name, labels_of(pairs.items()), value) for name, pairs, value in sorted(written)], {})
    page = Page()
    back = [(*parse_head(head), value) for head, value, _, _ in rows(text, page)]
    assert page.bad == []
    assert back == [(name, labels_of(pairs.items()), value) for name, pairs, value in sorted(written)]


def test_a_head_that_is_no_metric_is_refused() -> None:
    with pytest.raises(Malformed, match="no name"):
        parse_head('a-b{c="d"}')


def test_a_page_is_read_five_times_as_fast_as_the_official_parser() -> None:
    """That one reads 49,000 samples a second on the machine where ours reads 400,000 (processor time)."""
    page = "".join(f'node_cpu{{cpu="{n}",mode="idle",device="sd{n % 50}"}} {n * 1.37}\n' for n in range(20_000))
    target = collector(page)
    assert len(list(target.read(page, NOW))) == 20_000
    best = math.inf
    for _ in range(3):
        began = time.process_time()
        assert sum(1 for _ in target.read(page, NOW)) == 20_000
        best = min(best, time.process_time() - began)
    # A bound that a busy machine keeps: a third of what is asked for.
    assert 20_000 / best > 80_000


# --- names, labels, trust --------------------------------------------------------------------------------------


def test_a_target_may_not_speak_for_another_node() -> None:
    assert values('up{node="victim"} 1\n') == {'up{exported_node="victim",node="n1"}': 1.0}


def test_a_trusted_target_may() -> None:
    assert values('up{node="n9"} 1\nother 2\n', honor_labels=True) == {'up{node="n9"}': 1.0, 'other{node="n1"}': 2.0}


def test_a_target_may_not_say_whether_its_scrape_worked() -> None:
    stats = SelfStats()
    assert read('collector_up{collector="prometheus"} 1\n', stats) == []
    assert stats.get("collector_samples_dropped_total", collector="prometheus", reason="reserved name") == 1


def test_the_operators_labels_are_added_and_win() -> None:
    assert values('up{rack="x"} 1\n', labels={"rack": "a01"}) == {'up{node="n1",rack="a01"}': 1.0}


def test_histograms_keep_sum_and_count_as_counters_and_lose_their_buckets() -> None:
    page = (
        "# TYPE h histogram\n"
        'h_bucket{le="1"} 2\nh_bucket{le="+Inf"} 3\nh_sum 4.5\nh_count 3\n'
        "# TYPE s summary\n"
        's{quantile="0.5"} 1\ns_sum 2\ns_count 2\n'
        "# TYPE restarts counter\nrestarts 7\n"
    )
    assert values(page) == {
        'h_sum_total{node="n1"}': 4.5,
        'h_count_total{node="n1"}': 3.0,
        's{node="n1",quantile="0.5"}': 1.0,
        's_sum_total{node="n1"}': 2.0,
        's_count_total{node="n1"}': 2.0,
        'restarts_total{node="n1"}': 7.0,
    }
    assert 'h_bucket{le="1",node="n1"}' in values(page, buckets="keep")


def test_node_exporters_metrics_get_the_catalogues_names() -> None:
    page = (
        "node_load1 0.5\nnode_memory_MemTotal_bytes 100\nnode_boot_time_seconds 1.69999e9\n"
        'node_network_receive_errs_total{device="eth0"} 2\n'
        'node_network_receive_drop_total{device="eth0"} 3\nnode_network_transmit_drop_total{device="eth0"} 4\n'
        'node_hwmon_temp_celsius{chip="c",sensor="temp1"} 40\n'
        'node_filesystem_size_bytes{device="/dev/sda1",fstype="ext4",mountpoint="/"} 100\n'
        'node_filesystem_free_bytes{device="/dev/sda1",fstype="ext4",mountpoint="/"} 60\n'
        'node_filesystem_avail_bytes{device="/dev/sda1",fstype="ext4",mountpoint="/"} 40\n'
    )
    got = values(page)
    assert got['node_load_average{node="n1"}'] == 0.5
    assert got['node_memory_total_bytes{node="n1"}'] == 100
    assert got['node_uptime_seconds{node="n1"}'] == 10_000
    assert got['node_network_receive_errors_total{interface="eth0",node="n1"}'] == 2
    assert got['node_network_drops_total{interface="eth0",node="n1"}'] == 7
    assert got['node_hwmon_temperature_celsius{chip="c",node="n1",sensor="temp1"}'] == 40
    assert got['node_filesystem_used_ratio{device="/dev/sda1",mount="/",node="n1"}'] == 0.5


# --- dcgm-exporter ---------------------------------------------------------------------------------------------


def test_a_dcgm_page_gives_the_golden_samples_and_counts_its_blanks() -> None:
    stats = SelfStats()
    frame, events = scrape(collector(DCGM_PAGE, stats), "n1", ManualClock(NOW), stats)
    text = text_of(frame)
    assert text == golden(FOLDER / "testdata" / "dcgm-exporter.prom", text)
    assert events == [], "the Xid that stood there when we began is history"
    assert stats.get("collector_samples_dropped_total", collector="prometheus", reason="blank") == 4


def test_a_new_xid_is_an_event_of_its_gpu_and_never_a_sample() -> None:
    pages = [DCGM_PAGE, DCGM_PAGE.replace("} 31\n", "} 79\n"), DCGM_PAGE.replace("} 31\n", "} 79\n"), DCGM_PAGE]
    answers = iter(pages)
    target = collector(lambda request: httpx.Response(200, text=next(answers)))
    found = [[item for item in target.collect(NOW) if isinstance(item, Event)] for _ in pages]
    gpu = "GPU-11111111-aaaa-bbbb-cccc-000000000002"
    assert [[event.code for event in events] for events in found] == [[], ["79"], [], ["31"]]
    assert found[1][0].labels == labels(gpu=gpu, node="gpu-n017")
    assert not any("XID" in item.series.metric for item in read(DCGM_PAGE) if isinstance(item, Sample))


def test_an_xid_that_goes_back_to_none_is_no_event() -> None:
    answers = iter([DCGM_PAGE, DCGM_PAGE.replace("} 31\n", "} 0\n")])
    target = collector(lambda request: httpx.Response(200, text=next(answers)))
    assert not [item for _ in range(2) for item in target.collect(NOW) if isinstance(item, Event)]


def test_a_node_that_the_operator_named_wins_over_the_exporters_hostname() -> None:
    assert all('node="n5"' in series for series in values(DCGM_PAGE, node="n5"))


# --- a target that is away or misbehaves -----------------------------------------------------------------------


def refuse(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("connection refused")


def dawdle(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("")


@pytest.mark.parametrize(
    ("handler", "says"),
    [
        (refuse, "connection refused"),
        (dawdle, "ReadTimeout"),
        (lambda request: httpx.Response(503), "answered 503"),
        (lambda request: httpx.Response(404), "answered 404"),
        (lambda request: httpx.Response(302, headers={"location": "http://elsewhere/"}), "answered 302"),
        (lambda request: httpx.Response(200, text="x" * 2000), "larger than 1000 bytes; raise max_bytes"),
        (
            lambda request: httpx.Response(200, text="a 1\nb 1\nc 1\n"),
            "more than 2 samples on the page; raise max_samples",
        ),
        (lambda request: httpx.Response(200, content=b"no gzip", headers={"content-encoding": "gzip"}), "target"),
        (
            lambda request: httpx.Response(
                200, content=gzip.compress(b"x" * 100_000), headers={"content-encoding": "gzip"}
            ),
            "larger than 1000 bytes",
        ),
    ],
)
def test_a_target_that_misbehaves_is_transient_and_says_which(handler: Handler, says: str) -> None:
    with pytest.raises(Transient, match=says) as caught:
        list(collector(handler, max_bytes=1000, max_samples=2).collect(NOW))
    assert str(caught.value).startswith(URL)


def test_a_packed_page_is_unpacked() -> None:
    packed = gzip.compress(b"up 1\n")
    target = collector(lambda request: httpx.Response(200, content=packed, headers={"content-encoding": "gzip"}))
    assert [item.value for item in target.collect(NOW) if isinstance(item, Sample)] == [1.0]


def test_the_token_is_sent_and_prints_as_stars() -> None:
    seen: list[str] = []

    def note(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        return httpx.Response(200, text="")

    section = parse({"url": URL, "bearer_token": "s3cret"}, PrometheusConfig, "test")
    list(PrometheusCollector(section, "n1", SelfStats(), httpx.MockTransport(note)).collect(NOW))
    assert seen == ["Bearer s3cret"]
    assert "s3cret" not in repr(section)


def test_heads_that_left_the_page_are_forgotten() -> None:
    target = collector()
    list(target.read("".join(f'up{{pod="{n}"}} 1\n' for n in range(1000)), NOW))
    list(target.read("up 1\n", NOW))
    list(target.read("up 1\n", NOW))
    assert len(target._meanings) == 1


def test_the_sample_configuration_is_accepted() -> None:
    assert load(FOLDER / "sample.toml", PrometheusConfig).name == "dcgm"


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("url", "localhost:9100", "is no address of a page"),
        ("labels", {"node": "x"}, "is set by the key `node`"),
        ("buckets", "maybe", "buckets"),
        ("timout_seconds", 5, "did you mean 'timeout_seconds'"),
    ],
)
def test_a_bad_key_is_refused_by_name(key: str, value: object, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse({"url": URL, key: value}, PrometheusConfig, "up.toml")
