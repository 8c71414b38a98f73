from __future__ import annotations

from dataclasses import replace

import pytest

from coldaisle.alert import Alert, AlertState
from coldaisle.clock import SECOND, rfc3339
from coldaisle.errors import ConfigError
from coldaisle.incident import Incident, IncidentState, ResolveReason
from coldaisle.severity import Severity
from coldaisle.topology import Entity, Topology
from pipeline.evaluation import describe, evaluate

START = 1_800_000_000 * SECOND
SPAN = (START, START + 7200 * SECOND)


def incident(
    name: str, suspect: str, opened: float, entities: tuple[str, ...] = (), severity: str = "page"
) -> Incident:
    at = START + round(opened * SECOND)
    return Incident(
        id=name,
        title=name,
        severity=Severity(severity),
        state=IncidentState.OPEN,
        suspect=suspect,
        entities=(suspect, *entities),
        started_at=at,
        opened_at=at,
        updated_at=at,
        explanation="",
        recommended_action="",
        reasons=(),
        confidence=0.5,
        alerts=(),
    )


def fault(name: str, entity: str, start: float, end: float | None, **more: object) -> dict[str, object]:
    return {
        "id": name,
        "fault": name,
        "entity": entity,
        "affected": [],
        "start": rfc3339(START + round(start * SECOND)),
        "end": None if end is None else rfc3339(START + round(end * SECOND)),
        "severity": "page",
        **more,
    }


def test_a_found_fault_a_missed_one_and_a_false_incident_are_told_apart() -> None:
    marks = evaluate(
        [incident("right", "gpu/g1", 130, ("node/n1",)), incident("wrong", "gpu/g9", 200)],
        [fault("hot", "gpu/g1", 100, 900), fault("slow", "node/n7", 100, 900)],
        alerts_count=20,
        anomalies_count=50,
        span=SPAN,
    )

    assert marks.precision == 0.5
    assert marks.recall == 0.5
    assert marks.compression == 10
    assert marks.false_incidents == ("wrong",)
    assert marks.findings[0].delay_seconds == 30
    assert marks.findings[0].suspect_is_right
    assert marks.findings[1].incident_id is None
    assert marks.to_json()["faults"][1]["found"] is False
    assert "missed  slow of node/n7" in describe(marks)


def test_a_second_incident_of_one_fault_is_a_duplicate_and_not_false() -> None:
    truth = [fault("feed", "pdu/p1", 0, 600, affected=["node/n1", "node/n2"])]
    marks = evaluate([incident("a", "node/n1", 10), incident("b", "pdu/p1", 40)], truth, 2, 2, SPAN)

    assert marks.precision == 1
    assert marks.duplicates == 1
    assert marks.findings[0].incident_id == "b", "the one that names the culprit stands for the fault"
    assert marks.findings[0].delay_seconds == 10, "the first word of it counts"


def test_lead_is_measured_against_the_end_of_growth() -> None:
    full_at = rfc3339(START + 1000 * SECOND)
    marks = evaluate([incident("a", "gpu/g1", 400)], [fault("plate", "gpu/g1", 100, None, full_at=full_at)], 1, 1, SPAN)

    assert marks.findings[0].lead_seconds == 600


def test_the_median_lead_counts_what_was_missed_as_no_lead_at_all() -> None:
    full_at = rfc3339(START + 1000 * SECOND)
    truth = [fault(f"f{n}", f"gpu/g{n}", 100, None, full_at=full_at) for n in range(3)]
    told = [incident("a", "gpu/g0", 400), incident("b", "gpu/g1", 700)]

    assert evaluate(told, truth, 1, 1, SPAN).median_lead_seconds() == 300
    assert evaluate(told[:1], truth, 1, 1, SPAN).median_lead_seconds() is None
    assert evaluate(told, truth[:1], 1, 1, SPAN).to_json()["median_lead_seconds"] == 600


def test_an_incident_that_stands_for_another_fault_is_no_duplicate_and_no_first_word() -> None:
    truth = [fault("cap", "node/n1", 0, None, affected=["node/n2"]), fault("fan", "node/n2", 0, None)]
    marks = evaluate([incident("fan", "node/n2", 10), incident("cap", "node/n1", 40)], truth, 2, 2, SPAN)

    assert marks.duplicates == 0
    assert [one.delay_seconds for one in marks.findings] == [40, 10]


def test_compression_of_signals_is_the_share_that_people_were_spared() -> None:
    marks = evaluate([incident("a", "gpu/g1", 10)], [fault("f", "gpu/g1", 0, None)], 4, 9, SPAN, signals_count=200)

    assert marks.signal_compression == 0.995
    assert evaluate([], [], 0, 0, SPAN, signals_count=0).signal_compression is None


def test_an_incident_before_its_fault_or_long_after_it_is_false() -> None:
    truth = [fault("hot", "gpu/g1", 3000, 3600)]
    marks = evaluate([incident("early", "gpu/g1", 100), incident("late", "gpu/g1", 3600 + 901)], truth, 2, 2, SPAN)

    assert marks.recall == 0
    assert len(marks.false_incidents) == 2


def test_an_older_incident_counts_from_when_it_took_in_the_new_fault() -> None:
    start = START + 1020 * SECOND
    alert = Alert("xid", "gpu/g1", Severity.PAGE, AlertState.FIRING, start, start)
    old = replace(incident("old", "node/n1", 10), alerts=(alert,))
    marks = evaluate([old], [fault("off_bus", "gpu/g1", 1000, None)], 1, 1, SPAN)

    assert marks.recall == 1
    assert marks.findings[0].delay_seconds == 20


def test_what_is_only_context_or_merged_is_not_judged() -> None:
    merged = replace(incident("m", "gpu/g9", 10), resolve_reason=ResolveReason.DUPLICATE)
    marks = evaluate([merged, incident("i", "gpu/g8", 10, severity="info")], [], 0, 0, SPAN)

    assert marks.incidents == 0
    assert marks.precision is None
    assert marks.recall is None
    assert marks.compression is None


def test_naming_the_node_of_a_gpu_is_right_and_naming_the_site_is_not() -> None:
    topology = Topology(
        [
            Entity("site", "s"),
            Entity("node", "n1", "site/s"),
            Entity("gpu", "g1", "node/n1"),
            Entity("gpu", "g2", "node/n1"),
        ]
    )
    truth = [fault("hot", "gpu/g1", 0, None)]
    by_node = evaluate([incident("a", "node/n1", 5)], truth, 1, 1, SPAN, topology)
    by_site = evaluate([incident("a", "site/s", 5, ("gpu/g1",))], truth, 1, 1, SPAN, topology)

    assert by_node.suspect_accuracy == 1
    assert by_site.recall == 1
    assert by_site.suspect_accuracy == 0


@pytest.mark.parametrize("row", [{"id": "x"}, {**fault("hot", "gpu/g1", 0, None), "start": "yesterday"}])
def test_a_row_that_cannot_be_read_is_named(row: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="truth row 1"):
        evaluate([], [row], 0, 0, SPAN)
