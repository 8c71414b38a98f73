"""Many alerts with one cause are one incident that names it."""

from __future__ import annotations

import time

from coldaisle.incident import IncidentState, ResolveReason
from coldaisle.severity import Severity
from coldaisle.topology import Topology
from tests.scenarios.story import Story, ended, finding, hall, silent


def test_a_dead_rack_feed_with_64_gpus_is_one_incident_that_names_the_feed() -> None:
    story = Story(hall())
    feed = finding(
        "pdu_down",
        "pdu/pdu-a1-a",
        0,
        "pdu_up",
        "limit",
        Severity.PAGE,
        "PDU pdu-a1-a lost its feed",
        action="Check the breaker of pdu-a1-a",
    )
    brakes = [
        finding(
            "gpu_power_low", f"gpu/GPU-a1n{node}-{slot}", 3, "gpu_power_watts", "peers", said="draws 90 W, not 610 W"
        )
        for node in range(1, 9)
        for slot in range(8)
    ]
    story.hear(5, feed, *brakes)
    story.until(60, 5)

    incident = story.only()
    assert incident.suspect == "pdu/pdu-a1-a"
    assert incident.severity is Severity.PAGE
    assert incident.title == "Rack a1 is short of power: pdu-a1-a lost its feed"
    assert "64 GPUs in 8 nodes" in incident.explanation
    assert incident.recommended_action == "Check the breaker of pdu-a1-a"
    assert len(incident.reasons) == 2
    assert incident.opened_at - incident.started_at <= 15_000_000_000
    assert len(incident.alerts) == 65
    assert story.kinds() == ["opened"]
    assert all(alert.suppressed_by for alert in incident.alerts if alert.entity != incident.suspect)


def test_a_rack_that_falls_silent_is_one_incident_that_admits_what_it_cannot_tell() -> None:
    story = Story(hall())
    story.hear(30, *[silent(f"node/a1n{node}", node / 2) for node in range(1, 9)])
    story.until(60, 30)

    incident = story.only()
    assert incident.title == "All 8 nodes of rack a1 fell silent within 4 s"
    assert incident.suspect == "rack/a1"
    assert "pdu-a1-a, pdu-a1-b and 1 more" in incident.explanation or "leaf-a1" in incident.explanation
    assert "cannot tell" in incident.explanation
    assert incident.confidence <= 0.6


def test_a_row_that_warms_after_its_cooling_unit_fails_joins_the_units_incident() -> None:
    story = Story(hall())
    story.hear(
        5,
        finding(
            "crac_warm",
            "crac/crac-b",
            0,
            "crac_supply_temperature_celsius",
            "limit",
            Severity.PAGE,
            "cooling unit crac-b supplies 31.4 °C, its limit is 27 °C",
        ),
    )
    for minute, rack in enumerate(("b1", "b2", "b3", "b4"), start=1):
        for node in range(1, 9):
            at = 300.0 * minute + node
            inlet = finding(
                "inlet_warm", f"node/{rack}n{node}", at, "node_inlet_temperature_celsius", said="inlet 31 °C"
            )
            story.hear(at, inlet)
    story.until(1400, 1208)

    incident = story.only()
    assert incident.suspect == "crac/crac-b"
    assert incident.title == "Row b warms: cooling unit crac-b supplies 31.4 °C, its limit is 27 °C"
    assert "32 nodes" in incident.explanation
    assert len(incident.timeline) < 60


def test_one_hot_gpu_is_a_ticket_about_that_gpu() -> None:
    story = Story(hall())
    hot = finding(
        "gpu_hot",
        "gpu/GPU-a2n3-5",
        0,
        "gpu_temperature_celsius",
        "peers",
        said="78 °C, siblings 69 °C",
    )
    story.hear(2, hot)
    assert story.incidents() == []
    story.until(20, 2)

    incident = story.only()
    assert incident.suspect == "gpu/GPU-a2n3-5"
    assert incident.severity is Severity.TICKET
    assert "78 °C" in incident.title
    assert incident.entities == ("gpu/GPU-a2n3-5",)


def test_a_gpu_off_the_bus_explains_what_its_node_shows() -> None:
    story = Story(hall())
    story.hear(
        5,
        finding("gpu_count", "node/a1n1", 2, "gpu_count", "limit", Severity.TICKET, "node a1n1 sees 7 GPUs of 8"),
        finding(
            "xid_page",
            "gpu/GPU-a1n1-3",
            0,
            "",
            "event",
            Severity.PAGE,
            "GPU GPU-a1n1-3 has fallen off the bus",
        ),
        finding("node_power", "node/a1n1", 4, "node_power_watts", "peers"),
    )
    story.until(30, 5)

    incident = story.only()
    assert incident.suspect == "gpu/GPU-a1n1-3"
    assert "fallen off the bus" in incident.title
    assert incident.severity is Severity.PAGE


def test_twelve_critical_fans_of_a_node_are_one_incident_with_one_reason() -> None:
    story = Story(Topology())
    fans = [
        finding(
            "sensor_critical",
            "node/holy2x",
            0,
            "fan_rpm",
            "event",
            said=f"Fan {n}A Tach reads critical",
            sensor=f"Fan {n}A Tach",
        )
        for n in range(1, 13)
    ]
    story.hear(1, *fans)
    story.until(30, 1)

    incident = story.only()
    assert "12 sensors of node holy2x" in incident.reasons[0]
    assert "and 9 more" in incident.reasons[0]
    assert len(incident.reasons) == 1


def test_a_hall_that_falls_silent_is_one_incident_and_those_that_return_are_noted() -> None:
    topology = Topology()
    for node in range(1691):
        topology.observe((("node", f"n{node}"),))
    story = Story(topology)
    gone = [silent(f"node/n{node}", node % 40) for node in range(1689)]
    began = time.perf_counter()
    story.hear(120, *gone)
    story.until(160, 120)
    took = time.perf_counter() - began

    incident = story.only()
    assert incident.title == "1,689 of 1,691 nodes fell silent within 39 s"
    assert "whether power, the network or the collecting path failed" in incident.explanation
    assert "management controller" in incident.recommended_action
    assert len(incident.entities) == 1690
    assert incident.opened_at == Story.ns(130)
    assert took < 15  # measured alone: 0.2 s

    for burst in range(80):
        story.hear(1000 + 60 * burst, *[ended(one, 1000 + 60 * burst) for one in gone[10 * burst : 10 * burst + 10]])
    story.until(7000, 5800, step=60)
    incident = story.only()
    assert incident.state is IncidentState.OPEN
    assert "800 nodes recovered, 889 nodes did not yet" in incident.explanation
    assert len(incident.timeline) < 20
    assert story.kinds() == ["opened"]

    story.hear(8000, *[ended(one, 8000) for one in gone[800:]])
    story.until(8400, 8000)
    incident = story.only()
    assert incident.state is IncidentState.RESOLVED
    assert incident.resolve_reason is ResolveReason.ENDED
    assert story.kinds() == ["opened", "resolved"]


def test_ten_nodes_with_nothing_in_common_on_file_that_fall_silent_together_are_one_incident() -> None:
    topology = Topology()
    for node in range(1000):
        topology.observe((("node", f"n{node}"),))
    story = Story(topology)
    story.hear(60, *[silent(f"node/n{node}", 1) for node in range(10)])
    story.until(90, 60)

    assert story.only().title == "10 of 1,000 nodes fell silent within 0 s"


def test_one_rule_on_every_gpu_of_a_node_is_told_in_the_rules_words() -> None:
    story = Story(hall())
    story.hear(
        1,
        *[
            finding("capped", f"gpu/GPU-a1n1-{slot}", 0, "gpu_power_limit_watts", said="it runs under a power cap")
            for slot in range(8)
        ],
    )
    story.until(30, 1)

    assert story.only().title == "it runs under a power cap, and 7 more GPUs of node a1n1"


def test_a_gpu_that_fails_step_by_step_over_an_hour_is_one_incident_that_becomes_a_page() -> None:
    story = Story(hall())
    gpu = "gpu/GPU-a1n1-3"
    pending = finding("gpu_row_remap_pending", gpu, 0, "gpu_remapped_rows_pending", "limit", said="waits for a reset")
    story.hear(1, pending)
    story.until(1800, 1)
    story.hear(1801, finding("gpu_ecc_uncorrected", gpu, 1800, "", "limit", Severity.PAGE, "uncorrected errors"))
    story.until(3900, 1801)
    story.hear(3901, finding("gpu_xid_page", gpu, 3900, "", "event", Severity.PAGE, "Xid 95"))
    story.until(3940, 3901)

    assert len(story.only().alerts) == 3
    assert story.kinds() == ["opened", "worsened"]


def test_what_strikes_a_thing_long_after_it_was_well_again_is_another_incident() -> None:
    story = Story(hall())
    errors = finding("gpu_ecc_storm", "gpu/GPU-a1n1-3", 0, "", "limit", said="many errors")
    story.hear(1, errors)
    story.hear(120, ended(errors, 120))
    story.until(1200, 120)
    story.hear(1201, finding("gpu_xid_page", "gpu/GPU-a1n1-3", 1200, "", "event", Severity.PAGE, "Xid 48"))
    story.until(1240, 1201)

    assert len(story.incidents()) == 2


def test_what_statistics_see_on_a_node_minutes_after_it_complained_itself_is_no_second_incident() -> None:
    story = Story(hall())
    lanes = finding("gpu_pcie_narrow", "gpu/GPU-a1n1-3", 0, "gpu_pcie_link_width_lanes", "limit", said="lost lanes")
    story.hear(1, lanes)
    story.until(400, 1)
    story.hear(401, finding("node_power_departs", "node/a1n1", 400, "node_power_watts", "drift", said="draws less"))
    story.until(440, 401)

    assert story.only().suspect == "gpu/GPU-a1n1-3"


def test_the_same_matter_seen_by_another_rule_soon_after_it_ended_opens_its_incident_again() -> None:
    story = Story(hall())
    slow = finding("straggler", "node/a1n1", 0, "node_job_step_seconds", "peers", said="slows its job")
    story.hear(1, slow)
    story.hear(900, ended(slow, 900))
    story.until(1260, 900)
    still = finding("straggler_by_little", "node/a1n1", 1300, "node_job_step_seconds", "drift", said="is slower")
    story.hear(1301, still)
    story.until(1340, 1301)

    assert story.only().state is IncidentState.OPEN
    assert story.kinds() == ["opened", "resolved", "reopened"]


def test_another_matter_of_the_same_node_soon_after_is_an_incident_of_its_own() -> None:
    story = Story(hall())
    slow = finding("straggler", "node/a1n1", 0, "node_job_step_seconds", "peers", said="slows its job")
    story.hear(1, slow)
    story.hear(900, ended(slow, 900))
    story.until(1260, 900)
    story.hear(1301, silent("node/a1n1", 1300))
    story.until(1340, 1301)

    assert len(story.incidents()) == 2
