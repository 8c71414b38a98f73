"""Who is compared with whom."""

from __future__ import annotations

from coldaisle.series import Layout, Series, labels
from coldaisle.topology import Entity, Relation, RelationKind, Topology
from pipeline.peer_groups import PeerGroups
from pipeline.series_table import SeriesTable

NODES = ("n1", "n2", "n3", "n4")


def grouped(jobs: dict[str, tuple[str, ...]]) -> dict[tuple[str, str], int]:
    """Return the group of each node's first GPU and of its inlet."""
    topology = Topology([Entity("node", node, None, {"sku": "x"}) for node in NODES])
    for job, nodes in jobs.items():
        topology.add(Entity("job", job))
        for node in nodes:
            topology.relate(Relation(RelationKind.RUNS, f"job/{job}", f"node/{node}"))
    series = [Series("gpu_power_watts", labels(node=node, gpu=f"GPU-{node}-{i}")) for node in NODES for i in range(2)]
    series += [Series("node_inlet_temperature_celsius", labels(node=node)) for node in NODES]
    table = SeriesTable(topology)
    groups = PeerGroups(table, topology)
    ids = table.ids(Layout(series))
    groups.add(table.take_fresh())
    groups.regroup_all()
    found: dict[tuple[str, str], int] = {}
    for number in ids.tolist():
        one = table.series(number)
        found.setdefault((one.metric, one.label("node") or ""), int(table.group[number]))
    return found


def test_members_of_a_job_are_peers_and_another_job_is_not() -> None:
    group = grouped({"a": ("n1", "n2"), "b": ("n3", "n4")})
    power = [group["gpu_power_watts", node] for node in NODES]
    assert power[0] == power[1] != power[2] == power[3]


def test_where_jobs_are_known_a_node_without_one_stands_alone() -> None:
    group = grouped({"a": ("n1", "n2")})
    power = [group["gpu_power_watts", node] for node in NODES]
    assert power[0] == power[1]
    assert len({power[0], power[2], power[3]}) == 3


def test_where_no_job_is_known_all_of_the_same_hardware_are_peers() -> None:
    group = grouped({})
    assert len({group["gpu_power_watts", node] for node in NODES}) == 1


def test_one_board_in_air_and_in_coolant_are_two_kinds_of_hardware() -> None:
    topology = Topology([Entity("node", node, None, {"sku": "air" if node < "n3" else "liquid"}) for node in NODES])
    for node in NODES:
        topology.add(Entity("gpu", f"GPU-{node}", f"node/{node}", {"sku": "H100"}))
        topology.relate(Relation(RelationKind.RUNS, "job/a", f"node/{node}"))
    table = SeriesTable(topology)
    groups = PeerGroups(table, topology)
    names = [Series("gpu_power_watts", labels(node=node, gpu=f"GPU-{node}")) for node in NODES]
    ids = table.ids(Layout(names))
    groups.add(table.take_fresh())
    groups.regroup_all()
    found = [int(table.group[number]) for number in ids.tolist()]
    assert found[0] == found[1] != found[2] == found[3]


def test_inlets_are_compared_over_the_whole_site() -> None:
    group = grouped({"a": ("n1",)})
    assert len({group["node_inlet_temperature_celsius", node] for node in NODES}) == 1
