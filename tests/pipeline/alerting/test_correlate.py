from __future__ import annotations

import time

from hypothesis import example, given, settings
from hypothesis import strategies as st

from coldaisle.severity import Severity
from coldaisle.topology import Entity, Relation, RelationKind, Topology
from pipeline.alerting.correlate import anchor, correlate
from pipeline.alerting.graph import Graph
from pipeline.alerting.settings import AlertSettings
from pipeline.alerting.suspects import judge
from pipeline.alerting.track import Track
from tests.scenarios.story import finding, hall, run_job, silent

SETTINGS = AlertSettings()
HALL = hall()
PLACES = [entity.id for entity in HALL if entity.kind in ("node", "gpu", "pdu", "crac", "switch")]


def tracks(*findings: object) -> list[Track]:
    return [Track.of(one, 0) for one in findings]  # type: ignore[arg-type]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(PLACES),
            st.floats(0, 4000),
            st.sampled_from(["gpu_temperature_celsius", "gpu_power_watts", "port_symbol_errors_total", "node_thing"]),
            st.sampled_from(["level", "peers", "event", "silence"]),
        ),
        max_size=40,
    )
)
@example(
    [
        ("crac/crac-a", 301.0, "gpu_power_watts", "level"),
        ("switch/leaf-a1", 0.0, "gpu_temperature_celsius", "level"),
    ]
)
@settings(derandomize=True, max_examples=40, deadline=None)
def test_every_alert_is_in_exactly_one_group_and_the_order_of_arrival_does_not_matter(
    rows: list[tuple[str, float, str, str]],
) -> None:
    some = tracks(*[finding(f"r-{metric}", place, at, metric, detector) for place, at, metric, detector in rows])
    graph = Graph(HALL)
    groups = correlate(some, graph, SETTINGS)

    assert sorted(id(track) for group in groups for track in group.tracks) == sorted(id(track) for track in some)
    again = correlate(list(reversed(some)), graph, SETTINGS)

    def shape(found: list[object]) -> list[tuple[str, list[tuple[str, int]]]]:
        return sorted(
            (group.scope, sorted((t.fingerprint, t.starts_at) for t in group.tracks))  # type: ignore[attr-defined]
            for group in found
        )

    assert shape(list(groups)) == shape(list(again))


def test_two_thousand_alerts_in_a_large_hall_are_sorted_within_a_second_or_so() -> None:
    topology = hall(rows=10, racks=20, nodes=16, gpus=8)
    assert len(topology) > 28_000
    graph = Graph(topology)
    some = tracks(
        *[silent(f"node/{row}{rack}n{node}", 1) for row in "abcdef" for rack in range(1, 21) for node in range(1, 17)]
    )
    some += tracks(
        *[finding("hot", f"gpu/GPU-j{r}n{n}-0", 1, "gpu_temperature_celsius", "peers") for r in (1, 9) for n in (1, 9)]
    )
    began = time.perf_counter()
    groups = correlate(some, graph, SETTINGS)
    took = time.perf_counter() - began

    assert len(some) > 1900
    assert len(groups) <= 1 + 4
    assert took < 15  # measured alone: 0.5 s


def test_of_a_dead_supply_only_the_feed_it_hangs_on_is_suspected() -> None:
    topology = Topology([Entity("rack", "r1"), Entity("pdu", "p1", "rack/r1"), Entity("pdu", "p2", "rack/r1")])
    for node in range(4):
        topology.add(Entity("node", f"n{node}", "rack/r1"))
        for feed in (1, 2):
            psu = topology.observe((("node", f"n{node}"), ("psu", f"n{node}-psu{feed}")))
            topology.relate(Relation(RelationKind.FEEDS, f"pdu/p{feed}", psu))
            topology.relate(Relation(RelationKind.FEEDS, psu, f"node/n{node}"))
    supplies = [f"psu/n{node}:n{node}-psu2" for node in range(4)]
    some = tracks(*[finding("psu_down", psu, 1, "psu_up", "limit", Severity.TICKET) for psu in supplies])
    groups = correlate(some, Graph(topology), SETTINGS)

    assert [group.scope for group in groups] == ["pdu/p2"]


def test_a_straggler_is_suspected_where_the_whole_job_slows() -> None:
    topology = hall()
    nodes = [f"node/a{rack}n1" for rack in range(1, 5)]
    run_job(topology, "train-1", nodes)
    slow = [finding("step_slow", node, 5, "node_job_step_seconds", "level") for node in nodes[1:]]
    throttled = finding("throttle", nodes[0], 0, "gpu_throttle_thermal_seconds_total", "limit", Severity.PAGE)
    straggler = finding("step_slow", nodes[0], 5, "node_job_step_seconds", "peers", Severity.PAGE)
    graph = Graph(topology)
    some = tracks(*slow, straggler, throttled)
    groups = correlate(some, graph, SETTINGS)
    job = next(group for group in groups if len(group.tracks) >= 4)

    assert judge(job.scope, job.tracks, graph).suspect in ("job/train-1", nodes[0])


def test_a_finding_of_the_site_belongs_to_what_its_members_share() -> None:
    members = [f"node/a2n{node}" for node in range(1, 9)]
    track = Track.of(finding("mass_silence", "site/hall-1", 0, detector="silence", members=members), 0)

    assert anchor(track, Graph(HALL)) == "rack/a2"


def test_a_finding_of_a_silent_node_belongs_to_the_node_however_many_parts_it_lists() -> None:
    members = ["node/a2n1", *[f"gpu/GPU-a2n1-{slot}" for slot in range(8)]]
    track = Track.of(finding("node_silent", "node/a2n1", 0, detector="silence", members=members), 0)

    assert anchor(track, Graph(HALL)) == "node/a2n1"
    assert track.subjects == ("node/a2n1",)


def test_confidence_grows_with_independent_evidence() -> None:
    graph = Graph(HALL)
    one = tracks(finding("hot", "gpu/GPU-a1n1-0", 0, "gpu_temperature_celsius", "peers"))
    two = one + tracks(finding("slow", "gpu/GPU-a1n1-0", 0, "gpu_clock_sm_hertz", "peers"))
    sure = tracks(finding("xid", "gpu/GPU-a1n1-0", 0, "", "event"))
    marks = [judge("gpu/GPU-a1n1-0", some, graph).confidence for some in (one, two, sure)]

    assert marks == sorted(marks)
    assert len(set(marks)) == 3
    assert all(0 < mark < 1 for mark in marks)


def test_a_feed_with_direct_evidence_is_suspected_though_the_other_feeds_supplies_look_odd_too() -> None:
    topology = Topology([Entity("rack", "r1"), Entity("pdu", "p1", "rack/r1"), Entity("pdu", "p2", "rack/r1")])
    supplies: dict[int, list[str]] = {1: [], 2: []}
    for node in range(4):
        topology.add(Entity("node", f"n{node}", "rack/r1"))
        for feed in (1, 2):
            psu = topology.observe((("node", f"n{node}"), ("psu", f"n{node}-psu{feed}")))
            topology.relate(Relation(RelationKind.FEEDS, f"pdu/p{feed}", psu))
            topology.relate(Relation(RelationKind.FEEDS, psu, f"node/n{node}"))
            supplies[feed].append(psu)
    graph = Graph(topology)
    some = tracks(
        finding("pdu_down", "pdu/p1", 0, "pdu_up", "limit", Severity.PAGE),
        *[finding("psu_down", psu, 1, "psu_up", "limit") for psu in supplies[1]],
        *[finding("psu_unlike_siblings", psu, 60, "psu_input_power_watts", "peers") for psu in supplies[2]],
    )
    groups = correlate(some, graph, SETTINGS)

    assert len(groups) == 1
    assert judge(groups[0].scope, groups[0].tracks, graph).suspect == "pdu/p1"


def test_a_node_that_is_silent_with_its_link_down_is_suspected_and_not_the_link() -> None:
    topology = hall(rows=1)
    topology.add(Entity("port", "p7", "switch/leaf-a1"))
    topology.relate(Relation(RelationKind.LINKS, "port/p7", "node/a1n1"))
    graph = Graph(topology)
    some = tracks(silent("node/a1n1", 0), finding("port_down", "port/p7", 1, "port_up", "limit", Severity.PAGE))
    groups = correlate(some, graph, SETTINGS)

    assert len(groups) == 1
    assert judge(groups[0].scope, groups[0].tracks, graph).suspect == "node/a1n1"
