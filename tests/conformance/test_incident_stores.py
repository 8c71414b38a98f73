"""What every incident store must do with incidents, silences and the audit."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from coldaisle.clock import HOUR, MINUTE
from coldaisle.errors import Transient
from coldaisle.incident import IncidentState, ResolveReason
from coldaisle.matcher import parse
from coldaisle.severity import Severity
from coldaisle.silence import Silence
from coldaisle.store import IncidentQuery
from tests.conformance.incidents import NOON, Look, alert, incident, notification, window

# Saving and reading


def test_what_was_saved_is_read_back_whole_with_its_new_version(look: Look) -> None:
    stored = look().save(incident())
    assert stored == incident(version=1)
    assert look().get("inc-1") == stored


def test_an_unknown_incident_is_none(look: Look) -> None:
    assert look().get("inc-1") is None
    assert look().get("") is None


def test_the_beginning_of_an_id_will_do_while_it_is_unambiguous(look: Look) -> None:
    for incident_id in ("abc1", "abc2", "abd", "a"):
        look().save(incident(incident_id))
    found = {asked: look().get(asked) for asked in ("abd", "abc2", "abc", "ab", "a", "ABD", "a_d", "%", "")}
    assert {asked: one.id for asked, one in found.items() if one} == {"abd": "abd", "abc2": "abc2", "a": "a"}


def test_versions_rise_with_every_change(look: Look) -> None:
    first = look().save(incident())
    second = look().save(first.acknowledged(NOON + HOUR, "ann"))
    assert (first.version, second.version) == (1, 2)
    assert look().get("inc-1") == second


def test_a_change_of_something_already_changed_is_refused(look: Look) -> None:
    first = look().save(incident())
    second = look().save(first.acknowledged(NOON + HOUR, "ann"))
    with pytest.raises(Transient, match="inc-1"):
        look().save(first.acknowledged(NOON + HOUR, "ben"))
    assert look().get("inc-1") == second


def test_the_same_new_incident_twice_is_refused(look: Look) -> None:
    look().save(incident())
    with pytest.raises(Transient, match="inc-1"):
        look().save(incident())


def test_a_change_of_something_that_is_not_there_is_refused(look: Look) -> None:
    with pytest.raises(Transient, match="inc-1"):
        look().save(incident(version=3))


def test_what_is_refused_leaves_no_notification(look: Look) -> None:
    look().save(incident())
    with pytest.raises(Transient):
        look().save(incident(), [notification()])
    assert look().notifications() == []


def test_evidence_survives_a_change_made_from_a_list(look: Look) -> None:
    look().save(incident())
    (light,) = look().find(IncidentQuery())
    assert light.alerts[0].anomalies[0].window is None
    look().save(light.acknowledged(NOON + HOUR, "ann"))
    whole = look().get("inc-1")
    assert whole is not None
    assert whole.alerts[0].anomalies[0].window == window()


def test_evidence_that_comes_later_is_kept_too(look: Look) -> None:
    first = look().save(incident())
    look().save(replace(first, alerts=(*first.alerts, alert("gpu-slow"))))
    whole = look().get("inc-1")
    assert whole is not None
    assert [one.anomalies[0].window for one in whole.alerts] == [window(), window()]


def test_of_two_threads_that_change_the_same_incident_one_is_told(look: Look) -> None:
    first = look().save(incident())
    stores = [look(), look()]
    together = threading.Barrier(2)
    outcomes: list[str] = []

    def work(mine: int) -> None:
        together.wait()
        try:
            stores[mine].save(first.acknowledged(NOON, f"person {mine}"))
            outcomes.append("saved")
        except Transient:
            outcomes.append("told")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["saved", "told"]


# Finding


@pytest.fixture
def many(look: Look) -> Look:
    """Five incidents an hour apart, each lasting half an hour; the last one lasts still."""
    severities = [Severity.PAGE, Severity.TICKET, Severity.INFO, Severity.TICKET, Severity.PAGE]
    for number, severity in enumerate(severities):
        begin = NOON + number * HOUR
        one = incident(
            f"inc-{number}",
            severity=severity,
            title=f"Ärger {number}: fan of Node n{number} stands",
            suspect=f"node/n{number}",
            entities=(f"node/n{number}", f"psu/n{number}:psu0", "rack/r1"),
            explanation="0 % of 6,000 rpm_" if number % 2 else "Nothing is known.",
            started_at=begin,
            opened_at=begin + MINUTE,
        )
        if number < 4:
            one = replace(one.resolved(begin + HOUR // 2, "ann", ResolveReason.REAL))
        look().save(one)
    return look


def ids(look: Look, query: IncidentQuery) -> list[str]:
    found = [one.id for one in look().find(query)]
    assert look().count(query) == len(found)
    return found


def test_an_empty_query_finds_all_the_newest_first(many: Look) -> None:
    assert ids(many, IncidentQuery()) == ["inc-4", "inc-3", "inc-2", "inc-1", "inc-0"]


def test_limit_and_offset_cut_a_page_and_the_count_stays_whole(many: Look) -> None:
    query = IncidentQuery(limit=2, offset=1)
    assert [one.id for one in many().find(query)] == ["inc-3", "inc-2"]
    assert many().count(query) == 5


def test_the_same_instant_is_ordered_by_id(look: Look) -> None:
    for incident_id in ("b", "c", "a"):
        look().save(incident(incident_id))
    assert ids(look, IncidentQuery()) == ["c", "b", "a"]


def test_what_is_found_carries_its_version(many: Look) -> None:
    assert [one.version for one in many().find(IncidentQuery())] == [1, 1, 1, 1, 1]


def test_states_and_severities_filter(many: Look) -> None:
    assert ids(many, IncidentQuery(states=(IncidentState.OPEN,))) == ["inc-4"]
    assert len(ids(many, IncidentQuery(states=(IncidentState.OPEN, IncidentState.RESOLVED)))) == 5
    assert ids(many, IncidentQuery(severities=(Severity.TICKET,))) == ["inc-3", "inc-1"]
    assert ids(many, IncidentQuery(states=(IncidentState.RESOLVED,), severities=(Severity.PAGE,))) == ["inc-0"]


ENTITIES = [
    ("node/n3", ["inc-3"]),
    ("n3", ["inc-3"]),
    ("psu/n2:psu0", ["inc-2"]),
    ("n2:psu0", ["inc-2"]),
    ("psu0", []),
    ("node/n", []),
    ("rack/n3", []),
    ("r1", ["inc-4", "inc-3", "inc-2", "inc-1", "inc-0"]),
]


def test_an_entity_is_found_with_and_without_its_kind(many: Look) -> None:
    found = [(entity, ids(many, IncidentQuery(entity=entity))) for entity, _ in ENTITIES]
    assert found == ENTITIES


SPANS = [
    (None, NOON - 1, []),
    (None, NOON, ["inc-0"]),
    (NOON + HOUR // 2, NOON + HOUR - 1, ["inc-0"]),  # touching its last instant
    (NOON + HOUR // 2 + 1, NOON + HOUR - 1, []),
    (NOON + HOUR // 2 + 1, NOON + HOUR, ["inc-1"]),  # touching its first
    (NOON + 100 * HOUR, None, ["inc-4"]),  # it lasts still
    (NOON + 3 * HOUR, None, ["inc-4", "inc-3"]),
]


def test_a_span_finds_what_touches_it(many: Look) -> None:
    found = [(start, end, ids(many, IncidentQuery(start=start, end=end))) for start, end, _ in SPANS]
    assert found == SPANS


TEXTS = [
    ("ÄRGER 3", ["inc-3"]),
    ("stands ärger n1", ["inc-1"]),
    ("n2:psu", ["inc-2"]),
    ("n4", ["inc-4"]),
    ("6,000", ["inc-3", "inc-1"]),
    ("0 %", ["inc-3", "inc-1"]),
    ("rpm_", ["inc-3", "inc-1"]),
    ("rpm%", []),
    ('"stands"', []),
    ("stands OR nothing", []),
    ("nothing*", []),
    ("tand", ["inc-4", "inc-3", "inc-2", "inc-1", "inc-0"]),
    ("   ", ["inc-4", "inc-3", "inc-2", "inc-1", "inc-0"]),
    ("'); DROP TABLE incidents; --", []),
    ("a\0b", []),
]


def test_every_word_of_a_text_must_occur(many: Look) -> None:
    found = [(text, ids(many, IncidentQuery(text=text))) for text, _ in TEXTS]
    assert found == TEXTS


def test_a_changed_incident_is_found_by_what_it_says_now(many: Look) -> None:
    one = many().get("inc-4")
    assert one is not None
    many().save(replace(one, title="The whole rack is dark", entities=("node/n4", "node/n9")))
    assert ids(many, IncidentQuery(text="dark")) == ["inc-4"]
    assert ids(many, IncidentQuery(text="ärger 4")) == []
    assert ids(many, IncidentQuery(entity="n9")) == ["inc-4"]
    assert ids(many, IncidentQuery(entity="psu/n4:psu0")) == []


# Silences and the audit


def silence(silence_id: str = "s1", starts_at: int = NOON, ends_at: int = NOON + HOUR) -> Silence:
    return Silence(silence_id, parse('node=~"n01.*", alertname!="x"'), starts_at, ends_at, "ann", "new fans")


def test_a_silence_is_kept_and_holds_from_its_begin_until_its_end(look: Look) -> None:
    look().save_silence(silence())
    assert look().silences() == [silence()]
    held = {now: look().silences(now) for now in (NOON - 1, NOON, NOON + HOUR - 1, NOON + HOUR)}
    assert [bool(found) for found in held.values()] == [False, True, True, False]


def test_silences_come_the_newest_first_and_one_with_the_same_id_is_replaced(look: Look) -> None:
    look().save_silence(silence("s1"))
    look().save_silence(silence("s2", NOON + 1))
    look().save_silence(silence("s1", NOON, NOON + 2 * HOUR))
    assert look().silences() == [silence("s2", NOON + 1), silence("s1", NOON, NOON + 2 * HOUR)]


def test_a_silence_can_be_ended_once(look: Look) -> None:
    look().save_silence(silence())
    assert look().expire_silence("s1", NOON + MINUTE, "ben") is True
    assert look().expire_silence("s1", NOON + 2 * MINUTE) is False
    assert look().expire_silence("s9", NOON) is False
    assert look().silences(NOON + MINUTE) == []
    assert look().silences() == [silence(ends_at=NOON + MINUTE)]


def test_the_audit_knows_who_did_what(look: Look) -> None:
    stored = look().save(incident().noted(NOON, "opened", "one alert"))
    stored = look().save(stored.acknowledged(NOON + 1, "ann"))
    look().save(stored.noted(NOON + 2, "alert", "another").resolved(NOON + 3, "ben", ResolveReason.NOISE))
    look().save_silence(silence())
    look().expire_silence("s1", NOON + MINUTE, "ben")
    done = [(entry.actor, entry.action, entry.subject) for entry in look().audit()]
    assert done == [
        ("ben", "silence expired", "s1"),
        ("ann", "silenced", "s1"),
        ("ben", "resolved", "inc-1"),
        ("ann", "acknowledged", "inc-1"),
    ]
    assert [entry.text for entry in look().audit("inc-1", limit=1)] == ["resolved: noise"]


def test_closing_twice_is_harmless(look: Look) -> None:
    store = look()
    store.close()
    store.close()
    assert look().count(IncidentQuery()) == 0
