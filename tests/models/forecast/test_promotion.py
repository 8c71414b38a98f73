"""A trained forecaster takes over only where it is better on later data, with honest bands."""

from __future__ import annotations

from models.forecast.measures import Quality
from models.forecast.promotion import Trial, decide

LIGHT = Quality(1.0, 0.20, 0.79, 0.975)
BETTER = Quality(0.9, 0.15, 0.80, 0.98)
TRIAL = Trial(learnt_to=100, judged_from=101, forecasts=1000, newcomer=BETTER, light=LIGHT)


def test_a_better_one_is_promoted_and_says_by_how_much() -> None:
    decision = decide(TRIAL)
    assert decision.promoted
    assert decision.reason == "25 % less quantile loss than the light forecaster, on 1000 forecasts of later data"
    assert decision.scores["quantile_loss"] == 0.15
    assert decision.scores["light_quantile_loss"] == 0.20


def test_one_that_does_not_beat_the_light_one_is_not() -> None:
    decision = decide(TRIAL._replace(newcomer=LIGHT))
    assert not decision.promoted
    assert "light forecaster" in decision.reason


def test_one_that_does_not_beat_the_present_model_is_not() -> None:
    decision = decide(TRIAL._replace(champion=Quality(0.9, 0.151, 0.8, 0.98)))
    assert not decision.promoted
    assert "present model" in decision.reason


def test_data_that_it_learnt_from_decide_nothing() -> None:
    assert "learnt from" in decide(TRIAL._replace(judged_from=100)).reason


def test_few_forecasts_decide_nothing() -> None:
    assert "too few" in decide(TRIAL._replace(forecasts=99)).reason


def test_bands_that_promise_too_much_are_refused() -> None:
    assert "held 60%" in decide(TRIAL._replace(newcomer=BETTER._replace(coverage_80=0.6))).reason
    assert not decide(TRIAL._replace(newcomer=BETTER._replace(coverage_98=0.9))).promoted


def test_one_without_forecasts_is_refused() -> None:
    nothing = Quality(float("nan"), float("nan"), float("nan"), float("nan"))
    decision = decide(TRIAL._replace(newcomer=nothing))
    assert not decision.promoted
    assert "quantile_loss" not in decision.scores
