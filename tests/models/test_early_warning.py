"""Early warnings: what builds up is foretold with its reasons; noise, load and one wild reading are not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldaisle.event import Event
from coldaisle.series import labels
from models.early_warning import EarlyWarning
from models.early_warning_signs import CLOCK, CORRECTED, FANS, HAZARDS, MEMORY_TEMPERATURE, POWER, SYMBOL, TEMPERATURE
from tests.models.warned import START, Place, odds

UNCORRECTED = "gpu_ecc_uncorrected_errors_total"
REMAPPED = "gpu_remapped_rows_uncorrectable"


def storm(minutes: int) -> list[float]:
    """Return a counter of corrected errors whose rate doubles every eight minutes."""
    return [float(each) for each in np.cumsum(0.5 * 2.0 ** (np.arange(minutes) / 8.0)).round()]


def test_corrected_errors_that_grow_foretell_uncorrectable_ones_and_say_why() -> None:
    place = Place(EarlyWarning(), [(CORRECTED, 0, 0), (UNCORRECTED, 0, 0)])
    views = [place.look([count, 0.0]) for count in storm(60)]
    assert odds(views[5], "gpu_memory_fails") == 0.0
    last = views[-1].outlooks[0]
    assert (last.rule, last.what) == ("gpu_memory_fails", "uncorrectable memory error")
    assert last.probability > 0.5
    assert any("corrected memory errors in 10 min" in reason.text for reason in last.reasons)
    assert last.slot == 0


def test_a_remapped_row_makes_it_likelier() -> None:
    views = []
    for rows in (0.0, 1.0):
        place = Place(EarlyWarning(), [(CORRECTED, 0, 0), (REMAPPED, 0, 0)])
        for minute, count in enumerate(storm(50)):
            view = place.look([count, rows if minute >= 40 else 0.0])
        views.append(odds(view, "gpu_memory_fails"))
    assert views[0] < views[1]
    assert views[1] > 0.9


def test_a_few_errors_now_and_then_foretell_nothing() -> None:
    rng = np.random.default_rng(1)
    place = Place(EarlyWarning(), [(CORRECTED, 0, 0), (SYMBOL, 1, 0)])
    counts = np.cumsum(rng.poisson([0.02, 0.05], (500, 2)), axis=0)
    assert all(not place.look(row.tolist()).outlooks for row in counts)


def test_what_has_happened_is_no_news_and_is_told_with_its_time() -> None:
    place = Place(EarlyWarning(), [(CORRECTED, 0, 0), (UNCORRECTED, 0, 0)])
    for count in storm(50):
        before = place.look([count, 0.0])
    assert before.outlooks
    after = place.look([storm(51)[-1], 2.0])
    assert [(one.rule, one.entity) for one in after.happened] == [("gpu_memory_fails", 0)]
    assert after.outlooks == ()


def test_an_xid_settles_what_a_counter_cannot() -> None:
    place = Place(EarlyWarning(), [(CORRECTED, 0, 0)])
    event = Event("xid", "95", START + 30_000_000_000, labels(gpu="GPU-1"), "", {})
    view = place.look([0.0], (0, event))
    assert [(one.rule, one.at) for one in view.happened] == [("gpu_memory_fails", event.timestamp)]


def test_a_counter_that_begins_anew_says_that_its_gpu_was_reset() -> None:
    place = Place(EarlyWarning(), [(CORRECTED, 3, 0), (CORRECTED, 4, 0)])
    place.look([900.0, 5.0])
    assert place.look([0.0, 5.0]).begun_anew == (3,)


@pytest.mark.parametrize("fan", [FANS[0], *(pytest.param(fan, marks=pytest.mark.slow) for fan in FANS[1:])])
def test_a_fan_that_turns_ever_slower_than_its_siblings_is_foretold_before_it_fails(fan: str) -> None:
    rng = np.random.default_rng(2)
    place = Place(EarlyWarning(), [(fan, 0, number) for number in range(6)])
    told = failed = None
    for minute in range(200):
        speed = 9000 + 2000 * np.sin(minute / 20) + rng.normal(0, 30, 6)
        health = 1.0 if minute < 60 else max(0.5, 1.0 - (minute - 60) * 0.005)
        view = place.look((speed * ([health] * 3 + [1.0] * 3)).tolist())
        if told is None and odds(view, "fan_fails") > 0.8:
            told = minute
        if failed is None and view.happened:
            failed = minute
    assert told is not None
    assert failed is not None
    assert 60 < told < failed - 20


def test_a_fan_that_stops_at_once_has_failed_and_is_not_foretold() -> None:
    place = Place(EarlyWarning(), [(FANS[0], 0, number) for number in range(6)])
    views = [place.look([8000.0] * 5 + [8000.0 if minute < 40 else 0.0]) for minute in range(60)]
    assert any(view.happened for view in views)
    assert all(odds(view, "fan_fails") < 0.8 for view in views[:41])
    assert all(not view.outlooks for view in views[43:])


def gpus(
    resistance: list[float], load: float, rng: np.random.Generator, wild: bool = False
) -> tuple[list[float], list[float], list[float]]:
    watts = 700.0 * load + rng.normal(0, 3, len(resistance))
    celsius = 30.0 + 0.05 * np.array(resistance) * watts + rng.normal(0, 0.2, len(resistance))
    if wild:
        celsius[0] = 125.0
    return celsius.tolist(), watts.tolist(), (1.6e9 + 1e8 * rng.normal(0, 0.02, len(resistance))).tolist()


def cooling_place(count: int = 4) -> Place:
    keys = [(metric, gpu, 0) for metric in (TEMPERATURE, POWER, CLOCK) for gpu in range(count)]
    keys += [("gpu_temperature_slowdown_celsius", gpu, 0) for gpu in range(count)]
    return Place(EarlyWarning(), [*keys, ("node_inlet_temperature_celsius", 9, 0)])


def shown(place: Place, reading: tuple[list[float], list[float], list[float]], count: int = 4) -> float:
    celsius, watts, clock = reading
    return odds(place.look([*celsius, *watts, *clock, *([87.0] * count), 30.0]), "gpu_cooling_fails")


def test_a_plate_that_clogs_is_foretold_while_its_gpu_is_still_cool_enough() -> None:
    rng, place = np.random.default_rng(3), cooling_place()
    told = None
    for minute in range(120):
        clogged = 1.0 + max(0, minute - 40) * 0.012
        reading = gpus([clogged, 1.0, 1.0, 1.0], 1.0, rng)
        if shown(place, reading) > 0.8:
            told = minute
            assert reading[0][0] < 87.0
            break
    assert told is not None


def test_load_that_comes_and_goes_foretells_nothing() -> None:
    rng, place = np.random.default_rng(4), cooling_place()
    loads = np.repeat(rng.choice([0.1, 0.5, 0.8, 1.0], 20), 15)
    assert all(shown(place, gpus([1.0] * 4, load, rng)) == 0.0 for load in loads)


def test_what_all_gpus_of_a_node_share_is_not_foretold_of_each() -> None:
    rng, place = np.random.default_rng(5), cooling_place()
    for minute in range(70):
        grown = 1.0 + max(0, minute - 40) * 0.01
        assert shown(place, gpus([grown] * 4, 1.0, rng)) < 0.8


def test_one_wild_reading_now_and_then_foretells_nothing() -> None:
    rng, place = np.random.default_rng(6), cooling_place()
    assert all(shown(place, gpus([1.0] * 4, 1.0, rng, wild=minute % 9 == 0)) < 0.5 for minute in range(80))


def test_missing_values_say_nothing() -> None:
    place = cooling_place()
    count = len(place.keys)
    assert all(place.look([float("nan")] * count) == ((), (), ()) for _ in range(20))


@settings(derandomize=True, max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=10, max_size=40), st.integers(0, 39))
def test_what_comes_later_does_not_change_what_was_said(rises: list[int], cut: int) -> None:
    counts = np.cumsum(rises).tolist()
    whole, part = (Place(EarlyWarning(), [(CORRECTED, 0, 0)]) for _ in range(2))
    said = [whole.look([float(count)]) for count in counts]
    assert [part.look([float(count)]) for count in counts[:cut]] == said[:cut]


def test_one_bad_gpu_does_not_change_what_is_said_of_another() -> None:
    rng = np.random.default_rng(7)
    alone, beside = (
        Place(EarlyWarning(), [(CORRECTED, 0, 0)]),
        Place(EarlyWarning(), [(CORRECTED, 0, 0), (CORRECTED, 1, 0)]),
    )
    for count in storm(50):
        one = alone.look([count])
        both = beside.look([count, float(rng.integers(0, 10**6))])
        assert odds(one, "gpu_memory_fails") == odds(both, "gpu_memory_fails")


def test_a_state_taken_back_says_the_same() -> None:
    first, second = (Place(EarlyWarning(), [(CORRECTED, 0, 0)]) for _ in range(2))
    counts = storm(50)
    for count in counts[:30]:
        first.look([count])
    second.warner.restore(first.warner.state())
    second.minutes = first.minutes
    assert [second.look([count]) for count in counts[30:]] == [first.look([count]) for count in counts[30:]]


def test_a_slot_that_changes_hands_begins_anew() -> None:
    place = Place(EarlyWarning(), [(CORRECTED, 0, 0)])
    for count in storm(50):
        assert place.look([count]) is not None
    place.warner.reset(np.array([0]))
    assert place.look([5.0]).outlooks == ()


def test_every_sign_names_where_its_weight_comes_from_and_no_sign_alone_warns() -> None:
    for hazard in HAZARDS:
        assert hazard.action
        assert hazard.runbook
        assert hazard.rises or hazard.drops or hazard.events
        for sign in hazard.signs:
            assert sign.source
            assert hazard.base + sign.weight < -1.0, (hazard.rule, sign.text)
    assert MEMORY_TEMPERATURE in EarlyWarning().metrics
