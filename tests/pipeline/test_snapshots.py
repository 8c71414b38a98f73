"""An engine that is cut and put together again from a snapshot goes on to the last bit as if nothing had been."""

from __future__ import annotations

import random
from functools import cache
from typing import TypeVar

import pytest

from coldaisle.anomaly import Anomaly, Phase
from coldaisle.errors import Permanent
from coldaisle.snapshot import Snapshot, collect_state, restore_state
from pipeline.scoring import Engine
from pipeline.shards import VERSION, Shard, restore, snapshot_of
from tests.pipeline.eventful_hall import Hall, Moment, Stages, engine, parts_of

pytestmark = pytest.mark.xdist_group("snapshots")  # one life without a cut for all of them
STEPS = 240
CUTS = 12


def saved(scorer: Engine) -> bytes:
    return Snapshot("engine", 1, 0, {}, collect_state(parts_of(scorer))).to_bytes()


def restored(data: bytes) -> Engine:
    fresh = engine()
    restore_state(parts_of(fresh), Snapshot.from_bytes(data, "engine", 1).parts)
    return fresh


ShardT = TypeVar("ShardT", bound=Shard)


def handed_on(shard: ShardT, fresh: ShardT) -> ShardT:
    """Return ``fresh`` in the place of ``shard``."""
    data = snapshot_of(shard, 0).to_bytes()
    restore(fresh, Snapshot.from_bytes(data, shard.kind, VERSION))
    return fresh


def feed(scorer: Engine, moment: Moment) -> list[Anomaly]:
    scorer.observe(moment.events)
    return scorer.process(moment.frames, moment.now)


@cache
def story(seed: int) -> tuple[list[Moment], list[Anomaly], bytes]:
    """Return the hall's life, what an engine without a cut finds in it, and what it keeps at the end."""
    moments = list(Hall(seed).moments(STEPS))
    scorer = engine()
    found = [each for moment in moments for each in feed(scorer, moment)]
    return moments, found, saved(scorer)


@pytest.mark.slow
def test_the_hall_is_eventful_enough_to_prove_something() -> None:
    _, found, _ = story(1)
    rules = {each.rule for each in found}
    assert rules >= {
        "clock_skewed", "gpu_ecc_storm", "gpu_hot", "gpu_hotter_than_siblings", "gpu_pcie_narrow", "gpu_vanished",
        "node_partly_silent", "node_silent", "psu_down", "sensor_invalid", "sensor_stuck",
    }  # fmt: skip
    assert {each.phase for each in found} == set(Phase)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_kept_all_the_time_and_cut_now_and_then_it_finds_and_remembers_the_same_to_the_last_bit(seed: int) -> None:
    moments, expected, memory = story(seed)
    # At any moment, and within the first and the last ones too: before the first nothing is known yet.
    cuts = {*random.Random(seed).sample(range(STEPS), CUTS), *range(4), *range(STEPS - 3, STEPS)}
    scorer, found = restored(saved(engine())), []
    for number, moment in enumerate(moments):
        found += feed(scorer, moment)
        collect_state(parts_of(scorer))  # keeping alone changes nothing
        if number in cuts:
            data = saved(scorer)
            scorer = restored(data)
            assert saved(scorer) == data, "what was taken back is what was kept"
    assert found == expected
    assert saved(scorer) == memory


@pytest.mark.slow
def test_both_stages_cut_at_different_moments_find_the_same_and_remember_the_same() -> None:
    moments = Hall(1).moments(160)
    whole, cut = Stages(), Stages()
    expected: list[Anomaly] = []
    found: list[Anomaly] = []
    for number, moment in enumerate(moments):
        expected += whole.feed(number, moment)
        found += cut.feed(number, moment)
        if number % 17 == 5:
            cut.watch = handed_on(cut.watch, Stages().watch)
        if number % 23 == 11:
            cut.court = handed_on(cut.court, Stages().court)
    assert found == expected
    for mine, theirs in ((cut.watch, whole.watch), (cut.court, whole.court)):
        assert snapshot_of(mine, 0).to_bytes() == snapshot_of(theirs, 0).to_bytes()


def test_what_is_kept_does_not_change_while_the_engine_goes_on() -> None:
    scorer = engine()
    moments = list(Hall(1).moments(80))
    for moment in moments[:40]:
        feed(scorer, moment)
    kept = collect_state(parts_of(scorer))
    at_once = Snapshot("engine", 1, 0, {}, kept).to_bytes()
    for moment in moments[40:80]:
        feed(scorer, moment)
    assert Snapshot("engine", 1, 0, {}, kept).to_bytes() == at_once


@pytest.mark.parametrize("part", ["topology", "table", "groups", "ticks", "rounds", "limits", "silences", "judge"])
def test_a_part_that_lost_a_key_is_refused_by_name(part: str) -> None:
    kept = collect_state(parts_of(engine()))
    key = sorted(kept[part])[0]
    kept[part] = {name: value for name, value in kept[part].items() if name != key}
    with pytest.raises(Permanent, match=f"snapshot: {part}: .*is missing"):
        restore_state(parts_of(engine()), kept)


def test_an_engine_with_other_detectors_refuses() -> None:
    kept = collect_state(parts_of(engine()))
    kept["judge"] = {**kept["judge"], "detectors": [["level", "1"], ["peers", "0"]]}
    with pytest.raises(Permanent, match="judge: detectors: were level 1, peers 0; now they are level 1, seasonal 1"):
        restore_state(parts_of(engine()), kept)
