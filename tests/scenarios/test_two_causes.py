"""Faults that have nothing to do with each other stay apart."""

from __future__ import annotations

from coldaisle.severity import Severity
from coldaisle.topology import Entity
from tests.scenarios.story import Story, finding, hall, silent


def test_two_racks_that_lose_power_at_the_same_time_are_two_incidents() -> None:
    story = Story(hall(rows=2, racks=6))
    for rack in ("a1", "b4"):
        story.hear(
            5,
            finding("pdu_down", f"pdu/pdu-{rack}-a", 0, "pdu_up", "limit", Severity.PAGE, f"pdu-{rack}-a is dead"),
            *[silent(f"node/{rack}n{node}", 2) for node in range(1, 9)],
        )
    story.until(40, 5)

    assert {incident.suspect for incident in story.incidents()} == {"pdu/pdu-a1-a", "pdu/pdu-b4-a"}
    assert all(len(incident.alerts) == 9 for incident in story.incidents())


def test_two_silent_racks_of_one_row_are_two_incidents_without_anything_that_ties_them() -> None:
    story = Story(hall(rows=2, racks=8))
    story.hear(200, *[silent(f"node/a1n{node}", 2) for node in range(1, 9)])
    story.hear(200, *[silent(f"node/a5n{node}", 150) for node in range(1, 9)])
    story.until(240, 200)

    assert sorted(incident.suspect for incident in story.incidents()) == ["rack/a1", "rack/a5"]


def test_hot_gpus_in_two_nodes_of_a_row_are_two_tickets() -> None:
    story = Story(hall())
    story.hear(
        1,
        finding("gpu_hot", "gpu/GPU-a1n1-0", 0, "gpu_temperature_celsius", "peers", said="78 °C"),
        finding("gpu_hot", "gpu/GPU-a3n7-2", 0, "gpu_temperature_celsius", "peers", said="79 °C"),
    )
    story.until(30, 1)

    assert sorted(one.suspect for one in story.incidents()) == ["gpu/GPU-a1n1-0", "gpu/GPU-a3n7-2"]
    assert all(one.severity is Severity.TICKET for one in story.incidents())


def test_a_broken_gpu_in_a_row_that_warms_is_an_incident_of_its_own() -> None:
    story = Story(hall())
    warm = [
        finding("inlet_warm", f"node/a{r}n{n}", 5, "node_inlet_temperature_celsius")
        for r in range(1, 5)
        for n in range(1, 9)
    ]
    story.hear(
        10,
        finding("crac_warm", "crac/crac-a", 0, "crac_supply_temperature_celsius", "limit", Severity.PAGE, "warm"),
        finding("xid_page", "gpu/GPU-a1n1-3", 4, "", "event", Severity.PAGE, "GPU GPU-a1n1-3: Xid 48"),
        *warm,
    )
    story.until(40, 10)

    assert {one.suspect for one in story.incidents()} == {"crac/crac-a", "gpu/GPU-a1n1-3"}


def test_a_new_fault_beside_a_chronic_one_is_a_new_incident() -> None:
    story = Story(hall())
    story.hear(1, finding("battery_low", "node/a1n1", 0, "", "event", said="CMOS battery of node a1n1 is low"))
    story.until(7200, 1, step=60)
    story.hear(7205, finding("gpu_hot", "gpu/GPU-a1n1-2", 7200, "gpu_temperature_celsius", "peers", said="91 °C"))
    story.until(7230, 7205)

    assert [one.suspect for one in story.incidents()] == ["node/a1n1", "gpu/GPU-a1n1-2"]


def test_chronic_faults_on_many_nodes_are_one_incident_each() -> None:
    story = Story(hall())
    story.hear(1, *[finding("battery_low", f"node/a{r}n{r}", 0, "", "event", said="low battery") for r in range(1, 5)])
    story.until(3600, 1, step=60)

    assert len(story.incidents()) == 4
    assert story.kinds() == ["opened"] * 4


def test_what_is_only_context_opens_nothing_but_supports_what_it_belongs_to() -> None:
    story = Story(hall())
    story.hear(1, finding("clock_dip", "gpu/GPU-a1n1-1", 0, "gpu_clock_sm_hertz", "peers", Severity.INFO, "clock dips"))
    story.until(30, 1)
    assert story.incidents() == []

    story.hear(35, finding("gpu_hot", "gpu/GPU-a1n1-1", 30, "gpu_temperature_celsius", "peers", said="91 °C"))
    story.until(60, 35)
    incident = story.only()
    assert {alert.name for alert in incident.alerts} == {"clock_dip", "gpu_hot"}
    assert incident.title == "91 °C"


def test_a_metric_that_nobody_described_never_pages() -> None:
    story = Story(hall())
    for node in range(1, 9):
        story.hear(1, finding("odd", f"node/a1n{node}", 0, "thing_17", "level", Severity.PAGE, "odd"))
    story.until(30, 1)

    assert {one.severity for one in story.incidents()} == {Severity.TICKET}


def test_several_nodes_harmed_by_one_cause_page_though_each_alone_would_not() -> None:
    story = Story(hall())
    story.hear(
        1,
        *[finding("inlet_warm", f"node/a1n{n}", 0, "node_inlet_temperature_celsius", said="warm") for n in range(1, 7)],
    )
    story.until(30, 1)

    incident = story.only()
    assert incident.severity is Severity.PAGE
    assert incident.title == "6 of 8 nodes of rack a1 are too warm or short of cooling"


def test_a_dead_supply_in_a_row_that_loses_cooling_is_an_incident_of_its_own() -> None:
    topology = hall()
    topology.add(Entity("psu", "a1n1-psu1", "node/a1n1"))
    story = Story(topology)
    story.hear(
        1,
        finding("crac_warm", "crac/crac-a", 0, "crac_supply_temperature_celsius", "limit", said="warm"),
        *[finding("inlet_warms", f"node/a1n{node}", 5, "node_inlet_temperature_celsius") for node in range(1, 5)],
    )
    story.until(600, 1)
    story.hear(
        605,
        finding("psu_down", "psu/a1n1-psu1", 600, "psu_up", "limit", said="delivers nothing"),
        finding("gpu_power_unlike_siblings", "gpu/GPU-a1n2-1", 600, "gpu_power_watts", "peers", said="draws less"),
        finding("gpu_power_unlike_siblings", "gpu/GPU-a1n3-1", 600, "gpu_power_watts", "peers", said="draws less"),
    )
    story.until(640, 605)

    assert {one.suspect for one in story.incidents()} == {"crac/crac-a", "psu/a1n1-psu1"}
