"""What a person calls noise is taught: from the incident to whoever judges the series."""

from __future__ import annotations

from typing import Any

import pytest

from coldaisle.bus import EVENTS
from coldaisle.bus.memory import MemoryBus
from coldaisle.codec import decode_event
from coldaisle.event import Event
from coldaisle.incident import IncidentState, ResolveReason
from coldaisle.series import Series, labels
from coldaisle.teaching import lesson_of, series_of
from pipeline.alerting.lessons import Lessons
from pipeline.court import Bench
from tests.pipeline.eventful_hall import Hall, Stages
from tests.scenarios.story import Story, finding, hall

ABOUT = Series("gpu_temperature_celsius", labels(gpu="GPU-a1n1-0"))


def closed(reason: ResolveReason) -> tuple[Story, list[Event]]:
    """Open an incident about a GPU's temperature and let a person resolve it."""
    story, taught = Story(hall()), list[Event]()
    story.alerter.teach_by(taught.append)
    story.hear(0, finding("gpu_grows_hot", "gpu/GPU-a1n1-0", 0, ABOUT.metric, "drift"))
    story.until(60, 0)
    incident = story.only()
    assert incident.state is IncidentState.OPEN
    story.store.save(incident.resolved(Story.ns(60), "ana", reason))
    story.until(120, 60)
    return story, taught


def test_an_incident_that_was_noise_teaches_its_series_once() -> None:
    story, taught = closed(ResolveReason.NOISE)
    story.until(240, 120)
    (lesson,) = taught
    assert (lesson.kind, lesson.code, lesson.timestamp) == ("teaching", "normal", Story.ns(60))
    assert series_of(lesson) == [ABOUT]


@pytest.mark.parametrize("reason", [ResolveReason.REAL, ResolveReason.PLANNED, ResolveReason.DUPLICATE])
def test_any_other_reason_teaches_nothing(reason: ResolveReason) -> None:
    story, taught = closed(reason)
    assert taught == []
    assert lesson_of(story.incidents()[0]) is None


def test_a_lesson_goes_over_the_bus_and_back() -> None:
    _, (lesson,) = closed(ResolveReason.NOISE)
    bus = MemoryBus()
    consumer = bus.consumer([EVENTS], "score")
    Lessons(bus.producer())(lesson)
    (message,) = consumer.poll(10, 0.0)
    assert series_of(decode_event(message.value)) == [ABOUT]
    bus.close()


@pytest.mark.parametrize("series", ["", "{}", "[1]", '[["m"]]', '[["m", 3]]', "[[", '{"a": {"b": "c"}}'])
def test_a_broken_lesson_is_about_nothing(series: str) -> None:
    assert series_of(Event("teaching", "normal", 0, labels(), "", {"series": series})) == []


def test_a_lesson_that_the_watch_hears_reaches_the_court_in_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    taught: list[tuple[int, int]] = []

    def accept(self: Any, ids: Any, at: int) -> None:
        taught.extend((int(number), at) for number in ids)

    monkeypatch.setattr(Bench, "accept", accept)
    stages = Stages()
    for number, moment in list(enumerate(Hall(1).moments(140)))[100:]:  # the lesson is told in moment 130
        stages.feed(number, moment)
        assert not taught or number >= 131
    ((number, _),) = taught
    assert stages.court.room._table.series(number).metric == ABOUT.metric
