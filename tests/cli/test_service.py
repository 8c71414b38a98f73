"""Workers start, survive what passes, end what does not, and leave nothing that waits."""

from __future__ import annotations

import threading
from collections import deque

from cli.service import Stop, Worker
from coldaisle.errors import Permanent, Transient


def test_a_worker_works_off_what_waits_before_its_last_words() -> None:
    waiting, done = deque(range(50)), []
    begun = threading.Event()

    def step() -> None:
        begun.set()
        if waiting:
            done.append(waiting.popleft())

    with Worker("role", step, Stop(), lambda: done.append(-1), lambda: len(waiting)):
        assert begun.wait(5)
    assert done == [*range(50), -1]


def test_a_worker_whose_step_has_trouble_while_leaving_does_not_hang() -> None:
    begun = threading.Event()

    def step() -> None:
        begun.set()
        raise Transient("the disk is full")

    with Worker("role", step, Stop(), None, lambda: 7):
        assert begun.wait(5)


def test_trouble_that_passes_ends_nothing() -> None:
    stop, tries = Stop(), []
    worked = threading.Event()

    def step() -> None:
        tries.append(1)
        if len(tries) == 1:
            error = Transient("away")
            error.retry_after_seconds = 0.0  # type: ignore[attr-defined]
            raise error
        worked.set()

    with Worker("role", step, stop):
        assert worked.wait(5)
    assert not stop.failed


def test_an_error_that_stays_ends_the_service_and_says_who_failed() -> None:
    stop, last = Stop(), []

    def step() -> None:
        raise Permanent("too much poison")

    with Worker("score", step, stop, lambda: last.append(1)):
        assert stop.wait(5)
    assert stop.failure == "score: too much poison"
    assert last == []


def test_the_first_failure_is_the_one_that_is_told() -> None:
    stop = Stop()
    stop.fail("one")
    stop.fail("two")
    assert stop.failure == "one"
