"""The order in which role ``alert`` hears what the bus delivers."""

from __future__ import annotations

from coldaisle.anomaly import Anomaly
from coldaisle.bus import ANOMALIES, Message, Partition
from coldaisle.clock import SECOND
from pipeline.alerting.in_order import TICK, InOrder, Position, tick_from
from tests.scenarios.story import START, finding

P0, P1 = Partition(ANOMALIES, 0), Partition(ANOMALIES, 1)


def message(partition: Partition, offset: int, at: float) -> Message:
    return Message(partition, offset, b"k", b"", {}, START + round(at * SECOND))


def hot(gpu: str, at: float) -> Anomaly:
    return finding("gpu_hot", f"gpu/{gpu}", at)


def order() -> InOrder:
    fresh = InOrder(3 * SECOND, SECOND // 4, "a bus")
    fresh.start(None, START)
    return fresh


def test_findings_are_heard_by_their_own_time_whichever_partition_brought_them_first() -> None:
    late, early = hot("late", 5.0), hot("early", 4.0)
    for first, second in ((0, 1), (1, 0)):
        given = [(message(P0, 0, 5.5), late), (message(P1, 0, 6.0), early)]
        waiting = order()
        for one in (given[first], given[second]):
            waiting.put(*one)
        assert waiting.take(START + 10 * SECOND)[0] == [early, late]


def test_nothing_is_complete_while_a_partition_with_messages_has_shown_none() -> None:
    waiting = order()
    waiting.put(message(P0, 0, 5.0), hot("a", 5.0))
    asked = START + 20 * SECOND
    assert waiting.complete(asked, {}) is None
    assert waiting.complete(asked, {P0: 0, P1: 3}) is None
    assert waiting.complete(asked, {P0: 2, P1: 0}) == START + 5 * SECOND - 1 - 3 * SECOND
    assert waiting.complete(asked, {P0: 0, P1: 0}) == asked - SECOND // 4 - 3 * SECOND


def test_what_is_worked_off_out_of_order_is_remembered_one_by_one() -> None:
    waiting = order()
    waiting.put(message(P0, 7, 9.0), hot("a", 9.0))
    waiting.put(message(P0, 8, 9.1), hot("b", 6.5))
    waiting.put(message(P0, 12, 9.2), None)  # unreadable; 9 to 11 have expired
    assert len(waiting.take(START + 7 * SECOND)[0]) == 1
    position = Position.of(waiting.position().text())
    assert (position.next, position.beyond) == ({P0: 7}, {P0: frozenset({8, 12})})

    again = InOrder(3 * SECOND, SECOND // 4, "a bus")
    again.start(position, START)
    for offset in (7, 8, 12):
        again.put(message(P0, offset, 9.2), hot(f"{offset}", 9.0))
    assert [one.entity for one in again.take(START + 30 * SECOND)[0]] == ["gpu/7"]
    assert again.position().next == {P0: 13}
    assert again.position().beyond == {}


def test_what_comes_for_a_moment_that_was_decided_is_heard_next_and_counted() -> None:
    waiting = order()
    waiting.take(START + 20 * SECOND)
    waiting.put(message(P0, 0, 10.0), hot("a", 10.0))
    assert waiting.late == 1
    assert waiting.next_moment() == START + 20 * SECOND + 1
    assert len(waiting.take(tick_from(START + 20 * SECOND + 1))[0]) == 1


def test_a_position_of_another_bus_says_only_what_was_decided_and_never_the_future() -> None:
    old = Position("yesterday's", START + 50 * SECOND, {P0: 99}, {})
    waiting = order()
    waiting.start(old, START + 10 * SECOND)
    assert (waiting.decided, waiting.position().next) == (START + 10 * SECOND, {})


def test_ticks_are_the_same_in_every_run() -> None:
    assert tick_from(START) % TICK == 0
    assert [tick_from(10 * TICK + one) // TICK for one in (-1, 0, 1)] == [10, 10, 11]
