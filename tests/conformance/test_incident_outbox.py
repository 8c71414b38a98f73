"""What every incident store must do with the notifications that wait for their receivers."""

from __future__ import annotations

import threading

from coldaisle.clock import HOUR, SECOND
from coldaisle.store import NotificationState
from tests.conformance.incidents import NOON, Look, incident, notification


def test_a_notification_is_leased_to_one_until_the_lease_ends(look: Look) -> None:
    look().save(incident(), [notification()])
    assert look().lease(NOON - 1, 10, 60) == []
    assert look().lease(NOON, 10, 60) == [notification()]
    assert look().lease(NOON + 60 * SECOND - 1, 10, 60) == []
    assert look().lease(NOON + 60 * SECOND, 10, 60) == [notification()]


def test_a_lease_keeps_to_its_limit_and_to_its_receivers(look: Look) -> None:
    outbox = [notification(n, incident_id=f"i{n}", receiver="ab"[n % 2]) for n in range(6)]
    look().save(incident(), outbox)
    assert [one.id for one in look().lease(NOON, 2, 60, ["a"])] == ["msg-0", "msg-2"]
    assert look().lease(NOON, 9, 60, ["c"]) == []
    assert [one.id for one in look().lease(NOON, 9, 60)] == ["msg-1", "msg-3", "msg-4", "msg-5"]


def test_nobody_hears_resolved_before_opened(look: Look) -> None:
    outbox = [notification(1), notification(2, kind="resolved"), notification(3, receiver="other")]
    look().save(incident(), outbox)
    assert [one.id for one in look().lease(NOON, 9, 60)] == ["msg-1", "msg-3"]
    look().settle(notification(1, attempts=1, next_attempt_at=NOON + HOUR))
    assert look().lease(NOON, 9, 60) == []
    look().settle(notification(1, attempts=2, state=NotificationState.SENT, sent_at=NOON))
    assert [one.id for one in look().lease(NOON, 9, 60)] == ["msg-2"]


def test_a_dead_notification_lets_the_next_one_pass(look: Look) -> None:
    look().save(incident(), [notification(1), notification(2, kind="resolved")])
    look().settle(notification(1, state=NotificationState.DEAD, last_error="refused"))
    assert [one.id for one in look().lease(NOON, 9, 60)] == ["msg-2"]


def test_a_notification_is_written_once_whatever_is_said_of_it_later(look: Look) -> None:
    first = look().save(incident(), [notification()])
    look().save(first.noted(NOON, "note", "again"), [notification(body="{}")])
    assert look().notifications() == [notification()]


def test_what_was_settled_is_read_back(look: Look) -> None:
    look().save(incident(), [notification()])
    settled = notification(attempts=3, state=NotificationState.SENT, sent_at=NOON + 5, last_error="")
    look().settle(settled)
    assert look().notifications() == [settled]
    assert look().lease(NOON + HOUR, 9, 60) == []


def test_a_late_word_does_not_unsend(look: Look) -> None:
    look().save(incident(), [notification()])
    sent = notification(attempts=1, state=NotificationState.SENT, sent_at=NOON)
    look().settle(sent)
    look().settle(notification(attempts=2, next_attempt_at=NOON))
    look().settle(notification(attempts=2, state=NotificationState.DEAD))
    assert look().notifications() == [sent]


def test_settling_ends_the_lease(look: Look) -> None:
    look().save(incident(), [notification()])
    look().lease(NOON, 9, 3600)
    look().settle(notification(attempts=1, next_attempt_at=NOON + SECOND))
    assert [one.attempts for one in look().lease(NOON + SECOND, 9, 60)] == [1]


def test_notifications_are_listed_by_incident_and_state_the_newest_first(look: Look) -> None:
    look().save(incident(), [notification(n, incident_id="xy"[n % 2]) for n in range(4)])
    look().settle(notification(3, incident_id="y", state=NotificationState.DEAD))
    assert [one.id for one in look().notifications()] == ["msg-3", "msg-2", "msg-1", "msg-0"]
    assert [one.id for one in look().notifications("y")] == ["msg-3", "msg-1"]
    assert [one.id for one in look().notifications("y", NotificationState.WAITING)] == ["msg-1"]
    assert [one.id for one in look().notifications(limit=1)] == ["msg-3"]


def test_a_dead_letter_begins_anew_when_asked(look: Look) -> None:
    look().save(incident(), [notification()])
    assert look().requeue("msg-1", NOON) is False
    look().settle(notification(attempts=9, state=NotificationState.DEAD, last_error="refused with 404"))
    assert look().requeue("msg-1", NOON + HOUR) is True
    assert look().requeue("msg-1", NOON + HOUR) is False
    assert look().requeue("msg-7", NOON + HOUR) is False
    (again,) = look().lease(NOON + HOUR, 9, 60)
    assert (again.attempts, again.created_at, again.last_error) == (0, NOON + HOUR, "refused with 404")


def test_two_threads_never_lease_the_same(look: Look) -> None:
    look().save(incident(), [notification(n, incident_id=f"i{n}") for n in range(60)])
    stores = [look(), look()]
    leased: list[list[str]] = [[], []]
    together = threading.Barrier(2)

    def work(mine: int) -> None:
        together.wait()
        while batch := stores[mine].lease(NOON, 3, 3600):
            leased[mine].extend(one.id for one in batch)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(leased[0] + leased[1]) == sorted(f"msg-{n}" for n in range(60))
