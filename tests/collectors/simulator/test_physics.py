"""Energy is conserved, heat goes where it must, and limits hold."""

from __future__ import annotations

import numpy as np
import pytest

from collectors.simulator import power, thermal
from collectors.simulator.effects import Effects
from collectors.simulator.hall import Hall
from collectors.simulator.physics import Physics
from collectors.simulator.power import Supplies
from collectors.simulator.thermal import CoolingUnits
from collectors.simulator.workload import Workload
from tests.collectors.simulator.played import play, play_fault


def hall_of(cooling: str) -> Hall:
    return Hall(1, 2, 4, cooling, seed=3)


def worked(hall: Hall, activity: float) -> Workload:
    """Return a workload that works every node alike, for ever."""
    work = Workload(hall, 1)
    work.activity[:] = activity
    work.utilization[:] = activity
    return work


def test_a_feed_passes_on_what_its_supplies_draw_and_its_losses() -> None:
    hall = hall_of("air")
    supplies = Supplies(hall, np.random.default_rng(1))
    load = np.linspace(2000.0, 7000.0, hall.nodes)
    supplies.draw(load)
    assert supplies.input_watts.sum() * power.PSU_EFFICIENCY == pytest.approx(load.sum())
    assert supplies.pdu_watts.sum() == pytest.approx(supplies.input_watts.sum() * (1 + power.PDU_LOSS))


def test_the_sum_of_what_is_read_of_supplies_is_what_is_read_of_feeds() -> None:
    played = play(30)
    supplies = played.columns("psu_input_power_watts").sum(axis=1)
    feeds = played.columns("pdu_power_watts").sum(axis=1)
    np.testing.assert_allclose(feeds, supplies * (1 + power.PDU_LOSS), rtol=0.005)


def test_a_site_draws_more_than_its_feeds_and_less_than_a_third_more() -> None:
    played = play(30)
    ratio = played.one("site_power_watts") / played.columns("pdu_power_watts").sum(axis=1)
    assert 1.03 < ratio.min() <= ratio.max() < 1.33


def test_a_lost_supply_shifts_its_load_to_the_three_others() -> None:
    hall = hall_of("air")
    supplies = Supplies(hall, np.random.default_rng(1))
    load = np.full(hall.nodes, 6000.0)
    dead = np.zeros(hall.psus, bool)
    dead[0] = True
    supplies.lose(dead, np.zeros(hall.pdus, bool))
    supplies.draw(load)
    assert supplies.input_watts[0] == 0
    assert supplies.input_watts[:4].sum() * power.PSU_EFFICIENCY == pytest.approx(6000.0)
    assert supplies.input_watts[1] > 1.2 * supplies.input_watts[5]


@pytest.mark.parametrize("cooling", ["air", "liquid"])
def test_a_gpu_settles_at_inlet_plus_resistance_times_power(cooling: str) -> None:
    hall = hall_of(cooling)
    physics, work, effects = Physics(hall, 3), worked(hall, 0.8), Effects(hall)
    for _ in range(300):
        physics.advance(3.0, work, effects)
    core, memory = physics.resistances(effects)
    inlet = np.repeat(physics.inlet, 8)
    np.testing.assert_allclose(physics.temperature, inlet + core * physics.watts, atol=1.5)
    np.testing.assert_allclose(physics.memory_temperature, inlet + memory * physics.watts, atol=1.5)
    assert 45 < physics.temperature.mean() < 80


@pytest.mark.parametrize("cooling", ["air", "liquid"])
def test_temperature_does_not_depend_on_the_length_of_a_step(cooling: str) -> None:
    means = []
    for dt in (2.0, 5.0, 15.0):
        hall = hall_of(cooling)
        physics, work, effects = Physics(hall, 3), worked(hall, 0.7), Effects(hall)
        for _ in range(round(600 / dt)):
            physics.advance(dt, work, effects)
        means.append(physics.temperature.mean())
    assert max(means) - min(means) < 1.0


def test_heat_holds_the_clocks_at_the_limit_and_is_counted() -> None:
    hall = hall_of("air")
    physics, work, effects = Physics(hall, 3), worked(hall, 0.95), Effects(hall)
    for _ in range(300):
        physics.advance(1.0, work, effects)
    assert physics.temperature.max() < thermal.SLOWDOWN_CELSIUS - thermal.SLOWDOWN_OFFSET_CELSIUS
    effects.core_resistance[:] = 1.8
    hottest = 0.0
    for _ in range(450):
        physics.advance(2.0, work, effects)
        hottest = max(hottest, float(physics.temperature.max()))
    assert hottest < thermal.SLOWDOWN_CELSIUS + 0.5
    assert physics.temperature.max() > thermal.SLOWDOWN_CELSIUS - 4
    assert physics.clock.min() < 0.9
    assert physics.counters.throttle_thermal_seconds.min() > 300


def test_power_never_exceeds_the_limit_and_energy_is_its_integral() -> None:
    played = play(60)
    watts = played.columns("gpu_power_watts")
    joules = played.columns("gpu_energy_joules_total")
    assert watts.max() <= power.LIMIT_WATTS * 1.03  # the sensor's noise
    np.testing.assert_allclose(joules[-1] - joules[0], watts[1:].sum(axis=0), rtol=0.01)


def test_a_node_on_half_its_supplies_is_braked_when_they_cannot_carry_it() -> None:
    hall = hall_of("air")
    physics, work, effects = Physics(hall, 3), worked(hall, 1.0), Effects(hall)
    effects.psu_dead[:3] = True
    for _ in range(60):
        physics.advance(1.0, work, effects)
    assert physics.node_watts_dc[0] < power.PSU_RATED_WATTS
    assert (physics.reasons[:8].astype(int) & 0x80).all()
    assert not (physics.reasons[8:].astype(int) & 0x80).any()


def test_a_row_whose_cooling_is_gone_warms_by_kelvins_a_minute() -> None:
    hall = hall_of("air")
    units = CoolingUnits(hall, np.random.default_rng(1))
    heat = units.full_watts * 0.9
    for _ in range(600):
        units.advance(1.0, heat, np.ones(1), np.ones(1))
    assert units.supply[0] == pytest.approx(units.setpoint[0], abs=0.2)
    for _ in range(60):
        units.advance(1.0, heat, np.zeros(1), np.ones(1))
    assert 4.0 < units.supply[0] - units.setpoint[0] < 5.0


def test_a_warm_row_heats_its_nodes_and_leaves_the_other_row_alone() -> None:
    played = play_fault("cooling_unit_failure", 600, entity="crac/crac-A", step_seconds=5)
    nodes = played.simulator.hall.node_names
    warm = played.columns("node_inlet_temperature_celsius", node=nodes[0])
    cool = played.columns("node_coolant_inlet_temperature_celsius", node=nodes[-1])
    assert warm[-1, 0] - warm[6, 0] > 5
    assert abs(cool[-1, 0] - cool[6, 0]) < 1
