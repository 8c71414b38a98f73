from __future__ import annotations

import pytest

from coldaisle.catalogue import CATALOGUE, Drive
from pipeline.alerting.symptoms import Symptom, described, plausible, strength_of, symptom_of
from tests.scenarios.story import finding


@pytest.mark.parametrize(
    ("rule", "entity", "metric", "detector", "symptom"),
    [
        ("node_silent", "node/n1", "", "silence", Symptom.SILENCE),
        ("level", "gpu/g", "gpu_temperature_celsius", "level", Symptom.THERMAL),
        ("level", "cdu/c", "cdu_flow_litres_per_minute", "level", Symptom.THERMAL),
        ("pdu_down", "pdu/p", "pdu_up", "limit", Symptom.POWER),
        ("xid_page", "gpu/g", "", "event", Symptom.DEVICE),
        ("link_down", "port/p", "", "event", Symptom.LINK),
        ("errors", "port/p", "port_symbol_errors_total", "limit", Symptom.LINK),
        ("peers", "node/n1", "node_job_step_seconds", "peers", Symptom.SPEED),
        ("sensor_stuck", "gpu/g", "gpu_temperature_celsius", "quality", Symptom.SENSOR),
        ("level", "node/n1", "Fan 1A Tach", "event", Symptom.THERMAL),
        ("level", "node/n1", "frobnication", "level", Symptom.OTHER),
    ],
)
def test_a_finding_is_of_the_family_that_physics_gives_it(
    rule: str, entity: str, metric: str, detector: str, symptom: Symptom
) -> None:
    assert symptom_of(finding(rule, entity, 0, metric, detector)) is symptom


def test_every_metric_of_the_catalogue_that_detectors_judge_has_a_family() -> None:
    for metric in CATALOGUE.values():
        if metric.drive in (Drive.LOAD, Drive.STEADY) and metric.unit in ("celsius", "watts", "volts", "hertz", "rpm"):
            got = symptom_of(finding("generic", f"{metric.entity}/x", 0, metric.name))
            assert got is not Symptom.OTHER, metric.name


def test_a_cooling_unit_warms_what_it_cools_and_breaks_no_cable() -> None:
    assert plausible("crac/c1", Symptom.THERMAL) == 1.0
    assert plausible("crac/c1", Symptom.LINK) < 0.3
    assert plausible("switch/s1", Symptom.LINK) == 1.0
    assert plausible("pdu/p1", Symptom.POWER) > plausible("rack/r1", Symptom.POWER)


def test_what_a_device_says_of_itself_weighs_more_than_statistics_and_an_unknown_metric_least() -> None:
    event = strength_of(finding("xid", "gpu/g", 0, "", "event"))
    known = strength_of(finding("level", "gpu/g", 0, "gpu_power_watts", "level"))
    assert known == strength_of(finding("departs", "gpu/g", 0, "gpu_power_watts", "drift"))
    unknown = strength_of(finding("level", "gpu/g", 0, "vendor_thing", "level"))

    assert event > known > unknown
    assert not described(finding("level", "gpu/g", 0, "vendor_thing", "level"))
    assert described(finding("limit", "gpu/g", 0, "vendor_thing", "limit"))
