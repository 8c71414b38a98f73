"""Figures are functions of data; both themes can be read; unknown is never green."""

from __future__ import annotations

from datetime import UTC

import numpy as np
import pytest

from coldaisle.clock import SECOND
from coldaisle.series import Series, labels
from coldaisle.store import Line
from coldaisle.topology import Entity, Topology
from dashboard import figures, hall_figure, words
from dashboard.hall import CRITICAL, FINE, UNKNOWN, WARNING, HallKeeper, Picture, arrange
from dashboard.theme import DARK, LIGHT, Palette, contrast
from tests.dashboard import hall as example


@pytest.fixture(scope="module")
def picture() -> Picture:
    topology = example.topology()
    incidents = [example.warming(topology), example.lagging()]
    return HallKeeper().picture(example.live(topology), topology, incidents, "gpu_temperature_celsius")


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_every_text_colour_can_be_read_on_every_ground(theme: Palette) -> None:
    for ground in (theme.ground, theme.surface, theme.raised):
        for name, colour in theme.text().items():
            assert contrast(colour, ground) >= 4.5, f"{name} on {ground}"


def test_black_on_white_has_the_contrast_that_wcag_says() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


def test_every_gpu_has_its_own_cell(picture: Picture) -> None:
    place = picture.arrangement
    assert len(place.cells) == 1024
    assert len(set(zip(place.x.tolist(), place.y.tolist(), strict=True))) == 1024
    assert [block.label for block in place.blocks[:2]] == ["A01", "A02"]


def test_a_silent_node_is_unknown_and_never_fine(picture: Picture) -> None:
    silent = picture.arrangement.inside["node/n117"]
    assert set(picture.state[silent]) == {UNKNOWN}
    assert np.isnan(picture.values[silent]).all()
    assert "no telemetry" in hall_figure.hall_hover(picture)[int(silent[0])]


def test_the_reach_of_an_incident_has_its_severity(picture: Picture) -> None:
    row = picture.arrangement.inside["row/B"]
    assert set(picture.state[row]) == {CRITICAL}
    assert set(picture.state[picture.arrangement.inside["row/A"]]) == {FINE}
    assert set(picture.state[picture.arrangement.inside["gpu/n103-gpu5"]]) == {WARNING}


def test_hovering_says_value_expected_siblings_and_score(picture: Picture) -> None:
    text = hall_figure.hall_hover(picture)[0]
    for word in ("GPU temperature", "°C", "expected", "siblings", "score"):
        assert word in text


@pytest.mark.parametrize("view", [hall_figure.STATE, hall_figure.SCORE, "gpu_temperature_celsius"])
def test_the_hall_is_drawn_with_heatmaps_whose_patch_fits(picture: Picture, view: str) -> None:
    figure = hall_figure.hall_heatmap(picture, view, DARK)
    change = hall_figure.hall_patch(picture, view, DARK)
    assert [trace.type for trace in figure.data[:2]] == ["heatmap", "heatmap"]
    assert np.array(figure.data[1].z).shape == (len(change["z"]), len(change["z"][0]))
    assert len(figure.data) == 2 + len(change["marks"])


def test_nodes_without_racks_are_still_one_picture() -> None:
    place = arrange(Topology([Entity("node", f"n{number}") for number in range(100)]))
    assert place.kind == "node"
    assert len(place.cells) == 100
    assert place.height == 16


def test_the_median_of_siblings_leaves_the_hot_ones_out(picture: Picture) -> None:
    usual = picture.siblings[picture.arrangement.inside["row/A"]]
    assert np.nanmedian(usual) == pytest.approx(64, abs=2)


def test_evidence_shows_observed_beside_band_siblings_limit_and_mark() -> None:
    window = example.warming(example.topology()).alerts[1].anomalies[0].window
    assert window is not None
    figure = figures.evidence(window, "n033", window.timestamps[70], LIGHT, LIGHT.critical, UTC)
    names = [trace.name for trace in figure.data]
    assert {"expected band", "expected", "n033", "n001"} <= set(names)
    observed = figure.data[names.index("n033")]
    assert observed.y[32] is None
    assert observed.connectgaps is False
    assert figure.layout.yaxis.title.text == "°C"
    assert any("limit" in note.text for note in figure.layout.annotations)


def test_silence_in_a_line_is_drawn_as_a_gap() -> None:
    times = np.array([0, 1, 2, 3, 50, 51], dtype=np.int64) * SECOND
    shown, values = figures.with_gaps(times, np.arange(6.0))
    assert len(shown) == 7
    assert np.isnan(values[4])


def test_many_lines_are_all_grey_siblings() -> None:
    times = np.arange(10, dtype=np.int64) * SECOND
    lines = [Line(Series("gpu_power_watts", labels(gpu=str(n))), times, np.full(10, 600.0)) for n in range(9)]
    figure = figures.explore(lines, "gpu_power_watts", LIGHT)
    assert {trace.line.color for trace in figure.data} == {LIGHT.sibling}


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(812_400.0, "watts", "812 kW"), (71.24, "celsius", "71.2 °C"), (0.5, "ratio", "50 %"), (None, "watts", "unknown"),
     (float("nan"), "celsius", "unknown"), (1.755e9, "hertz", "1,755 MHz"), (72.0 * 2**30, "bytes", "72 GiB"),
     (1.5e9, "bytes_per_second", "1.5 GB/s"), (0.0, "watts", "0 W")],
)  # fmt: skip
def test_numbers_are_written_with_their_unit(value: float | None, unit: str, text: str) -> None:
    assert words.quantity(value, unit) == text


def test_a_reach_is_said_in_words() -> None:
    assert words.reach(["crac/c", "gpu/1", "gpu/2", "node/n"]) == "2 GPUs, 1 node and 1 cooling unit"
