"""When what used to speak is called silent."""

from __future__ import annotations

import numpy as np

from coldaisle.clock import SECOND
from pipeline.engine_settings import EngineSettings
from pipeline.silences import Gaps

NODES = 100
ALL = np.arange(NODES, dtype=np.int32)


def living(minutes: int = 10) -> tuple[Gaps, int]:
    """Return a hundred nodes heard once a minute, and the time of their last word."""
    gaps = Gaps(EngineSettings())
    gaps.resize(NODES)
    now = 0
    for minute in range(1, minutes + 1):
        now = minute * 60 * SECOND
        speak(gaps, ALL, now)
    return gaps, now


def speak(gaps: Gaps, nodes: np.ndarray, now: int) -> None:
    times = np.full(len(nodes), now, np.int64)
    gaps.arrive(nodes, times)
    gaps.hear(nodes, times, NODES)


def test_a_lone_node_may_miss_two_scrapes_and_not_a_third() -> None:
    gaps, now = living()
    speak(gaps, ALL[1:], now + 60 * SECOND)
    speak(gaps, ALL[1:], now + 120 * SECOND)
    speak(gaps, ALL[1:], now + 180 * SECOND)
    assert list(gaps.fall_silent(now + 190 * SECOND, NODES)) == []
    assert list(gaps.fall_silent(now + 200 * SECOND, NODES)) == [0]


def test_many_at_once_need_less_proof() -> None:
    gaps, now = living()
    speak(gaps, ALL[20:], now + 60 * SECOND)
    speak(gaps, ALL[20:], now + 120 * SECOND)
    assert list(gaps.fall_silent(now + 140 * SECOND, NODES)) == list(range(20))


def test_what_was_said_in_time_counts_although_its_tick_is_open() -> None:
    gaps, now = living()
    for minute in (1, 2, 3):
        speak(gaps, ALL[1:], now + minute * 60 * SECOND)
    gaps.arrive(ALL[:1], np.array([now + 180 * SECOND]))
    gaps.arrive(ALL[:1], np.array([now + 240 * SECOND]))
    assert list(gaps.fall_silent(now + 241 * SECOND, NODES)) == []


def test_who_comes_back_is_told_once() -> None:
    gaps, now = living()
    speak(gaps, ALL[1:], now + 300 * SECOND)
    assert list(gaps.fall_silent(now + 300 * SECOND, NODES)) == [0]
    at = np.array([now + 301 * SECOND])
    assert list(gaps.hear(ALL[:1], at, NODES)) == [0]
    assert list(gaps.hear(ALL[:1], at + SECOND, NODES)) == []
