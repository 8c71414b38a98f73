"""Explore and Ahead show what is expected beside what was seen, say how well it held, and why there is nothing."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from plotly.utils import PlotlyJSONEncoder

from coldaisle.clock import HOUR, MINUTE, SECOND
from coldaisle.errors import Transient
from coldaisle.expected import Expected, Past, Plan
from coldaisle.matcher import Matcher
from coldaisle.series import Series, labels
from coldaisle.store import Line
from dashboard import expectation, expected_figure, figures
from dashboard.app import create_app
from dashboard.expected_figure import Crossing
from dashboard.hall import HallKeeper
from dashboard.pages import ahead, ahead_pictures, explore
from dashboard.pages.address import Address
from dashboard.reader import Reader
from dashboard.settings import ServeConfig
from dashboard.source import Backends
from dashboard.theme import DARK, LIGHT, Palette
from tests.dashboard import hall as example
from tests.dashboard.foretold import approaching, prediction

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Starlette prefers a client that is not among our dependencies
    from starlette.testclient import TestClient

STEP = 30 * SECOND
NODE = 'node="n002"'


class Told:
    """A forecaster that expects each reading to be as the one before, give or take 0.5 and 1, and to stay so."""

    def __init__(self, lacking: int = 0) -> None:
        self.lacking = lacking
        self.asked: list[int] = []  # how many series, each time

    def plan(self, pasts: Sequence[Past], start: int, end: int) -> Plan:
        """See the port."""
        return Plan(STEP, start - HOUR)

    def expected(self, pasts: Sequence[Past], plan: Plan, start: int, end: int, ahead: int) -> list[Expected]:
        """See the port."""
        self.asked.append(len(pasts))
        return [self._one(past, start, ahead) for past in pasts]

    def _one(self, past: Past, start: int, ahead: int) -> Expected:
        inside = past.timestamps >= start
        times, seen = past.timestamps[inside], past.values[inside]
        after = times[-1:] + STEP * np.arange(1, ahead // STEP + 1)
        middle = np.concatenate([seen[:1], seen[:-1], np.repeat(seen[-1:], len(after))])
        quantiles = middle[:, None] + np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
        if self.lacking:
            quantiles[:] = np.nan
        nothing = np.full(len(after), np.nan)
        return Expected(
            np.concatenate([times, after]), quantiles, np.concatenate([seen, nothing]), len(times), self.lacking
        )


class Broken(example.Metrics):
    """A store that tells nothing of what came before the last hour."""

    def query(
        self, metric: str, matchers: Sequence[Matcher], start: int, end: int, max_points: int = 2000,
        max_series: int = 200,
    ) -> list[Line]:  # fmt: skip
        """See the port."""
        if start < example.NOW - HOUR - MINUTE:
            raise Transient("the disk is gone")
        return super().query(metric, matchers, start, end, max_points, max_series)


def reader_of(backends: Backends) -> Reader:
    settings = ServeConfig()
    return Reader(backends, settings, HallKeeper(settings.stale_after_seconds))


@pytest.fixture(scope="module")
def plain() -> Backends:
    return example.backends(calm=True, past_incidents=0)


def explored(backends: Backends, **parameters: str) -> tuple[str, dict[str, Any]]:
    """Return the words of the page and the figure in it."""
    chosen = {"metric": "node_inlet_temperature_celsius", "match": NODE, "expected": "yes", **parameters}
    page = json.loads(
        json.dumps(explore.layout(reader_of(backends), Address("/explore", chosen)), cls=PlotlyJSONEncoder)
    )
    graphs = [node["props"]["figure"] for node in _nodes(page) if node.get("type") == "Graph"]
    words = [text for node in _nodes(page) for text in _own(node)]
    return " ".join(words), graphs[0]


def _nodes(node: Any) -> list[dict[str, Any]]:
    if isinstance(node, list):
        return [found for each in node for found in _nodes(each)]
    if not isinstance(node, dict):
        return []
    return [node, *_nodes(node.get("props", {}).get("children"))]


def _own(node: dict[str, Any]) -> list[str]:
    children = node.get("props", {}).get("children")
    return [each for each in (children if isinstance(children, list) else [children]) if isinstance(each, str)]


def names(figure: Any) -> list[str]:
    traces = figure["data"] if isinstance(figure, dict) else figure.data
    return [trace["name"] for trace in traces]


def test_explore_draws_the_bands_behind_the_line_and_the_median_over_it(plain: Backends) -> None:
    words, figure = explored(replace(plain, expecting=Told()))
    assert names(figure)[:2] == ["98 % band", "80 % band"]
    assert names(figure)[-1] == "expected"
    assert "8 of 10 readings are expected here" in words
    assert "told 30 s before each reading" in words
    assert "% came in the 80 % band" in words
    assert "forecast for 15 min" in words
    assert figure["layout"]["xaxis"]["range"][1] >= (example.NOW + 15 * MINUTE) / 1e6 - 1000
    assert any("forecast" in note["text"] for note in figure["layout"]["annotations"])


def test_explore_draws_no_bands_unless_asked(plain: Backends) -> None:
    words, figure = explored(replace(plain, expecting=Told()), expected="")
    assert "80 % band" not in names(figure)
    assert "told" not in words


@pytest.mark.parametrize(
    ("parameters", "lacking", "said"),
    [({}, 8, "too little history to expect anything: it takes about 4 min more"),
     ({"match": 'node=~"n00[1-5]"'}, 0, "up to 4 series: choose fewer"),
     ({"metric": "collector_up", "match": NODE}, 0, "a state or a setting changes at once")],
)  # fmt: skip
def test_explore_says_why_nothing_is_expected(
    plain: Backends, parameters: dict[str, str], lacking: int, said: str
) -> None:
    words, figure = explored(replace(plain, expecting=Told(lacking)), **parameters)
    assert said in words
    assert "80 % band" not in names(figure)


def test_explore_says_when_the_store_did_not_tell_what_came_before(plain: Backends) -> None:
    live = plain.live()
    assert live is not None
    words, figure = explored(replace(plain, expecting=Told(), metrics=Broken(live)))
    assert "the store did not tell what came before: the disk is gone" in words
    assert "observed" not in names(figure)


def test_the_switch_can_not_be_thrown_where_nobody_foretells(plain: Backends) -> None:
    page = json.loads(json.dumps(explore.layout(reader_of(plain), Address("/explore", {})), cls=PlotlyJSONEncoder))
    switch = next(node["props"] for node in _nodes(page) if node["props"].get("id") == "explore-expected")
    assert switch["disabled"] is True
    assert switch["checked"] is False


@pytest.mark.parametrize("on", [True, False])
def test_the_switch_is_remembered_in_the_address(plain: Backends, on: bool) -> None:
    app = create_app(replace(plain, expecting=Told()), ServeConfig())
    before = f"?metric=node_inlet_temperature_celsius&match=node%3D%22n002%22{'' if on else '&expected=yes'}"
    inputs = {"metric": "node_inlet_temperature_celsius", "of": None, "match": NODE, "range": "1h"}
    values: list[dict[str, Any]] = [
        {"id": f"explore-{key}", "property": "value", "value": value} for key, value in inputs.items()
    ]
    values.append({"id": "explore-expected", "property": "checked", "value": on})
    values.append({"id": "explore-tick", "property": "n_intervals", "value": 0})
    state = (("url", "search", before), ("theme", "data", "light"), ("zone", "data", "UTC"))
    client = TestClient(app, base_url="http://127.0.0.1:8800")
    wires = client.get("/_dash-dependencies").json()
    output = next(one["output"] for one in wires if "explore-drawn.children" in one["output"])
    asked = {
        "output": output,
        "outputs": [
            {"id": name.rpartition(".")[0], "property": name.rpartition(".")[2]}
            for name in output.strip(".").split("...")
        ],
        "inputs": values,
        "changedPropIds": ["explore-expected.checked"],
        "state": [{"id": one, "property": what, "value": value} for one, what, value in state],
    }
    answer = client.post("/_dash-update-component", json=asked, headers={"origin": "http://127.0.0.1:8800"})
    assert answer.status_code == 200, answer.text
    found = answer.json()["response"]
    assert ("expected=yes" in found["url"]["search"]) is on
    assert ("80 % band" in json.dumps(found["explore-drawn"])) is on


def line(values: Sequence[float], metric: str = "node_inlet_temperature_celsius") -> Line:
    times = example.NOW + STEP * np.arange(1 - len(values), 1)
    return Line(Series(metric, labels(node="n1")), times, np.asarray(values, np.float64))


def told_of(one: Line, reach: int = 10 * MINUTE, forecaster: Told | None = None) -> Expected:
    past = Past(one.timestamps, one.values)
    return (forecaster or Told())._one(past, int(one.timestamps[0]), reach)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_of_several_lines_each_band_has_the_shade_of_its_line(theme: Palette) -> None:
    lines = [line([20.0 + n] * 50) for n in range(3)]
    figure = figures.explore(lines, "node_inlet_temperature_celsius", theme)
    expected_figure.behind(figure, lines, [told_of(one) for one in lines], ["a", "b", "c"], theme, example.NOW)
    bands = {trace.fillcolor for trace in figure.data if trace.name == "80 % band"}
    assert len(bands) == 3
    faint = next(trace.fillcolor for trace in figure.data if trace.name == "98 % band")
    assert float(faint.rpartition(",")[2][:-1]) < min(float(one.rpartition(",")[2][:-1]) for one in bands)


def test_a_band_is_broken_where_nothing_was_told() -> None:
    one = line([20.0] * 50)
    told = told_of(one)
    told.quantiles[20:25] = np.nan
    figure = figures.explore([one], "node_inlet_temperature_celsius", LIGHT)
    expected_figure.behind(figure, [one], [told], [], LIGHT, example.NOW)
    band = next(trace for trace in figure.data if trace.name == "80 % band")
    assert np.isnan(band.x).sum() == np.isnan(band.y).sum() == 2  # one after each of its two parts


def test_a_faint_band_that_reaches_far_does_not_flatten_the_line() -> None:
    one = line(list(np.linspace(20.0, 22.0, 50)))
    told = told_of(one)
    told.quantiles[-1, 4] = 9000.0
    figure = figures.explore([one], "node_inlet_temperature_celsius", LIGHT)
    expected_figure.behind(figure, [one], [told], [], LIGHT, example.NOW)
    low, high = figure.layout.yaxis.range
    assert low < 20.0
    assert 22.5 < high < 25.0


def test_bands_stay_within_what_a_sensor_can_say(plain: Backends) -> None:
    reader = reader_of(replace(plain, expecting=Told()))
    lines = [line([0.98] * 50, "gpu_utilization_ratio")]
    told = expectation.of(reader, NODE, lines, example.NOW - HOUR, example.NOW, 0).told[0]
    assert told.quantiles.max() == 1.0
    assert told.quantiles.min() == 0.0


def test_a_limit_in_reach_is_drawn_with_past_band_limit_and_when_it_is_passed() -> None:
    one = line(list(np.linspace(24.0, 29.0, 60)))
    crossing = Crossing(32.0, *(example.NOW + minutes * MINUTE for minutes in (10, 20, 40)))
    figure = expected_figure.toward(one, told_of(one), crossing, example.NOW, LIGHT, UTC)
    assert names(figure) == ["98 % band", "80 % band", "expected", "observed", "passed", "passed about"]
    band = next(trace for trace in figure.data if trace.name == "80 % band")
    assert np.nanmin(band.x) == example.NOW / 1e6  # only ahead, from the last reading on
    assert figure.layout.xaxis.range[1] == crossing.high / 1e6
    assert any("limit 32 °C" in note.text for note in figure.layout.annotations)
    assert names(expected_figure.toward(one, None, crossing, example.NOW, DARK, UTC))[0] == "observed"


def shown(backends: Backends) -> list[dict[str, Any]]:
    page = ahead.layout(reader_of(backends), Address("/ahead", {}, "dark"))
    return _nodes(json.loads(json.dumps(page, cls=PlotlyJSONEncoder)))


def test_ahead_draws_those_that_name_a_limit_all_at_once_and_no_more_than_six() -> None:
    made, forecaster = example.backends(calm=True, past_incidents=0), Told()
    made = replace(made, expecting=forecaster)
    made.incidents.save_predictions([prediction("fan_fails", "node/n044", example.NOW, 0.9)])
    assert not [node for node in shown(made) if node["type"] == "Graph"]
    made.incidents.save_predictions([approaching(f"n{number:03}", 0.6 + number / 100) for number in range(1, 10)])
    drawn = [node["props"]["figure"] for node in shown(made) if node["type"] == "Graph"]
    assert len(drawn) == ahead_pictures.MOST_PICTURES
    assert forecaster.asked == [ahead_pictures.MOST_PICTURES]
    assert all("passed about" in names(figure) and "80 % band" in names(figure) for figure in drawn)
    titles = " ".join(text for node in shown(made) for text in _own(node))
    assert "Node inlet temperature of node n009" in titles
    assert "passed about here" in titles


def test_ahead_stands_without_a_picture_where_nothing_is_stored_or_nobody_foretells() -> None:
    made = example.backends(calm=True, past_incidents=0)
    made.incidents.save_predictions([approaching("n999"), approaching("n033")])
    drawn = [node["props"]["figure"] for node in shown(made) if node["type"] == "Graph"]
    assert len(drawn) == 1
    assert "80 % band" not in names(drawn[0])
    assert isinstance(go.Figure(drawn[0]), go.Figure)
