"""How the runner treats collectors that work, fail, hang and come back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator

import pytest

from coldaisle.clock import SECOND, ManualClock, SystemClock
from coldaisle.errors import ConfigError, Permanent, Transient
from coldaisle.event import Event
from coldaisle.frame import Frame, Sample
from coldaisle.selfstats import SelfStats
from coldaisle.series import Series, labels
from collectors.port import Unread
from collectors.runner import Runner, Spec, scrape
from collectors.schedule import Schedule

Item = Sample | Event | Unread
PATIENCE_SECONDS = 10.0


def sample(metric: str = "node_load_average", value: float = 1.0) -> Sample:
    return Sample(Series(metric, labels(node="n1")), 7, value)


class Scripted:
    """A collector that does what it is told."""

    def __init__(self, name: str = "scripted", does: Callable[[int], Iterable[Item]] = lambda now: [sample()]) -> None:
        self.name, self.does = name, does
        self.calls = self.closes = 0

    def collect(self, now: int) -> Iterator[Item]:
        self.calls += 1
        yield from self.does(now)

    def close(self) -> None:
        self.closes += 1


class Harbour:
    """Takes what the runner ships, and can be waited for."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.events: list[Event] = []
        self._change = threading.Condition()

    def __call__(self, frame: Frame, events: list[Event]) -> None:
        with self._change:
            self.frames.append(frame)
            self.events.extend(events)
            self._change.notify_all()

    def wait(self, frames: int) -> None:
        with self._change:
            assert self._change.wait_for(lambda: len(self.frames) >= frames, PATIENCE_SECONDS)

    def up(self, collector: str) -> list[float]:
        return [value(frame, "collector_up") for frame in self.frames if frame.collector == collector]


def value(frame: Frame, metric: str) -> float:
    return next(s.value for s in frame.samples() if s.series.metric == metric)


def fail(error: Exception) -> Callable[[int], Iterable[Item]]:
    def does(now: int) -> Iterator[Item]:
        yield sample()
        raise error

    return does


@pytest.mark.parametrize("error", [Transient("away"), Permanent("never")])
def test_a_failed_scrape_is_a_frame_that_keeps_what_was_read(error: Exception) -> None:
    frame, events = scrape(Scripted(does=fail(error)), "n1", ManualClock(7), SelfStats())
    assert value(frame, "collector_up") == 0.0
    assert value(frame, "collector_errors") == 1.0
    assert value(frame, "node_load_average") == 1.0
    assert events == []


def test_every_frame_says_whose_it_is_and_how_long_it_took() -> None:
    clock = ManualClock(5 * SECOND)

    def slow(now: int) -> Iterable[Item]:
        clock.advance(2.5)
        return [sample(), Event("xid", "79", now, labels(node="n1"))]

    frame, events = scrape(Scripted(does=slow), "n1", clock)
    assert (frame.collector, frame.node) == ("scripted", "n1")
    assert value(frame, "collector_duration_seconds") == 2.5
    up = next(s for s in frame.samples() if s.series.metric == "collector_up")
    assert up.series.labels == labels(collector="scripted", node="n1")
    assert up.timestamp == 5 * SECOND
    assert [event.code for event in events] == ["79"]


def test_a_series_told_twice_counts_once_and_the_second_is_counted_as_dropped() -> None:
    stats = SelfStats()
    frame, _ = scrape(Scripted(does=lambda now: [sample(value=1), sample(value=2)]), "n1", ManualClock(), stats)
    assert [s.value for s in frame.samples() if s.series.metric == "node_load_average"] == [1.0]
    assert stats.get("collector_samples_dropped_total", collector="scripted", reason="duplicate") == 1


def test_what_could_not_be_read_is_an_error_of_a_scrape_that_worked() -> None:
    stats = SelfStats()
    frame, _ = scrape(Scripted(does=lambda now: [Unread("/sys/x", "permission")]), "n1", ManualClock(), stats)
    assert value(frame, "collector_up") == 1.0
    assert value(frame, "collector_errors") == 1.0
    assert stats.get("collector_unread_total", collector="scripted", reason="permission") == 1


class Stage:
    """A runner in virtual time: its workers are real threads, its schedule moves only when told."""

    def __init__(self, *collectors: Scripted, deadline_seconds: float = 5.0) -> None:
        self.clock, self.stats, self.harbour = ManualClock(1000 * SECOND), SelfStats(), Harbour()
        specs = [Spec(collector, "n1", 10.0, deadline_seconds) for collector in collectors]
        self.runner = Runner(specs, self.harbour, self.clock, self.stats)
        for worker in self.runner._workers:
            worker.start()

    def after(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.runner.step(self.clock.now())


def test_a_hung_collector_delays_no_other_and_is_reported_down_at_its_deadline() -> None:
    begun, release = threading.Event(), threading.Event()

    def hang(now: int) -> Iterable[Item]:
        begun.set()
        release.wait(PATIENCE_SECONDS)
        return [sample(), Event("xid", "79", now, labels(node="n1"))]

    stuck, well = Scripted("stuck", hang), Scripted("well")
    stage = Stage(stuck, well)
    stage.after(1)
    stage.harbour.wait(1)
    assert begun.wait(PATIENCE_SECONDS)  # on a busy machine its thread may come late
    assert stage.harbour.up("well") == [1.0]
    assert stage.harbour.up("stuck") == []
    stage.after(5)
    assert stage.harbour.up("stuck") == [0.0]
    stage.after(5)  # both are due again
    stage.harbour.wait(4)
    assert stage.harbour.up("stuck") == [0.0, 0.0]
    assert stage.harbour.up("well") == [1.0, 1.0]
    assert stuck.calls == 1, "no second scrape joins one that hangs"
    assert stage.stats.get("collector_scrapes_skipped_total", collector="stuck", reason="still running") == 1
    release.set()
    stage.harbour.wait(5)
    assert stage.harbour.up("stuck") == [0.0, 0.0, 0.0], "late samples were reported missing and stay so"
    assert [event.code for event in stage.harbour.events] == ["79"], "an event is news however late"
    assert stage.stats.get("collector_samples_dropped_total", collector="stuck", reason="late") > 0
    stage.after(10)
    stage.harbour.wait(7)
    assert stage.harbour.up("stuck")[-1] == 1.0
    stage.runner.stop()


def test_a_collector_that_will_never_work_is_not_asked_again_but_reported_down() -> None:
    hopeless = Scripted("hopeless", fail(Permanent("no such board")))
    stage = Stage(hopeless)
    stage.after(1)
    stage.harbour.wait(1)
    stage.after(10)
    stage.harbour.wait(2)
    assert stage.harbour.up("hopeless") == [0.0, 0.0]
    assert hopeless.calls == 1
    stage.runner.stop()


def test_a_mistake_in_a_collector_ends_neither_its_thread_nor_the_others(caplog: pytest.LogCaptureFixture) -> None:
    wrong = Scripted("wrong", fail(ZeroDivisionError("oh")))
    stage = Stage(wrong)
    for count, seconds in ((1, 1), (2, 10)):
        stage.after(seconds)
        stage.harbour.wait(count)
    assert stage.harbour.up("wrong") == [0.0, 0.0]
    assert [record.message for record in caplog.records if record.levelno == logging.ERROR] == [
        "collector wrong on n1 has a mistake"
    ]
    stage.runner.stop()


def test_a_change_of_state_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "collectors.runner")
    flaky = Scripted("flaky", fail(Transient("away")))
    stage = Stage(flaky)
    for count in (1, 2, 3, 4):
        if count == 3:
            flaky.does = lambda now: [sample()]
        stage.after(1 if count == 1 else 10)
        stage.harbour.wait(count)
    stage.runner.stop()
    assert [record.message for record in caplog.records] == [
        "collector flaky on n1 is down: away",
        "collector flaky on n1 is up again",
    ]


def test_whoever_takes_the_frames_may_fail_without_stopping_the_scrapes() -> None:
    taken = threading.Semaphore(0)

    def refuse(frame: Frame, events: list[Event]) -> None:
        taken.release()
        raise RuntimeError("full")

    clock, stats = ManualClock(), SelfStats()
    runner = Runner([Spec(Scripted(), "n1", 10.0, 5.0)], refuse, clock, stats)
    for worker in runner._workers:
        worker.start()
    for seconds in (1, 10):
        clock.advance(seconds)
        runner.step(clock.now())
        assert taken.acquire(timeout=PATIENCE_SECONDS)
    runner.stop()
    assert stats.get("collector_frames_dropped_total", collector="scripted", reason="not taken") == 2


def test_the_same_series_share_one_layout_from_scrape_to_scrape() -> None:
    stage = Stage(Scripted())
    for count, seconds in ((1, 1), (2, 10)):
        stage.after(seconds)
        stage.harbour.wait(count)
    assert stage.harbour.frames[0].layout is stage.harbour.frames[1].layout
    stage.runner.stop()


def test_two_collectors_of_a_node_may_not_share_a_name() -> None:
    with pytest.raises(ConfigError, match="two collectors of node n1 are called 'scripted'"):
        Runner([Spec(Scripted(), "n1"), Spec(Scripted(), "n1")], Harbour(), ManualClock(), SelfStats())


def test_starting_and_stopping_twice_is_harmless_and_closes_each_collector_once() -> None:
    harbour, collector = Harbour(), Scripted()
    runner = Runner([Spec(collector, "n1", 0.05, 0.05)], harbour, SystemClock(), SelfStats())
    runner.start()
    runner.start()
    harbour.wait(2)
    runner.stop()
    runner.stop()
    assert collector.closes == 1
    assert collector.calls >= 2


def test_stopping_before_a_start_closes_the_collector() -> None:
    collector = Scripted()
    runner = Runner([Spec(collector, "n1")], Harbour(), ManualClock(), SelfStats())
    runner.stop()
    runner.stop()
    assert collector.closes == 1


def test_stopping_does_not_wait_for_a_source_that_hangs() -> None:
    release, entered = threading.Event(), threading.Event()

    def hang(now: int) -> Iterable[Item]:
        entered.set()
        release.wait(PATIENCE_SECONDS)
        return []

    stuck, well = Scripted("stuck", hang), Scripted("well")
    clock = SystemClock()
    runner = Runner([Spec(stuck, "n1", 10, 5), Spec(well, "n1", 10, 5)], Harbour(), clock, SelfStats())
    runner._workers[0]._schedule.due = runner._workers[1]._schedule.due = 0
    runner.start()
    assert entered.wait(PATIENCE_SECONDS)
    began = clock.now()
    runner.stop(timeout_seconds=0.2)
    assert (clock.now() - began) / SECOND < 2.0
    assert well.closes == 1
    assert stuck.closes == 0, "it may not be closed under its own call"
    release.set()


def test_due_times_keep_to_the_grid_and_the_same_seed_gives_the_same_jitter() -> None:
    schedules = [Schedule(10.0, 0, seed) for seed in ("a", "a", "b")]
    dues: list[list[int]] = []
    for schedule in schedules:
        mine = []
        for _ in range(50):
            mine.append(schedule.due)
            assert schedule.passed(schedule.due) == 0
        dues.append(mine)
    assert dues[0] == dues[1] != dues[2]
    for number, due in enumerate(dues[0]):
        assert number * 10 * SECOND <= due < (number * 10 + 1) * SECOND


def test_a_schedule_that_overslept_counts_what_it_missed_and_does_not_catch_up() -> None:
    schedule = Schedule(10.0, 0, "a")
    assert schedule.passed(35 * SECOND) == 3
    assert schedule.due >= 40 * SECOND


def test_a_clock_that_is_set_back_does_not_stop_the_scrapes() -> None:
    schedule = Schedule(10.0, 1000 * SECOND, "a")
    schedule.agree(100 * SECOND)
    assert schedule.due <= 101 * SECOND
