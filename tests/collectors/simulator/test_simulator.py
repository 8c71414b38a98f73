"""The hall as a whole: the same from the same seed, silent where it must be, and named consistently."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldaisle.catalogue import CATALOGUE
from coldaisle.clock import SECOND, parse_rfc3339
from coldaisle.config import load, parse
from coldaisle.errors import ConfigError
from coldaisle.topology import RelationKind
from collectors.simulator import config as config_module
from collectors.simulator.config import SimulatorConfig
from collectors.simulator.faults import FAULTS
from collectors.simulator.hall import Hall
from collectors.simulator.schedule import OPENING, default_schedule
from collectors.simulator.simulator import Simulator
from tests.collectors.simulator.played import SHORT, SHORT_ONSET, play, play_fault, play_short


def test_the_same_seed_gives_the_same_hall_and_another_seed_another() -> None:
    one, same, other = (  # each a hall of its own
        play.__wrapped__(60, seed=seed, faults="default", first_fault_after_seconds=20, fault_rate=120)
        for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(one.table, same.table)
    assert one.events == same.events
    assert one.simulator.truth == same.simulator.truth
    assert one.simulator.layout == same.simulator.layout
    assert one.simulator.layout != other.simulator.layout


def test_without_faults_everything_is_read_and_within_its_range() -> None:
    played = play(120)
    assert not np.isnan(played.table[played.present]).any()
    for column, series in enumerate(played.simulator.layout.series):
        known = CATALOGUE[series.metric]
        seen = played.table[played.present[:, column], column]
        assert (seen >= known.low).all(), series
        assert (seen <= known.high).all(), series
        if known.kind == "counter":
            assert (np.diff(seen) >= 0).all(), series


@pytest.mark.xdist_group("every_fault")
@pytest.mark.parametrize("kind", sorted(FAULTS))
def test_nothing_is_touched_before_a_fault_begins(kind: str) -> None:
    base, struck, before = play(SHORT), play_short(kind), SHORT_ONSET - 1
    np.testing.assert_array_equal(base.table[:before], struck.table[:before])
    assert [pair for pair in struck.events if pair[0] < before] == [pair for pair in base.events if pair[0] < before]


def test_every_series_belongs_to_a_declared_entity() -> None:
    simulator = play(1).simulator
    topology = simulator.topology()
    for series in simulator.layout.series:
        assert topology.entity_of(series.labels) in topology, series


def test_the_graph_knows_who_feeds_cools_links_and_runs_whom() -> None:
    simulator = play(1).simulator
    topology = simulator.topology()
    node = topology.of_kind("node")[0]
    assert topology.within(node.id, "row") == "row/A"
    assert set(node.attributes) == {"sku", "row", "rack", "slot"}
    causes = topology.causes(node.id)
    assert {"pdu/A01-pdu1", "pdu/A01-pdu2", "crac/crac-A", "switch/leaf-A1", "rack/A01"} <= causes
    assert "pdu/A02-pdu1" not in causes
    assert len(topology.sources(node.id, RelationKind.FEEDS)) == 4
    assert len([e for e in topology.reach("crac/crac-A") if e.startswith("gpu/")]) == 64
    gpu = topology.get(topology.children(node.id)[3])
    assert gpu is not None
    assert gpu.attributes["index"] == "3"
    assert all(topology.targets(job.id, RelationKind.RUNS) for job in topology.of_kind("job"))


def test_frames_carry_exactly_what_the_block_carries() -> None:
    simulator = Simulator(
        SimulatorConfig(rows=2, racks_per_row=2, nodes_per_rack=4, faults=["gpu_off_bus"], first_fault_after_seconds=2)
    )
    for _ in range(4):
        step = simulator.step()
        frames = simulator.frames(step)
        of_block = {
            (simulator.layout.series[i], value)
            for i, value in zip(step.block.index.tolist(), step.block.values.tolist(), strict=True)
        }
        of_frames = [(s.series, s.value) for frame in frames for s in frame.samples()]
        assert len(of_frames) == len(step.block)
        assert set(of_frames) == of_block
        assert {int(frame.timestamps[0]) for frame in frames} == {step.now}
    assert len({frame.node for frame in frames}) == len(frames)


def test_a_frame_keeps_its_layout_from_step_to_step() -> None:
    simulator = play(1).simulator
    first, second = simulator.frames(simulator.step()), simulator.frames(simulator.step())
    assert all(a.layout is b.layout for a, b in zip(first, second, strict=True))


def test_a_silent_node_sends_no_frame_while_its_supplies_are_still_read() -> None:
    played = play_fault("agent_dead", 40, after=10)
    node = played.truth.entity.partition("/")[2]
    frames = {frame.node: frame for frame in played.simulator.frames(played.simulator.step())}
    assert node not in frames
    rack = played.simulator.hall.rack_names[
        int(played.simulator.hall.node_rack[played.simulator.hall.node_names.index(node)])
    ]
    assert any(series.label("node") == node for series in frames[rack].layout.series)


def test_time_runs_in_steps_from_the_start_until_the_duration_is_over() -> None:
    simulator = Simulator(
        SimulatorConfig(rows=1, racks_per_row=1, nodes_per_rack=2, duration_seconds=5, step_seconds=0.5)
    )
    times = [step.now for step in simulator.steps()]
    start = parse_rfc3339("2026-01-05T09:00:00Z")
    assert times == [start + (i + 1) * SECOND // 2 for i in range(10)]


@settings(derandomize=True, max_examples=12, deadline=None)
@given(
    rows=st.integers(1, 3),
    racks=st.integers(1, 4),
    nodes=st.integers(1, 6),
    cooling=st.sampled_from(["air", "liquid", "mixed"]),
)
def test_a_hall_of_any_shape_lives_with_faults(rows: int, racks: int, nodes: int, cooling: str) -> None:
    played = play(
        60, rows=rows, racks_per_row=racks, nodes_per_rack=nodes, cooling=cooling,
        faults="default", fault_rate=600, first_fault_after_seconds=0, step_seconds=2, duration_seconds=60,
    )  # fmt: skip
    topology = played.simulator.topology()
    for truth in played.simulator.truth:
        for entity in (truth.entity, *truth.affected):
            assert entity in topology or entity.startswith("job/")


# --- the plan ----------------------------------------------------------------------------------------------------


def test_the_plan_begins_with_something_plain_and_covers_every_kind_before_any_repeats() -> None:
    hall = Hall(2, 2, 4, "mixed", 1)
    for seed in range(20):
        plan = default_schedule(hall, seed, 3 * 3600.0)
        assert plan[0].kind in OPENING
        assert plan[0].after_seconds == 45
        assert len({planned.kind for planned in plan[: len(FAULTS)]}) == len(FAULTS)
        gaps = np.diff([planned.after_seconds for planned in plan])
        assert gaps.min() >= 179
        assert plan == default_schedule(hall, seed, 3 * 3600.0)


def test_a_hall_of_air_has_no_faults_of_liquids() -> None:
    plan = default_schedule(Hall(2, 2, 4, "air", 1), 1, 12 * 3600.0)
    assert {"blocked_cold_plate", "pump_wear"}.isdisjoint(planned.kind for planned in plan)


def test_faults_that_build_up_take_as_long_as_told_and_are_full_before_the_end() -> None:
    hall, end = Hall(2, 2, 4, "mixed", 1), 8 * 3600.0
    for seed in range(10):
        for planned in default_schedule(hall, seed, end, 6.0, build_up_seconds=(1800.0, 7200.0)):
            if not FAULTS[planned.kind].grows_seconds:
                assert planned.grows_seconds is None
                continue
            assert planned.grows_seconds is not None
            assert 1800 <= planned.grows_seconds <= 7200
            assert planned.after_seconds + planned.grows_seconds <= end
            assert planned.lasts_seconds > planned.grows_seconds


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ({"rows": 0}, "rows"),
        ({"racks": 4}, "did you mean 'racks_per_row'?"),
        ({"faults": ["fan_failur"]}, "no fault is called 'fan_failur'"),
        ({"start": "yesterday"}, "is not a time"),
        ({"faults": [{"kind": "psu_lost"}]}, "after_seconds"),
    ],
)
def test_a_mistake_in_the_configuration_is_named(document: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(document, SimulatorConfig, "hall.toml")
    assert complaint in str(caught.value)
    assert str(caught.value).startswith("hall.toml")


def test_a_fault_on_a_thing_the_hall_lacks_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match="'node/n999' is no node of this hall"):
        play_fault("host_down", 1, entity="node/n999")


def test_the_sample_configuration_is_valid() -> None:
    path = Path(config_module.__file__).with_name("sample.toml")
    assert load(path, SimulatorConfig).faults != "none"
