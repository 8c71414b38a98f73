"""The follower knows the newest value of every series and the score of every open finding, from the bus alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cli.roles.follower import Follower
from coldaisle.anomaly import Anomaly, Phase
from coldaisle.bus import ANOMALIES, FRAMES
from coldaisle.bus.memory import MemoryBus
from coldaisle.clock import DAY, SECOND, ManualClock
from coldaisle.codec import LINE_PROTOCOL, encode_anomaly, encode_frame
from coldaisle.frame import Frame, Sample
from coldaisle.live import LiveView
from coldaisle.selfstats import SelfStats
from coldaisle.series import Series, labels
from coldaisle.severity import Severity
from coldaisle.topology import Topology

NOON = 1_790_000_000 * SECOND
HOT = Series("gpu_temperature_celsius", labels(node="n1", gpu="GPU-1"))
COOL = Series("gpu_temperature_celsius", labels(node="n1", gpu="GPU-2"))
ERRORS = Series("network_receive_errors_total", labels(node="n1", interface="ib0"))


class Desk:
    """A bus to write to and a follower that reads it."""

    def __init__(self) -> None:
        self.clock, self.stats = ManualClock(NOON), SelfStats()
        self.bus = MemoryBus(self.clock)
        self._producer = self.bus.producer()
        self.follower = Follower(self.bus, Topology(), self.clock, self.stats)

    def sample(self, series: Series, value: float, seconds: float = 0.0) -> None:
        at = NOON + round(seconds * SECOND)
        self._producer.produce(FRAMES, b"n1", encode_frame(Frame.of("dcgm", "n1", [Sample(series, at, value)])))

    def finding(self, finding: Anomaly) -> None:
        self._producer.produce(ANOMALIES, b"n1", encode_anomaly(finding))

    def put(self, topic: str, value: bytes, headers: dict[str, str] | None = None) -> None:
        self._producer.produce(topic, b"n1", value, headers)

    def view(self) -> LiveView:
        while self.follower.step(0.0):
            pass
        return self.follower.view()

    def value(self, series: Series) -> float:
        view = self.view()
        return float(view.values[view.series.index(series)])


def found(phase: Phase, score: float, identity: str = "a1", series: Series = HOT) -> Anomaly:
    return Anomaly(
        identity, phase, "gpu_hotter_than_peers", "peers", "1", Severity.TICKET, "gpu/GPU-1", NOON, NOON, score,
        "GPU-1 is hot.", NOON if phase is Phase.CLOSED else None, series, 95.0, 60.0, 55.0, 65.0,
    )  # fmt: skip


def test_nothing_read_is_an_empty_view() -> None:
    view = Desk().view()
    assert (view.now, view.series, len(view.values)) == (0, (), 0)


def test_the_newest_value_of_each_series_is_known_whatever_the_order() -> None:
    desk = Desk()
    desk.sample(HOT, 60.0)
    desk.sample(COOL, 40.0)
    desk.sample(HOT, 62.0, 5)
    desk.sample(HOT, 61.0, 2)
    view = desk.view()
    assert dict(zip(view.series, view.values.tolist(), strict=True)) == {HOT: 62.0, COOL: 40.0}
    assert view.timestamps[view.series.index(HOT)] == view.now == NOON + 5 * SECOND
    assert view.entities[view.series.index(HOT)] == "gpu/GPU-1"
    assert np.isnan(view.scores).all()


def test_a_counter_is_shown_as_its_rate_and_not_at_a_restart() -> None:
    desk = Desk()
    desk.sample(ERRORS, 100.0)
    assert np.isnan(desk.value(ERRORS)), "one reading is no rate"
    desk.sample(ERRORS, 150.0, 5)
    assert desk.value(ERRORS) == 10.0
    desk.sample(ERRORS, 3.0, 10)
    assert np.isnan(desk.value(ERRORS))
    desk.sample(ERRORS, 8.0, 15)
    assert desk.value(ERRORS) == 1.0


def test_values_that_cannot_be_are_left_out() -> None:
    desk = Desk()
    desk.sample(HOT, 60.0)
    for second, value in enumerate((float("nan"), float("inf"), -400.0), start=1):
        desk.sample(HOT, value, second)
    desk.sample(HOT, 99.0, 86_400)  # of a clock that is a day ahead
    assert desk.value(HOT) == 60.0


def test_an_open_finding_gives_its_score_and_band_until_it_is_closed() -> None:
    desk = Desk()
    desk.sample(HOT, 95.0)
    desk.sample(COOL, 60.0)
    desk.finding(found(Phase.OPENED, 0.9))
    desk.finding(found(Phase.OPENED, 0.7, "a2"))
    desk.finding(found(Phase.UPDATED, 0.97))
    view = desk.view()
    row = view.series.index(HOT)
    assert view.scores[row] == np.float32(0.97), "the worst of them"
    assert (view.expected[row], view.low[row], view.high[row]) == (60.0, 55.0, 65.0)
    assert np.isnan(view.scores[view.series.index(COOL)])
    desk.finding(found(Phase.CLOSED, 0.97))
    assert desk.view().scores[row] == np.float32(0.7)
    desk.finding(found(Phase.CLOSED, 0.7, "a2"))
    assert np.isnan(desk.view().scores[row])


def test_a_finding_may_come_before_its_series_and_without_one() -> None:
    desk = Desk()
    desk.finding(found(Phase.OPENED, 0.9))
    desk.finding(replace(found(Phase.OPENED, 1.0, "a3"), series=None))
    assert desk.view().series == ()
    desk.sample(HOT, 95.0)
    assert desk.view().scores.tolist() == [np.float32(0.9)]


def test_a_view_that_was_given_away_does_not_change() -> None:
    desk = Desk()
    desk.sample(HOT, 60.0)
    before = desk.view()
    desk.sample(HOT, 70.0, 5)
    after = desk.view()
    assert (before.values.tolist(), after.values.tolist()) == ([60.0], [70.0])
    assert after.series is before.series, "the same series, the same tuple"
    desk.sample(COOL, 40.0, 5)
    assert len(desk.view().series) == 2


def test_lines_of_telegraf_are_followed_too() -> None:
    desk = Desk()
    desk.put(FRAMES, f"mem,host=n1 used_percent=50 {NOON}".encode(), {"content-type": LINE_PROTOCOL})
    assert desk.value(Series("mem_used_percent", labels(node="n1"))) == 50.0


def test_what_cannot_be_read_is_counted_and_the_rest_is_followed() -> None:
    desk = Desk()
    desk.put(FRAMES, b"\x00garbage")
    desk.put(ANOMALIES, b"{")
    desk.sample(HOT, 60.0)
    assert desk.value(HOT) == 60.0
    assert desk.stats.get("follower_unreadable_total", topic=FRAMES) == 1
    assert desk.stats.get("follower_unreadable_total", topic=ANOMALIES) == 1


def test_it_commits_nothing_and_starts_at_what_the_bus_still_holds() -> None:
    desk = Desk()
    desk.sample(HOT, 60.0)
    assert desk.value(HOT) == 60.0
    again = Follower(desk.bus, Topology(), desk.clock, desk.stats)
    assert sum(again.behind().values()) == 1
    assert again.step(0.0) == 1
    assert again.view().values.tolist() == [60.0]
    again.close()


def test_far_behind_it_leaves_out_what_something_newer_follows() -> None:
    desk = Desk()
    frame = encode_frame(Frame.of("dcgm", "n1", [Sample(HOT, NOON, 60.0)]))
    for _ in range(30_000):
        desk.put(FRAMES, frame)
    desk.sample(HOT, 70.0, 5)
    assert desk.value(HOT) == 70.0
    assert desk.stats.get("follower_skipped_total") == 30_001 - 20_000 - 2_000


def test_what_has_been_away_for_a_day_is_forgotten_with_its_findings() -> None:
    desk = Desk()
    desk.sample(HOT, 60.0)
    desk.finding(found(Phase.OPENED, 0.9))
    assert len(desk.view().series) == 1
    desk.clock.advance(2 * DAY / SECOND)
    desk.sample(COOL, 40.0, 2 * DAY / SECOND)
    desk.follower._sweep_at = 0.0
    assert desk.view().series == (COOL,)
    assert desk.follower._open == {}
