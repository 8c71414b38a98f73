"""The process that serves a forecaster may refuse, fail, die or hang; whoever asks goes on, and is told once."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from coldaisle.errors import ConfigError
from coldaisle.selfstats import SelfStats
from models.forecast import served
from models.forecast.served import ServedForecaster
from tests.models.forecast.foreteller import card

HISTORY = np.ones((3, 30), np.float32)
Serve = Callable[[str, str, Connection], None]


def answers(_folder: str, _kind: str, pipe: Connection) -> None:
    pipe.send("")
    while True:
        try:
            history, _, last = pipe.recv()
        except EOFError:
            return
        pipe.send(np.full((len(history), 60, 5), float(last), np.float32))


def fails(_folder: str, _kind: str, pipe: Connection) -> None:
    pipe.send("")
    pipe.recv()
    pipe.send("ValueError: no such thing")


def dies(_folder: str, _kind: str, pipe: Connection) -> None:
    pipe.send("")
    pipe.recv()


def hangs(_folder: str, _kind: str, pipe: Connection) -> None:
    pipe.send("")
    pipe.recv()
    pipe.poll(None)  # until whoever asked goes away


def never_ready(_folder: str, _kind: str, _pipe: Connection) -> None:
    return


def begun(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> tuple[ServedForecaster, SelfStats]:
    stats = SelfStats()
    monkeypatch.setattr(served, "_serve", serve)
    return ServedForecaster(Path("nowhere"), card(("a",)), stats), stats


def test_questions_are_answered_in_order_and_those_beyond_the_most_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "MOST_SERIES", 2)
    forecaster, stats = begun(answers, monkeypatch)
    first, second = forecaster.ask(HISTORY, HISTORY, 7), forecaster.ask(HISTORY[:1], HISTORY[:1], 8)
    later, before = second(), first()
    forecaster.close()
    assert before is not None
    assert later is not None
    assert before.shape == (3, 60, 5)
    assert before[:, 0, 0].tolist()[:2] == [7.0, 7.0]
    assert np.isnan(before[2]).all()
    assert later[0, 0, 0] == 8.0
    assert stats.get("forecasts_dropped_total", reason="too_many_series") == 1
    assert stats.get("forecasts_total") == 3


@pytest.mark.parametrize(
    ("serve", "why"), [(fails, "no such thing"), (dies, "its process ended"), (hangs, "no answer within 1 s")]
)
def test_one_that_gives_no_answer_is_told_of_once_and_asked_no_more(
    serve: Serve, why: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(served, "PATIENCE_SECONDS", 1.0)
    forecaster, stats = begun(serve, monkeypatch)
    with caplog.at_level("WARNING", logger="coldaisle.models"):
        asked = forecaster.ask(HISTORY, HISTORY, 7), forecaster.ask(HISTORY, HISTORY, 7)
        assert [answer() for answer in asked] == [None, None]
        assert forecaster.ask(HISTORY, HISTORY, 7)() is None
    forecaster.close()
    assert caplog.text.count("goes on without it") == caplog.text.count(why) == 1
    assert stats.get("forecasts_failed_total", version="v7") == 1


def test_one_that_is_never_ready_or_cannot_be_loaded_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="ended before it was ready"):
        begun(never_ready, monkeypatch)
    monkeypatch.undo()
    with pytest.raises(ConfigError, match=r"model\.json") as caught:
        ServedForecaster(tmp_path, card(("a",)), SelfStats())
    assert "\n" not in str(caught.value)
