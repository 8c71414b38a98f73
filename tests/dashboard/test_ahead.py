"""The page Ahead and its API say what is expected, why, and how often that came true."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest
from plotly.utils import PlotlyJSONEncoder

from dashboard.app import create_app
from dashboard.hall import HallKeeper
from dashboard.pages import ahead
from dashboard.pages.address import Address
from dashboard.reader import Reader
from dashboard.settings import ServeConfig
from dashboard.source import Backends
from tests.dashboard import hall as example
from tests.dashboard.foretold import predictions

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Starlette prefers a client that is not among our dependencies
    from starlette.testclient import TestClient


@pytest.fixture
def backends() -> Backends:
    made = example.backends(past_incidents=0)
    made.incidents.save_predictions(list(predictions()))
    return made


@pytest.fixture
def client(backends: Backends) -> TestClient:
    return TestClient(create_app(backends, ServeConfig()), base_url="http://127.0.0.1:8800")


def text_of(backends: Backends, search: str = "") -> str:
    settings = ServeConfig()
    reader = Reader(backends, settings, HallKeeper(settings.stale_after_seconds))
    shown = ahead.layout(reader, Address.of("/ahead", search, "light", "UTC"))
    return " ".join(_texts(json.loads(json.dumps(shown, cls=PlotlyJSONEncoder))))


def _texts(node: Any) -> list[str]:
    if isinstance(node, str):
        return [node]
    if isinstance(node, list):
        return [text for each in node for text in _texts(each)]
    return _texts(node.get("props", {}).get("children", [])) if isinstance(node, dict) else []


def test_the_page_says_what_is_expected_with_its_chance_and_its_reasons(backends: Backends) -> None:
    text = text_of(backends)
    assert "2 warnings open" in text
    assert "uncorrectable memory error" in text
    assert "82%" in text
    assert "48 corrected memory errors in 10 min" in text
    assert "Watched" in text


def test_the_page_says_how_often_warnings_came_true_and_how_long_before(backends: Backends) -> None:
    text = text_of(backends)
    assert "30 of 33 settled warnings came true (91%)" in text
    assert "before (median)" in text
    assert "gpu memory fails" in text


def test_an_empty_page_is_calm(backends: Backends) -> None:
    text = text_of(example.backends(past_incidents=0))
    assert "Nothing is expected to fail" in text
    assert "no warning has been settled yet" in text


def test_few_settled_warnings_are_called_few(backends: Backends) -> None:
    store = example.backends(past_incidents=0)
    store.incidents.save_predictions([one for one in predictions() if one.settled][:3])
    assert "too few to rely on" in text_of(store)


def test_the_api_lists_predictions_by_outcome_and_rule(client: TestClient) -> None:
    found = client.get("/api/v1/predictions", params={"outcome": "open", "rule": "fan_fails"}).json()["predictions"]
    assert [one["entity"] for one in found] == ["node/n044"]
    assert found[0]["within_seconds"] == {"low": 300.0, "median": 1800.0, "high": 7200.0}
    assert found[0]["reasons"][0]["weight"] == 5.4
    assert client.get("/api/v1/predictions", params={"outcome": "soon"}).status_code == 422
    assert "/api/v1/predictions/score" in client.get("/api/v1/openapi.json").json()["paths"]


def test_the_api_scores_them(client: TestClient) -> None:
    fared = client.get("/api/v1/predictions/score").json()
    assert fared["warnings"]["hits"] == 30
    assert fared["warnings"]["precision"] == pytest.approx(30 / 33)
    assert set(fared["by_rule"]) == {"fan_fails", "gpu_memory_fails", "port_fails"}
    assert sum(bin_["settled"] for bin_ in fared["calibration"]) == fared["all"]["hits"] + fared["all"]["misses"]
