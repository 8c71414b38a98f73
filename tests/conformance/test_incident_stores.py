"""
What every incident store must do.

SQLite in a fresh file, SQLite opened anew before each look, PostgreSQL, and the twin in memory.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from coldaisle.alert import Alert, AlertState
from coldaisle.anomaly import Anomaly, Phase, Window
from coldaisle.clock import HOUR, MINUTE, SECOND
from coldaisle.errors import Transient
from coldaisle.incident import Incident, IncidentState, ResolveReason
from coldaisle.matcher import parse
from coldaisle.severity import Severity
from coldaisle.silence import Silence
from coldaisle.store import IncidentQuery, Notification, NotificationState, RoleState, RoleStore
from coldaisle.store.memory_incidents import MemoryIncidentStore
from coldaisle.store.schema import METADATA
from coldaisle.store.sql import INCIDENTS_FILE, SqlIncidentStore, connect_incidents, open_incidents
from tests.integration.postgres_server import PostgresServer, missing

NOON = 1_790_000_000 * SECOND
Look = Callable[[], RoleStore]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with every migration applied, made once: copying it is ten times faster."""
    folder = tmp_path_factory.mktemp("empty")
    open_incidents(folder).close()
    return folder / INCIDENTS_FILE


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for all checks; each has an emptied database."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    with PostgresServer({"fsync": "off"}) as server:
        connect_incidents(server.url(), server.password).close()
        yield server


ON_POSTGRES = (pytest.mark.integration, pytest.mark.xdist_group("postgres"))


@pytest.fixture(params=["sql", "sql reopened", "memory", pytest.param("postgresql", marks=ON_POSTGRES)])
def look(request: pytest.FixtureRequest, tmp_path: Path, empty: Path) -> Iterator[Look]:
    """Give the store; called again it gives the same incidents, for SQL by a newly opened database where asked."""
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        with server.connect() as connection:
            for table in reversed(METADATA.sorted_tables):
                connection.execute(f"TRUNCATE {table.name} RESTART IDENTITY CASCADE".encode())
        shared = connect_incidents(server.url(), server.password)
        yield lambda: shared
        shared.close()
        return
    if request.param == "memory":
        memory = MemoryIncidentStore()
        yield lambda: memory
        return
    shutil.copy(empty, tmp_path)
    opened: list[SqlIncidentStore] = [open_incidents(tmp_path)]

    def again() -> SqlIncidentStore:
        if request.param == "sql reopened":
            opened.append(open_incidents(tmp_path))
        return opened[-1]

    yield again
    for store in opened:
        store.close()


def window() -> Window:
    return Window(
        "gpu_temperature_celsius",
        "°C",
        (NOON, NOON + SECOND),
        (81.0, None),
        (60.5, 60.6),
        peers={"gpu/g2": (61.0, 62.0)},
    )


def alert(name: str = "gpu-hot", entity: str = "gpu/GPU-a") -> Alert:
    finding = Anomaly(
        id=f"f-{name}-{entity}",
        phase=Phase.OPENED,
        rule=name,
        detector="peers",
        version="1",
        severity=Severity.PAGE,
        entity=entity,
        started_at=NOON,
        updated_at=NOON,
        score=0.9,
        explanation="81 °C, its peers read 61 °C",
        window=window(),
    )
    return Alert(name, entity, Severity.PAGE, AlertState.FIRING, NOON, NOON, anomalies=(finding,))


def incident(incident_id: str = "inc-1", **changes: object) -> Incident:
    plain = Incident(
        id=incident_id,
        title="GPU GPU-a of node n017 is hotter than its peers",
        severity=Severity.PAGE,
        state=IncidentState.OPEN,
        suspect="gpu/GPU-a",
        entities=("gpu/GPU-a", "node/n017"),
        started_at=NOON,
        opened_at=NOON + MINUTE,
        updated_at=NOON + MINUTE,
        explanation="It reads 81 °C where seven siblings read 61 °C.",
        recommended_action="Look at its cold plate.",
        reasons=("81 °C against 61 °C",),
        confidence=0.8,
        alerts=(alert(),),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def notification(number: int = 1, **changes: object) -> Notification:
    plain = Notification(f"msg-{number}", "inc-1", "oncall", "opened", '{"n": 1}', NOON, next_attempt_at=NOON)
    return replace(plain, **changes)  # type: ignore[arg-type]


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


# The outbox


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


# Roles


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


def test_closing_twice_is_harmless(look: Look) -> None:
    store = look()
    store.close()
    store.close()
    assert look().count(IncidentQuery()) == 0
