"""Jobs live like jobs: members move together, wait for each other, pause together, come and go."""

from __future__ import annotations

import numpy as np
import pytest

from coldaisle.clock import HOUR, parse_rfc3339
from collectors.simulator.arrivals import arrival_factor
from tests.collectors.simulator.played import Played, play, play_fault


def members(played: Played, word: str) -> dict[str, list[str]]:
    """Return the nodes of each job whose name begins with ``word``, as they are now."""
    topology = played.simulator.topology()
    return {
        job.name: [node.partition("/")[2] for node in topology.targets(job.id)]
        for job in topology.of_kind("job")
        if job.name.startswith(word)
    }


def powers(played: Played, nodes: list[str]) -> np.ndarray:
    return np.hstack([played.columns("node_power_watts", node=node) for node in nodes])


def test_members_of_a_training_job_move_together_and_strangers_do_not() -> None:
    played = play(200)
    jobs = list(members(played, "train").values())
    one, other = powers(played, jobs[0]), powers(played, jobs[1])
    within = np.corrcoef(one.T)[0, 1]
    across = np.corrcoef(one[:, 0], other[:, 0])[0, 1]
    assert within > 0.7
    assert abs(across) < 0.4


@pytest.mark.slow
def test_checkpoints_dip_together() -> None:
    played = play(1500, rows=1, racks_per_row=2, cooling="air", step_seconds=3)
    (nodes, *_) = members(played, "train").values()
    watts = powers(played, nodes)
    low = watts < 0.6 * np.median(watts, axis=0)
    assert low.any()
    together = low.all(axis=1).sum() / low.any(axis=1).sum()
    assert together > 0.8


@pytest.mark.slow
def test_all_wait_for_the_slowest_and_only_its_own_step_is_longer() -> None:
    played = play_fault("slow_node", 300, after=100)
    slow = played.truth.entity.partition("/")[2]
    nodes = next(nodes for nodes in members(played, "train").values() if slow in nodes)
    steps = {node: played.one("node_job_step_seconds", node=node) for node in nodes}
    change = {node: np.mean(own[150:]) / np.mean(own[:100]) for node, own in steps.items()}
    assert 1.02 < change[slow] < 1.04
    assert all(abs(change[node] - 1) < 0.01 for node in nodes if node != slow)
    others = [node for node in nodes if node != slow]
    used = np.hstack([played.columns("gpu_utilization_ratio", node=node) for node in others])
    assert np.median(used[150:]) < np.median(used[:100])


def test_only_training_nodes_tell_step_times() -> None:
    played = play(20)
    training = {node for nodes in members(played, "train").values() for node in nodes}
    for node in played.simulator.hall.node_names:
        told = ~np.isnan(played.one("node_job_step_seconds", node=node))
        assert told.all() if node in training else not told.any()


def test_idle_nodes_draw_little_and_their_clocks_rest() -> None:
    played = play(30, racks_per_row=3)
    busy = {node for nodes in (members(played, "train") | members(played, "serve")).values() for node in nodes}
    idle = [node for node in played.simulator.hall.node_names if node not in busy]
    assert idle
    assert played.columns("gpu_power_watts", node=idle[0]).max() < 90
    assert (played.columns("gpu_clock_sm_hertz", node=idle[0]) == 345e6).all()
    assert (played.columns("gpu_throttle_reasons", node=idle[0]) == 1).all()


def test_a_service_follows_the_day() -> None:
    noon, night = parse_rfc3339("2026-01-05T13:00:00Z"), parse_rfc3339("2026-01-05T03:00:00Z")
    assert arrival_factor(noon) > 2 * arrival_factor(night)
    day = [arrival_factor(night + minute * HOUR // 60) for minute in range(1440)]
    assert 0.8 < np.mean(day) < 1.1
    awake = play(20, start="2026-01-05T13:00:00Z")
    asleep = play(20, start="2026-01-05T03:00:00Z")
    (nodes, *_) = members(awake, "serve").values()
    assert powers(awake, nodes).mean() > 1.15 * powers(asleep, nodes).mean()


def test_a_job_that_loses_a_node_ends_and_another_begins_later() -> None:
    played = play_fault("host_down", 200, after=30)
    node = played.truth.entity.partition("/")[2]
    jobs = [(step, event) for step, event in played.events if event.kind == "job"]
    ended = next((step, event) for step, event in jobs if event.code == "end")
    begun = next((step, event) for step, event in jobs if event.code == "start")
    assert ended[0] == 29
    assert node in ended[1].attributes["nodes"].split(",")
    assert begun[0] > 29 + 60
    assert node not in begun[1].attributes["nodes"].split(",")
    assert dict(begun[1].labels)["job"] in members(played, "train")
