"""What every incident store must do for predictions: keep each with what became of it, whatever comes twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coldaisle.clock import MINUTE, SECOND
from coldaisle.errors import Transient
from coldaisle.prediction import Outcome, Prediction, Reason, Within, prediction_id
from coldaisle.store import PredictionQuery, RoleState
from tests.conformance.incidents import NOON, Look, incident


def prediction(entity: str = "gpu/GPU-a", made_at: int = NOON, **changes: object) -> Prediction:
    plain = Prediction(
        id=prediction_id("gpu_memory_fails", entity, made_at),
        rule="gpu_memory_fails",
        entity=entity,
        what="uncorrectable memory error",
        probability=0.82,
        within=Within(300.0, 1800.0, 7200.0),
        made_at=made_at,
        settles_at=made_at + 7200 * SECOND,
        updated_at=made_at,
        latest=0.82,
        reasons=(Reason("gpu_ecc_corrected_errors_total", "48 corrected in 10 min", 5.4, 48.0, made_at - MINUTE),),
        model="early_warning",
        version="1",
        warned_at=made_at,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def hit(one: Prediction) -> Prediction:
    at = one.made_at + 20 * MINUTE
    return replace(one, outcome=Outcome.HIT, settled_at=at, updated_at=at, lead_seconds=1200.0)


EVERY = PredictionQuery()


def test_what_was_saved_comes_back_whole(look: Look) -> None:
    told = [prediction(), hit(prediction("gpu/GPU-b", NOON + MINUTE))]
    look().save_predictions(told)
    assert look().predictions(EVERY) == [told[1], told[0]]


def test_a_settled_prediction_stays_settled_whatever_old_word_of_it_comes_again(look: Look) -> None:
    one = prediction()
    look().save_predictions([one, hit(one)])
    look().save_predictions([one, replace(one, latest=0.9, updated_at=NOON + 60 * MINUTE)])
    assert look().predictions(EVERY) == [hit(one)]


def test_the_later_of_two_words_holds(look: Look) -> None:
    one = prediction()
    later = replace(one, latest=0.95, updated_at=NOON + 5 * MINUTE)
    look().save_predictions([later])
    look().save_predictions([one])
    assert look().predictions(EVERY) == [later]


def test_predictions_are_found_by_outcome_rule_entity_warning_and_age(look: Look) -> None:
    old, quiet = prediction(made_at=NOON - MINUTE), prediction("gpu/GPU-b", warned_at=None)
    fan = prediction("node/n1", NOON + MINUTE, rule="fan_fails", id="f" * 16)
    look().save_predictions([hit(old), quiet, fan])
    store = look()
    assert store.predictions(PredictionQuery((Outcome.HIT,))) == [hit(old)]
    assert store.predictions(PredictionQuery((Outcome.OPEN, Outcome.MISS))) == [fan, quiet]
    assert store.predictions(PredictionQuery(rule="fan_fails")) == [fan]
    assert store.predictions(PredictionQuery(entity="gpu/GPU-b")) == [quiet]
    assert store.predictions(PredictionQuery(warned=False)) == [quiet]
    assert store.predictions(PredictionQuery(warned=True)) == [fan, hit(old)]
    assert store.predictions(PredictionQuery(made_since=NOON)) == [fan, quiet]
    assert store.predictions(PredictionQuery(limit=1)) == [fan]


def test_predictions_of_a_round_are_written_with_it_or_not_at_all(look: Look) -> None:
    look().hold("alert", "p1", NOON, 5)
    look().save_round([(incident(), [])], RoleState("alert", "p1", {"a": "1"}), [prediction()])
    assert look().predictions(EVERY) == [prediction()]
    with pytest.raises(Transient, match="another process"):
        look().save_round([], RoleState("alert", "p2", {"a": "2"}), [prediction("gpu/GPU-b")])
    assert look().predictions(EVERY) == [prediction()]
