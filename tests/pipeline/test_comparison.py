from __future__ import annotations

from dataclasses import replace

from coldaisle.clock import MINUTE, SECOND
from coldaisle.incident import Incident, IncidentState, ResolveReason
from coldaisle.severity import Severity
from pipeline.comparison import Outcome, compare

START = 1_800_000_000 * SECOND


def incident(name: str, suspect: str, opened: float, *entities: str, severity: str = "page") -> Incident:
    at = START + round(opened * MINUTE)
    return Incident(
        id=name, title=name, severity=Severity(severity), state=IncidentState.OPEN, suspect=suspect,
        entities=(suspect, *entities), started_at=at, opened_at=at, updated_at=at, explanation="",
        recommended_action="", reasons=(), confidence=0.5, alerts=(),
    )  # fmt: skip


def outcome(*incidents: Incident) -> Outcome:
    return Outcome(incidents, notifications=len(incidents), alerts=0, anomalies=0, evaluation=None)


def test_a_run_differs_in_nothing_from_itself() -> None:
    run = outcome(incident("a", "gpu/1", 0), incident("b", "node/2", 30, "gpu/3"))
    found = compare(run, run)
    assert [(old.id, new.id) for old, new in found.same] == [("a", "a"), ("b", "b")]
    assert (found.only_before, found.only_after, found.changed) == ((), (), ())


def test_the_same_trouble_found_a_little_later_is_the_same() -> None:
    found = compare(outcome(incident("a", "gpu/1", 0)), outcome(incident("x", "gpu/1", 12)))
    assert len(found.same) == 1


def test_the_same_entity_hours_later_is_another_trouble() -> None:
    found = compare(outcome(incident("a", "gpu/1", 0)), outcome(incident("x", "gpu/1", 180)))
    assert [one.id for one in found.only_before] == ["a"]
    assert [one.id for one in found.only_after] == ["x"]


def test_an_incident_that_lasts_is_the_same_as_one_that_opens_within_it() -> None:
    long = replace(incident("a", "gpu/1", 0), ended_at=START + 300 * MINUTE)
    assert len(compare(outcome(long), outcome(incident("x", "gpu/1", 200))).same) == 1


def test_another_suspect_of_the_same_reach_is_the_same_trouble() -> None:
    old, new = incident("a", "node/1", 0, "gpu/1", "gpu/2"), incident("x", "gpu/2", 1)
    assert len(compare(outcome(old), outcome(new)).same) == 1


def test_a_second_incident_of_one_trouble_is_a_second_call() -> None:
    after = outcome(incident("x", "gpu/1", 1), incident("y", "gpu/1", 5))
    found = compare(outcome(incident("a", "gpu/1", 0)), after)
    assert [one.id for one in found.only_after] == ["y"]


def test_who_suspects_the_same_is_paired_before_who_only_reaches_it() -> None:
    before = outcome(incident("wide", "node/1", 0, "gpu/1"), incident("narrow", "gpu/1", 1))
    found = compare(before, outcome(incident("x", "gpu/1", 2)))
    assert [(old.id, new.id) for old, new in found.same] == [("narrow", "x")]
    assert [one.id for one in found.only_before] == ["wide"]


def test_a_ticket_that_becomes_a_page_is_told() -> None:
    old, new = incident("a", "gpu/1", 0, severity="ticket"), incident("x", "gpu/1", 0)
    found = compare(outcome(old), outcome(new))
    assert [(one.severity.value, two.severity.value) for one, two in found.changed] == [("ticket", "page")]
    told = found.to_json()
    assert told["before"]["by_severity"] == {"page": 0, "ticket": 1, "info": 0}
    assert told["severity_changed"][0]["after"]["suspect"] == "gpu/1"


def test_duplicates_that_were_merged_were_seen_by_nobody() -> None:
    merged = replace(incident("b", "gpu/1", 1), state=IncidentState.RESOLVED, resolve_reason=ResolveReason.DUPLICATE)
    found = compare(outcome(incident("a", "gpu/1", 0), merged), outcome())
    assert [one.id for one in found.only_before] == ["a"]
