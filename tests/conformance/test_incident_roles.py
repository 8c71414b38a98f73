"""What every incident store must do for the roles that write to it: one holds a role, a round is written whole."""

from __future__ import annotations

import threading

import pytest

from coldaisle.clock import SECOND
from coldaisle.errors import Transient
from coldaisle.store import RoleState
from tests.conformance.incidents import NOON, Look, incident, notification


def test_a_role_is_held_by_one_until_its_lease_ends_or_it_lets_go(look: Look) -> None:
    assert look().hold("alert", "p1", NOON, 5) == 1
    assert look().hold("alert", "p2", NOON + 5 * SECOND - 1, 5) == 0
    assert look().hold("alert", "p1", NOON + 4 * SECOND, 5) == 1
    assert look().hold("other", "p2", NOON, 5) == 1
    assert look().hold("alert", "p2", NOON + 9 * SECOND, 5) == 2
    assert look().hold("alert", "p1", NOON + 9 * SECOND, 5) == 0
    look().let_go("alert", "p1")  # it has nothing to let go of
    assert look().hold("alert", "p1", NOON + 9 * SECOND, 5) == 0
    look().let_go("alert", "p2")
    assert look().hold("alert", "p1", NOON + 9 * SECOND, 5) == 3


def test_the_parts_of_a_state_are_written_replaced_and_removed(look: Look) -> None:
    assert look().state("alert") == {}
    look().hold("alert", "p1", NOON, 5)
    look().save_round([], RoleState("alert", "p1", {"a": "1", "b": "{}", "c": "ä"}))
    look().save_round([], RoleState("alert", "p1", {"a": "2", "b": None, "nothing": None}))
    assert look().state("alert") == {"a": "2", "c": "ä"}
    assert look().state("other") == {}


def test_a_round_is_written_whole(look: Look) -> None:
    look().hold("alert", "p1", NOON, 5)
    state = RoleState("alert", "p1", {"a": "1"})
    first, second = look().save_round([(incident("inc-1"), [notification()]), (incident("inc-2"), [])], state)
    assert (first.version, second.version) == (1, 1)
    assert look().state("alert") == {"a": "1"}
    assert [one.id for one in look().notifications()] == ["msg-1"]


def test_a_round_in_which_one_incident_was_changed_by_another_leaves_no_trace(look: Look) -> None:
    look().hold("alert", "p1", NOON, 5)
    stored = look().save(incident("inc-2"))
    look().save(stored.acknowledged(NOON, "ann"))
    with pytest.raises(Transient, match="inc-2"):
        look().save_round([(incident("inc-1"), [notification()]), (stored, [])], RoleState("alert", "p1", {"a": "1"}))
    assert look().get("inc-1") is None
    assert look().notifications() == []
    assert look().state("alert") == {}


def test_who_lost_its_role_writes_nothing_more(look: Look) -> None:
    look().hold("alert", "p1", NOON, 5)
    look().hold("alert", "p2", NOON + 6 * SECOND, 5)
    with pytest.raises(Transient, match="another process"):
        look().save_round([(incident(), [notification()])], RoleState("alert", "p1", {"a": "1"}))
    assert look().get("inc-1") is None
    assert look().state("alert") == {}


def test_of_two_threads_that_want_a_role_one_has_it(look: Look) -> None:
    stores = [look(), look()]
    together = threading.Barrier(2)
    outcomes: list[int] = []

    def work(mine: int) -> None:
        together.wait()
        outcomes.append(stores[mine].hold("alert", f"p{mine}", NOON, 5))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [0, 1]
