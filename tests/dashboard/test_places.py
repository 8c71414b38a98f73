"""The hall is one place inside another; everything in it is found, called and muted by what people say."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from coldaisle.clock import MINUTE, SECOND
from coldaisle.series import Series, labels
from coldaisle.silence import Silence
from coldaisle.store import Line
from coldaisle.store.memory_incidents import MemoryIncidentStore
from coldaisle.topology import Entity, Topology
from dashboard import figures, hall, hall_figure, places, search, silencing, words
from dashboard.hall import HallKeeper, Picture
from dashboard.reader import matchers_within, rate
from dashboard.theme import LIGHT
from tests.dashboard import hall as example

DESK, PHONE = 1440, 390
UUID = "GPU-f739994a-e1b8-7a8c-0e11-48d43b9cb9cf"


@pytest.fixture(scope="module")
def topology() -> Topology:
    return example.topology()


@pytest.fixture(scope="module")
def picture(topology: Topology) -> Picture:
    return HallKeeper().picture(example.live(topology), topology, [example.warming(topology)])


@pytest.mark.parametrize(
    ("at", "cells"),
    [
        ("row/B", 256),
        ("rack/B03", 32),
        ("node/n033", 8),
        ("gpu/n033-gpu2", 8),
        ("crac/crac-2", 256),
        ("site/hall-1", 0),
    ],
)
def test_a_place_shows_its_own_cells_or_what_it_can_harm(
    picture: Picture, topology: Topology, at: str, cells: int
) -> None:
    assert len(places.cells_of(picture.arrangement, at, topology)) == cells


def test_a_rack_is_drawn_alone_with_the_same_states(picture: Picture, topology: Topology) -> None:
    near = places.narrowed(picture, places.cells_of(picture.arrangement, "rack/B03", topology), DESK)
    assert (near.arrangement.width, near.arrangement.height) == (8, 4)
    assert set(near.state) == {hall.CRITICAL}
    assert near.arrangement.cells[0] == "gpu/n041-gpu0"
    assert len(set(zip(near.arrangement.x.tolist(), near.arrangement.y.tolist(), strict=True))) == 32


def test_on_a_phone_racks_go_on_the_next_line_so_that_cells_stay_large(picture: Picture) -> None:
    wide, narrow = places.narrowed(picture, None, DESK), places.narrowed(picture, None, PHONE)
    assert wide is picture
    assert places.hall_pixels(PHONE) / narrow.arrangement.width >= 8
    assert len(narrow.arrangement.cells) == 1024
    assert len(set(zip(narrow.arrangement.x.tolist(), narrow.arrangement.y.tolist(), strict=True))) == 1024


def test_few_cells_carry_their_value_and_many_do_not(picture: Picture, topology: Topology) -> None:
    near = places.narrowed(picture, places.cells_of(picture.arrangement, "node/n033", topology), DESK)
    drawn = hall_figure.Drawn(cell_pixels=100, here="gpu/n033-gpu2")
    figure = hall_figure.hall_heatmap(near, near.metric, LIGHT, drawn)
    assert "MHz" in figure.data[1].text[0][0]
    assert len(figure.layout.shapes) == 1
    assert not hall_figure.hall_heatmap(picture, hall_figure.STATE, LIGHT).data[1].text


def test_gaps_never_outweigh_small_cells() -> None:
    assert (hall_figure.Drawn(cell_pixels=4).gap, hall_figure.Drawn(cell_pixels=9).gap) == (0, 1)


def test_incidents_of_a_place_are_those_that_reach_into_it(topology: Topology) -> None:
    warming, lagging = example.warming(topology), example.lagging()
    both = [warming, lagging]
    assert places.touching(both, "rack/B03", topology) == [warming]
    assert places.touching(both, "node/n103", topology) == [lagging]
    assert places.touching(both, "row/A", topology) == []


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("n033", "node/n033"),
        ("rack b03", "rack/B03"),
        ("B03", "rack/B03"),
        ("crac-2", "crac/crac-2"),
        ("row c", "row/C"),
    ],
)
def test_what_is_typed_finds_the_thing_that_is_meant(topology: Topology, text: str, first: str) -> None:
    assert search.entities(topology, text)[0] == first


def test_a_gpu_is_called_by_its_place_and_found_by_it() -> None:
    hall_of_uuids = Topology([Entity("node", "n035"), Entity("gpu", UUID, "node/n035", {"index": "7"})])
    assert words.called(f"gpu/{UUID}", hall_of_uuids) == "GPU 7 of n035"
    assert words.short(f"gpu/{UUID}", hall_of_uuids) == "n035 GPU 7"
    assert search.entities(hall_of_uuids, "gpu 7 of n035".replace(" of", ""))[0] == f"gpu/{UUID}"
    assert search.entities(hall_of_uuids, UUID)[0] == f"gpu/{UUID}"
    said = words.plain(f"GPU {UUID} lost at 16:46:27 UTC", example.NOW, ZoneInfo("Europe/Berlin"), hall_of_uuids)
    assert said == "GPU 7 of n035 lost at 17:46:27 CET"


def test_a_time_without_a_date_is_the_nearest_one() -> None:
    just_after_midnight = 1_795_392_300 * SECOND  # 2026-11-23 00:05 UTC
    said = words.plain("since 23:59:00 UTC", just_after_midnight, ZoneInfo("Asia/Tokyo"), Topology())
    assert said == "since 08:59:00 JST"


def test_an_incident_within_its_suspect_is_muted_by_the_suspect(topology: Topology) -> None:
    lagging = example.lagging()
    meant = silencing.matchers_for(lagging, topology)
    assert [str(one) for one in meant] == ['gpu="n103-gpu5"']
    assert silencing.said(meant, topology) == "n103-gpu5"


def test_a_silence_holds_for_the_incidents_that_it_mutes_and_no_other(topology: Topology) -> None:
    warming, lagging = example.warming(topology), example.lagging()
    store = MemoryIncidentStore()
    now = example.NOW
    store.save_silence(Silence("s", silencing.matchers_for(warming, topology), now, now + MINUTE, "jo", "pump"))
    assert [one.id for one in silencing.holding(store, warming, topology, now)] == ["s"]
    assert silencing.holding(store, lagging, topology, now) == []
    assert silencing.holding(store, warming, topology, now + MINUTE) == []


def test_a_counter_is_read_as_its_rate_and_a_reset_is_unknown() -> None:
    times = np.array([0, 10, 20, 30], dtype=np.int64) * SECOND
    line = rate(Line(Series("gpu_energy_joules_total", labels(gpu="a")), times, np.array([0.0, 5000.0, 100.0, 7100.0])))
    assert line.values[0] == 500
    assert np.isnan(line.values[1])
    assert line.values[2] == 700


def test_the_series_of_a_rack_are_those_of_its_nodes(topology: Topology) -> None:
    assert matchers_within("rack/A01", "gpu_power_watts", topology) == 'node=~"n001|n002|n003|n004"'
    assert matchers_within("gpu/n001-gpu0", "gpu_power_watts", topology) == 'gpu="n001-gpu0"'


def test_of_many_lines_only_one_that_stands_out_is_named() -> None:
    times = np.arange(40, dtype=np.int64) * SECOND
    random = np.random.default_rng(3)
    usual = [Line(Series("x_watts", labels(gpu=str(n))), times, 600 + random.normal(0, 2, 40)) for n in range(12)]
    assert figures.strangest(usual) is None
    usual[4] = usual[4]._replace(values=usual[4].values - 80)
    assert figures.strangest(usual) == 4
    figure = figures.explore(usual, "gpu_power_watts", LIGHT, names=[f"gpu {n}" for n in range(12)], lit=4)
    assert [trace.line.color for trace in figure.data].count(LIGHT.accent) == 1
    assert any("gpu 4" in note.text for note in figure.layout.annotations)


def test_nothing_is_healthy_before_the_first_sample(topology: Topology) -> None:
    live = example.live(topology)
    early = replace(live, now=0, timestamps=np.zeros_like(live.timestamps))
    picture = HallKeeper().picture(early, topology, [])
    assert set(picture.state) == {hall.UNKNOWN}


def test_pue_is_only_said_when_every_node_reports(topology: Topology) -> None:
    small = Topology([Entity("node", "n1"), Entity("node", "n2")])
    series = (
        Series("site_power_watts", labels(site="s")),
        *(Series("node_power_watts", labels(node=n)) for n in ("n1", "n2")),
    )
    base = example.live(topology)
    live = replace(
        base, series=series, entities=("site/s", "node/n1", "node/n2"), values=np.array([12_000.0, 5000.0, 5000.0]),
        timestamps=np.full(3, base.now), groups=np.full(3, -1, dtype=np.int32), scores=np.zeros(3, dtype=np.float32),
    )  # fmt: skip
    plan = HallKeeper().plan(live, small)
    assert hall.pue(live, plan, 2, MINUTE) == pytest.approx(1.2)
    assert hall.pue(live, plan, 3, MINUTE) is None
    silent = replace(live, timestamps=np.array([base.now, base.now, base.now - 2 * MINUTE]))
    assert hall.pue(silent, plan, 2, MINUTE) is None


def test_a_finding_without_a_window_is_drawn_as_events_on_a_line_of_time() -> None:
    marks = [(10 * SECOND, "xid 79: lost", True), (20 * SECOND, "alert joined", False)]
    figure = figures.events_line(marks, (0, 60 * SECOND), LIGHT, LIGHT.critical, UTC)
    assert [len(trace.x) for trace in figure.data] == [1, 1]
    assert "00:00:10" in figure.layout.annotations[0].text
