"""Every fault shows in the telemetry as it would in a real hall, and its truth names what exists."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from coldaisle.topology import Topology, kind_of
from collectors.simulator.config import FaultPlan
from collectors.simulator.faults import FAULTS, LOCAL, PLAIN, SHARES
from tests.collectors.simulator.played import SHORT, SHORT_ONSET, Played, Table, play, play_fault, play_short

ONSET = 60


def name(played: Played) -> str:
    return played.truth.entity.partition("/")[2]


def node_of(played: Played) -> str:
    """Return the node of the struck GPU, supply or port."""
    found = [entity for entity in played.truth.affected if kind_of(entity) == "node"]
    return found[0].partition("/")[2]


def rise(values: Table, last: int = 20, step_seconds: int = 1) -> float:
    """Return the mean of the last steps less the mean before the onset."""
    return float(np.nanmean(values[-last:]) - np.nanmean(values[: ONSET // step_seconds - 1]))


def xids(played: Played, gpu: str | None = None) -> list[str]:
    return [e.code for _, e in played.events if e.kind == "xid" and gpu in (None, dict(e.labels)["gpu"])]


def codes(played: Played, kind: str) -> list[str]:
    return [event.code for _, event in played.events if event.kind == kind]


def test_there_are_twenty_three_kinds_and_every_one_has_its_share() -> None:
    assert len(FAULTS) == 23
    assert SHARES.keys() == FAULTS.keys()
    assert FAULTS.keys() > LOCAL
    assert FAULTS.keys() > PLAIN


@pytest.mark.xdist_group("every_fault")
@pytest.mark.parametrize("kind", sorted(FAULTS))
def test_the_truth_names_entities_that_exist(kind: str) -> None:
    played = play_short(kind)
    truth, topology = played.truth, played.simulator.topology()
    jobs = {dict(event.labels)["job"] for _, event in played.events if event.kind == "job"}
    jobs |= {job.name for job in topology.of_kind("job")}
    assert truth.fault == kind
    assert truth.entity in topology
    assert truth.entity not in truth.affected
    for entity in truth.affected:
        assert entity in topology or entity.partition("/")[2] in jobs
    assert truth.severity == FAULTS[kind].severity.value
    assert truth.end is not None
    assert truth.end > truth.start == played.simulator.config.start_ns + SHORT_ONSET * 10**9


def test_dead_fans_heat_gpus_which_throttle_and_slow_the_job() -> None:
    played = play_fault("fan_failure", 300, after=ONSET, step_seconds=3)
    node = name(played)
    assert (played.columns("node_fan_speed_rpm", node=node)[-1] == 0).sum() == 3
    assert rise(played.columns("gpu_temperature_celsius", node=node), step_seconds=3) > 8
    assert played.columns("gpu_throttle_thermal_seconds_total", node=node)[-1].max() > 60
    assert rise(played.one("node_job_step_seconds", node=node), step_seconds=3) > 0.01


@pytest.mark.slow
def test_a_blocked_cold_plate_slowly_heats_one_gpu() -> None:
    played = play_fault("blocked_cold_plate", 1500, after=ONSET, step_seconds=10)
    before = slice(0, ONSET // 10 - 1)
    own = played.one("gpu_temperature_celsius", gpu=name(played))
    all_of_node = played.columns("gpu_temperature_celsius", node=node_of(played))
    assert np.mean(own[-10:]) - np.mean(own[before]) > 20
    assert np.mean(own[10:12]) - np.mean(own[before]) < 8
    assert abs(np.median(all_of_node[-10:]) - np.median(all_of_node[before])) < 4


@pytest.mark.slow
def test_worn_fans_turn_ever_slower_than_their_neighbours() -> None:
    played = play_fault("fan_wear", 1100, after=ONSET, step_seconds=10)
    speeds = played.columns("node_fan_speed_rpm", node=name(played))
    assert speeds[-1, :3].max() < 0.6 * speeds[-1, 3:].min()
    assert speeds[10, :3].min() > 0.9 * speeds[10, 3:].max()


@pytest.mark.slow
def test_a_clogged_filter_makes_fans_turn_faster_for_the_same_heat() -> None:
    played = play_fault("filter_clogging", 1100, after=ONSET, step_seconds=10)
    node = name(played)
    assert rise(played.columns("gpu_temperature_celsius", node=node), 10, 10) > 2
    fans = played.columns("node_fan_speed_rpm", node=node)
    assert np.mean(fans[-10:]) > 1.05 * np.mean(fans[: ONSET // 10 - 1])


def test_coolant_is_lost_by_one_node_alone() -> None:
    played = play_fault("coolant_loss", 1100, after=ONSET, step_seconds=10)
    flow = played.one("node_coolant_flow_litres_per_minute", node=name(played))
    assert 0.45 < flow[-1] / flow[5] < 0.55
    of_all = played.columns("node_coolant_flow_litres_per_minute")
    assert np.nanmedian(of_all[-1]) > 0.95 * np.nanmedian(of_all[5])


def test_the_truth_says_when_a_fault_that_builds_up_is_full() -> None:
    played = play_fault("pump_wear", 70, after=ONSET)
    assert played.truth.full_at == played.truth.start + 1200 * 10**9
    assert play_fault("psu_lost", 70, after=ONSET).truth.full_at is None


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ecc_storm", "nvlink_errors", "optics_degrading"])
def test_errors_that_grow_more_slowly_begin_smaller(kind: str) -> None:
    metric, of = {
        "ecc_storm": ("gpu_ecc_corrected_errors_total", "gpu"),
        "nvlink_errors": ("gpu_nvlink_errors_total", "gpu"),
        "optics_degrading": ("port_symbol_errors_total", "port"),
    }[kind]
    quick = play_fault(kind, 300, after=ONSET, step_seconds=5)
    slow = play(300, step_seconds=5, faults=(FaultPlan(kind=kind, after_seconds=ONSET, grows_seconds=3600),))
    assert slow.truth.full_at == slow.truth.start + 3600 * 10**9
    rises = [np.ptp(one.one(metric, **{of: name(one)})) for one in (quick, slow)]
    assert rises[1] < 0.1 * rises[0]


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["crac/crac-A", "cdu/cdu-B"])
def test_a_failing_cooling_unit_warms_its_row(unit: str) -> None:
    played = play_fault("cooling_unit_failure", 900, after=ONSET, entity=unit, step_seconds=5)
    kind, _, unit_name = unit.partition("/")
    supply = played.one(f"{kind}_supply_temperature_celsius", **{kind: unit_name})
    assert supply[-1] - supply[5] > 8
    node = node_of(played)
    metric = "node_inlet_temperature_celsius" if kind == "crac" else "node_coolant_inlet_temperature_celsius"
    inlet = played.one(metric, node=node)
    assert inlet[-1] - inlet[5] > 8
    assert inlet[14] - inlet[5] < 2  # it takes minutes


@pytest.mark.slow
def test_a_worn_pump_slowly_loses_flow() -> None:
    played = play_fault("pump_wear", 1300, after=ONSET, step_seconds=10)
    flow = played.one("cdu_flow_litres_per_minute", cdu=name(played))
    assert flow[-1] < 0.65 * flow[5]
    assert flow[12] > 0.95 * flow[5]
    node = played.one("node_coolant_flow_litres_per_minute", node=node_of(played))
    assert node[-1] < 0.65 * node[5]


def test_a_loose_pad_heats_memory_and_not_the_core() -> None:
    played = play_fault("memory_overheating", 300, after=ONSET, step_seconds=3)
    gpu = name(played)
    assert rise(played.one("gpu_memory_temperature_celsius", gpu=gpu), step_seconds=3) > 10
    assert rise(played.one("gpu_temperature_celsius", gpu=gpu), step_seconds=3) < 3


def test_a_lost_feed_darkens_its_supplies_and_doubles_the_other() -> None:
    played = play_fault("rack_feed_lost", 90, after=ONSET)
    lost = name(played)
    other = next(e for e in played.truth.affected if kind_of(e) == "pdu").partition("/")[2]
    supplies = [e.partition("/")[2] for e in played.truth.affected if kind_of(e) == "psu"]
    assert played.one("pdu_up", pdu=lost)[-1] == 0
    assert played.one("pdu_voltage_volts", pdu=lost)[-1] == 0
    assert played.one("pdu_up", pdu=other)[-1] == 1
    power = played.one("pdu_power_watts", pdu=other)
    assert 1.7 < np.mean(power[-20:]) / np.mean(power[:50]) < 2.3
    assert len(supplies) == 16
    assert sum(played.one("psu_up", psu=psu)[-1] for psu in supplies) == 8
    assert codes(played, "power") == ["lost"]
    assert np.isfinite(played.columns("gpu_power_watts")[-1]).all()  # 2N: nothing else happens


def test_a_lost_supply_shifts_its_load() -> None:
    played = play_fault("psu_lost", 90, after=ONSET, lasts=20)
    psu, node = name(played), node_of(played)
    up = played.one("psu_up", psu=psu)
    assert up[ONSET + 5] == 0
    assert up[-1] == 1
    drawn = played.columns("psu_input_power_watts", node=node)
    assert (drawn[ONSET + 5] == 0).sum() == 1
    assert codes(played, "status") == ["critical", "ok"]


def test_a_forgotten_cap_lowers_limit_clocks_and_pace() -> None:
    played = play_fault("power_cap_forgotten", 120, after=ONSET)
    node = name(played)
    assert (played.columns("gpu_power_limit_watts", node=node)[-1] == 450).all()
    assert played.columns("gpu_power_watts", node=node)[-20:].max() < 460
    assert rise(played.columns("gpu_clock_sm_hertz", node=node)) < -1e8
    assert rise(played.one("node_job_step_seconds", node=node)) > 0.1


def test_a_gpu_off_the_bus_vanishes_with_xid_79_and_its_job_dies() -> None:
    played = play_fault("gpu_off_bus", 90, after=ONSET)
    gpu, node = name(played), node_of(played)
    assert xids(played, gpu) == ["79"]
    assert xids(played).count("45") == 7
    gone = [s.label("gpu") == gpu for s in played.simulator.layout.series]
    assert not played.present[-1, gone].any()
    assert played.one("gpu_count", node=node)[-1] == 7
    assert codes(played, "job")[0] == "end"
    assert np.nanmax(played.columns("gpu_utilization_ratio", node=node)[-1]) == 0


def test_a_gpu_that_comes_back_counts_anew() -> None:
    played = play_fault("gpu_off_bus", 120, after=ONSET, lasts=30)
    energy = played.one("gpu_energy_joules_total", gpu=name(played))
    assert np.isnan(energy[ONSET + 10])
    assert energy[-1] < energy[ONSET - 5]


def test_an_ecc_storm_begins_with_corrected_errors_and_ends_with_xid_95() -> None:
    played = play_fault("ecc_storm", 260, after=ONSET)
    gpu = name(played)
    assert xids(played, gpu) == ["63", "94", "64", "95"]
    corrected = played.one("gpu_ecc_corrected_errors_total", gpu=gpu)
    first_xid = next(step for step, event in played.events if event.kind == "xid")
    assert corrected[first_xid - 1] - corrected[ONSET - 2] > 20
    assert played.one("gpu_ecc_uncorrected_errors_total", gpu=gpu)[-1] == 3
    rows = played.one("gpu_remapped_rows_uncorrectable", gpu=gpu)
    assert rows[-1] - rows[0] == 2
    assert played.one("gpu_remapped_rows_pending", gpu=gpu)[-1] == 1


@pytest.mark.slow
def test_nvlink_errors_count_up_and_are_reported() -> None:
    played = play_fault("nvlink_errors", 220, after=ONSET)
    assert xids(played, name(played)) == ["74", "74", "74"]
    assert played.one("gpu_nvlink_errors_total", gpu=name(played))[-1] > 500
    assert "end" in codes(played, "job")


def test_a_narrow_pcie_link_slows_its_node() -> None:
    played = play_fault("pcie_width_low", 120, after=ONSET)
    assert played.one("gpu_pcie_link_width_lanes", gpu=name(played))[-1] == 4
    assert rise(played.one("gpu_pcie_replays_total", gpu=name(played))) > 10
    assert rise(played.one("node_job_step_seconds", node=node_of(played))) > 0.1


@pytest.mark.slow
def test_a_flapping_link_goes_down_and_up_and_says_so() -> None:
    played = play_fault("link_flapping", 240, after=ONSET, lasts=150)
    up = played.one("port_up", port=name(played))
    said = codes(played, "link")
    assert len(said) > 5
    assert all(one != other for one, other in itertools.pairwise(said))
    assert said[-1] == "up"
    assert np.abs(np.diff(up)).sum() == len(said)
    downs = played.one("port_link_downs_total", port=name(played))
    assert downs[-1] - downs[0] == said.count("down")
    assert up[-1] == 1


def test_degrading_optics_make_ever_more_symbol_errors() -> None:
    played = play_fault("optics_degrading", 700, after=ONSET, step_seconds=5)
    rate = np.diff(played.one("port_symbol_errors_total", port=name(played))) / 5
    assert rate[: ONSET // 5 - 2].max() < 1
    assert 30 < rate[-10:].mean() < 50
    assert rate[20:40].mean() < rate[60:80].mean() < rate[-10:].mean()


def test_a_dead_switch_takes_links_and_voices_of_all_its_nodes() -> None:
    played = play_fault("switch_dead", 130, after=ONSET, lasts=40)
    ports = [e.partition("/")[2] for e in played.truth.affected if kind_of(e) == "port"]
    silent = [e.partition("/")[2] for e in played.truth.affected if kind_of(e) == "node"]
    during = ONSET + 10
    for port in ports:
        assert played.one("port_up", port=port)[during] == 0
        assert played.one("port_up", port=port)[-1] == 1
    behind = {s.label("node") for s in played.simulator.layout.series if s.label("switch") == name(played)}
    assert behind <= set(silent)
    for node in behind:
        assert node is not None
        assert np.isnan(played.one("node_power_watts", node=node)[during])
        assert np.isfinite(played.columns("psu_input_power_watts", node=node)[during]).all()
    assert codes(played, "link") == ["down"] * len(ports) + ["up"] * len(ports)


def test_a_host_that_is_down_draws_no_power_but_a_dead_agent_does() -> None:
    down = play_fault("host_down", 90, after=ONSET)
    dead = play_fault("agent_dead", 90, after=ONSET)
    for played in (down, dead):
        assert np.isnan(played.one("node_power_watts", node=name(played))[-1])
        assert np.isnan(played.columns("gpu_power_watts", node=name(played))[-1]).all()
    assert down.columns("psu_input_power_watts", node=name(down))[-1].sum() < 120
    assert dead.columns("psu_input_power_watts", node=name(dead))[-1].sum() > 3000
    assert down.columns("port_up", node=name(down))[-1, 0] == 0
    assert dead.columns("port_up", node=name(dead))[-1, 0] == 1
    sent = dead.columns("port_transmit_bytes_total", node=name(dead))[:, 0]
    assert sent[-1] > sent[-10]


def test_a_stuck_sensor_repeats_itself_while_its_twin_counter_goes_on() -> None:
    played = play_fault("sensor_stuck", 120, after=ONSET)
    watts = played.one("gpu_power_watts", gpu=name(played))
    assert len(set(watts[:50].tolist())) > 20
    assert len(set(watts[ONSET:].tolist())) == 1
    assert watts[ONSET] == watts[ONSET - 2]
    assert np.unique(np.diff(played.one("gpu_energy_joules_total", gpu=name(played))[ONSET:])).size > 20


@pytest.mark.slow
def test_a_bad_sensor_says_nan_nonsense_and_the_truth_by_turns() -> None:
    played = play_fault("sensor_bad", 260, after=ONSET)
    series = [
        s.metric == "gpu_temperature_celsius" and s.label("gpu") == name(played) for s in played.simulator.layout.series
    ]
    said = played.table[ONSET:, series][:, 0]
    assert played.present[ONSET:, series].all()
    assert 0.1 < np.isnan(said).mean() < 0.4
    assert (said == 255).any()
    assert ((said > 94) & (said < 130)).any()
    assert (said < 90).mean() > 0.3
    nowhere_else = played.table[:, ~np.array(series)], played.present[:, ~np.array(series)]
    assert not np.isnan(nowhere_else[0][nowhere_else[1]]).any()


@pytest.mark.xdist_group("every_fault")
@pytest.mark.parametrize("kind", sorted(LOCAL - {"pump_wear"}))  # coolant touches everything in its row
def test_a_local_fault_moves_nothing_but_what_its_truth_names(kind: str) -> None:
    base, struck = play(SHORT), play_short(kind)
    named = {struck.truth.entity, *struck.truth.affected}
    topology: Topology = struck.simulator.topology()
    same = (base.table == struck.table) | (np.isnan(base.table) & np.isnan(struck.table))
    for column in np.flatnonzero(~same.all(axis=0)):
        series = struck.simulator.layout.series[column]
        assert topology.entity_of(series.labels) in named, series
