"""Predictions are made, told, settled and counted as they must be, whoever looks ahead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from coldaisle.anomaly import Anomaly, Phase
from coldaisle.clock import MINUTE, SECOND
from coldaisle.event import Event
from coldaisle.frame import Frame, Sample
from coldaisle.prediction import Outcome, Prediction, Reason, Within, by_rule
from coldaisle.selfstats import SelfStats
from coldaisle.series import Series, labels
from coldaisle.severity import Severity
from coldaisle.snapshot import collect_state, restore_state
from coldaisle.state import State
from coldaisle.topology import Topology
from coldaisle.warner import Happened, Minute, Outlook, Slots, View, Watched
from models.early_warning import EarlyWarning
from models.limit_warning import LimitWarning
from pipeline.engine_settings import EngineSettings
from pipeline.prediction_record import Record
from pipeline.predictions import Foresight
from pipeline.rulebook import RuleBook
from pipeline.watch import Watch, ground_of

START = 1_800_000_000 * SECOND // MINUTE * MINUTE
METRIC = "gpu_ecc_corrected_errors_total"


class Told:
    """A warner that says what its test wrote down, by minute."""

    name, version, threat, wants_limits = "told", "1", "fail", False
    metrics = frozenset({METRIC})

    def __init__(self, script: dict[int, float | str]) -> None:
        self._script = script
        self.looked = 0

    def reset(self, slots: Slots) -> None:
        assert slots.dtype == np.int64

    def look(self, watched: Watched, minute: Minute, _events: tuple[tuple[int, Event], ...]) -> View:
        self.looked += 1
        says = self._script.get((minute.at - START) // MINUTE)
        entity = int(watched.entity[0])
        if says is None:
            return View((), ())
        if says == "happened":
            return View((), (Happened("fails", entity, minute.at),))
        if says == "reset":
            return View((), (), (entity,))
        reason = Reason(METRIC, "corrected errors rise", 5.0, 12.0)
        assert isinstance(says, float)
        return View((Outlook("fails", "it fails", entity, says, Within(60.0, 300.0, 600.0), (reason,), 0),), ())

    def state(self) -> State:
        return {"looked": self.looked}

    def restore(self, state: State) -> None:
        self.looked = int(state["looked"])


class Deaf:
    """A court that judges nothing."""

    def reset(self, ids: object) -> None: ...
    def admit(self, ids: object) -> None: ...
    def withhold(self, ids: object, at: int) -> None: ...
    def accept(self, ids: object, at: int) -> None: ...
    def set_budget(self, gpus: int, series: int) -> None: ...
    def hear(self, end: int, samples: object) -> list[Anomaly]:
        return []

    def gone(self, ids: object, now: int) -> list[Anomaly]:
        return []


def watch(warner: Told | EarlyWarning | LimitWarning, stats: SelfStats | None = None) -> Watch:
    topology, settings = Topology(), EngineSettings(allowed_lateness_seconds=0.0, tick_seconds=30)
    ahead = Foresight((warner,))
    return Watch(
        ground_of(topology, settings), topology, RuleBook([]), settings, stats or SelfStats(), lambda _: Deaf(), ahead
    )


def frame(at: int, value: float = 0.0) -> Frame:
    pairs = labels(node="n1", gpu="GPU-1")
    return Frame.of("test", "n1", [Sample(Series(METRIC, pairs), at, value)])


def lived(stage: Watch, minutes: Sequence[int]) -> list[Anomaly]:
    found: list[Anomaly] = []
    for minute in minutes:
        for second in (0, 30):
            at = START + minute * MINUTE + second * SECOND
            found += stage.process([frame(at)], at)
    return [each for each in found if each.prediction is not None]


def predictions(found: Sequence[Anomaly]) -> list[Prediction]:
    return [each.prediction for each in found if each.prediction is not None]


def test_what_is_likely_but_not_certain_is_kept_and_told_to_nobody() -> None:
    [made, over] = lived(watch(Told({3: 0.6, 9: "happened"})), range(15))
    assert (made.severity, made.phase, made.prediction and made.prediction.warned_at) == (Severity.INFO, "opened", None)
    assert over.phase is Phase.CLOSED
    assert over.prediction is not None
    assert (over.prediction.outcome, over.prediction.lead_seconds) == (Outcome.HIT, 360.0)


def test_what_becomes_certain_is_a_ticket_and_its_lead_counts_from_then() -> None:
    found = lived(watch(Told({3: 0.6, 5: 0.9, 9: "happened"})), range(15))
    assert [each.severity for each in found] == [Severity.INFO, Severity.TICKET, Severity.TICKET]
    warned, over = predictions(found)[1:]
    assert warned.warned_at == START + 5 * MINUTE
    assert warned.probability == 0.9
    assert over.lead_seconds == 240.0
    assert found[1].id == found[0].id == found[2].id
    assert "it fails" in found[1].summary
    assert "(90%)" in found[1].explanation


def test_when_its_time_passes_it_is_a_miss_even_if_the_signs_have_gone() -> None:
    missed = predictions(lived(watch(Told({3: 0.9})), range(20)))[-1]
    assert (missed.outcome, missed.settled_at) == (Outcome.MISS, START + 13 * MINUTE)


class Sometimes(Told):
    """Until minute 35 its trained model speaks, then it speaks itself, then its model again."""

    def look(self, watched: Watched, minute: Minute, events: tuple[tuple[int, Event], ...]) -> View:
        view = super().look(watched, minute, events)
        if 35 <= (minute.at - START) // MINUTE < 50:
            return view
        return view._replace(outlooks=tuple(one._replace(model="told/net", version="v9") for one in view.outlooks))


def test_a_trained_model_signs_what_it_says_and_has_a_record_of_its_own() -> None:
    told = predictions(lived(watch(Sometimes({3: 0.9, 20: 0.9, 40: 0.9, 60: 0.9})), range(75)))
    made = {one.made_at: one for one in told}
    net, again, itself, later = (made[at] for at in sorted(made))
    assert (net.model, net.version, itself.model, itself.version) == ("told/net", "v9", "told", "1")
    assert (net.kind, itself.kind) == ("fails (net)", "fails")
    assert {one.outcome for one in made.values()} == {Outcome.MISS}
    assert net.probability == itself.probability == 0.9  # what its model missed does not count against it
    assert net.probability > again.probability > later.probability
    assert set(by_rule(made.values())) == {"fails", "fails (net)"}


def test_of_what_was_reset_nobody_can_tell() -> None:
    stats = SelfStats()
    gone = predictions(lived(watch(Told({3: 0.9, 5: "reset"}), stats), range(10)))[-1]
    assert gone.outcome is Outcome.WITHDRAWN
    assert not gone.settled
    assert stats.get("predictions_settled_total", rule="fails", outcome="withdrawn") == 1.0


def test_the_same_thing_is_predicted_once_until_it_is_settled() -> None:
    found = predictions(lived(watch(Told(dict.fromkeys(range(3, 30), 0.9))), range(30)))
    made = {each.id for each in found}
    assert len(made) == 3  # one each ten minutes, as each is a miss
    assert [each.outcome for each in found if each.outcome is not Outcome.OPEN] == [Outcome.MISS] * 2


def test_two_lives_alike_predict_alike_and_another_order_of_batches_changes_nothing() -> None:
    script: dict[int, float | str] = {3: 0.6, 5: 0.9, 9: "happened", 12: 0.7}
    one = predictions(lived(watch(Told(script)), range(15)))
    stage, at_once = watch(Told(script)), []
    frames = [frame(START + number * 30 * SECOND) for number in range(30)]
    for batch in (frames[:7], frames[7:8], frames[8:]):
        at_once += stage.process(batch, batch[-1].timestamps[-1])
    assert predictions(at_once) == one


def test_a_snapshot_in_between_changes_nothing() -> None:
    script: dict[int, float | str] = {3: 0.6, 5: 0.9, 9: "happened", 12: 0.9}
    whole = lived(watch(Told(script)), range(30))
    first, second = watch(Told(script)), watch(Told(script))
    before = lived(first, range(7))
    restore_state(second.parts(), collect_state(first.parts()))
    assert [replace(each, window=None) for each in before + lived(second, range(7, 30))] == [
        replace(each, window=None) for each in whole
    ]


def test_after_hits_the_same_sign_counts_for_more_and_after_misses_for_less() -> None:
    record = Record()
    assert record.corrected(0.8, 10.0) == 0.8
    record.settled, record.hits, record.stated = 20, 2, 16.0
    assert record.corrected(0.8, 10.0) < 0.5
    record.hits = 20
    assert record.corrected(0.8, 10.0) > 0.9


def test_the_posterior_of_a_record_is_the_beta_binomial_mean() -> None:
    record = Record(settled=30, hits=12, stated=24.0)
    assert record.corrected(0.8, 10.0) == pytest.approx((10 * 0.8 + 12) / 40)


def test_times_follow_what_hits_took_once_there_are_enough() -> None:
    record, told = Record(), Within(60.0, 300.0, 600.0)
    record.leads.extend([100.0] * 7)
    assert record.within(told) == told
    record.leads.append(100.0)
    assert record.within(told) == Within(100.0, 100.0, 600.0)


def test_with_no_warner_nothing_is_kept() -> None:
    topology, settings = Topology(), EngineSettings()
    stage = Watch(ground_of(topology, settings), topology, RuleBook([]), settings, SelfStats(), lambda _: Deaf())
    assert "predictions" not in stage.parts()
    assert lived(stage, range(5)) == []
