"""What happens to an incident while it lasts, and what people do with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from coldaisle.clock import SECOND
from coldaisle.errors import Transient
from coldaisle.event import Event
from coldaisle.incident import Incident, IncidentState, ResolveReason
from coldaisle.matcher import parse
from coldaisle.prediction import Prediction
from coldaisle.series import labels
from coldaisle.severity import Severity
from coldaisle.silence import Silence
from coldaisle.store import Change, RoleState
from coldaisle.store.memory_incidents import MemoryIncidentStore
from coldaisle.topology import Topology
from pipeline.alerting.settings import AlertSettings, MaintenanceWindow
from tests.scenarios.story import START, EventRule, Rules, Story, ended, finding, hall, silent

HOT = finding("gpu_hot", "gpu/GPU-a1n1-0", 0, "gpu_temperature_celsius", "peers", said="GPU 0 of a1n1 at 91 °C")


def opened(story: Story) -> Incident:
    story.hear(1, HOT)
    story.until(20, 1)
    return story.only()


def test_an_incident_resolves_by_itself_after_quiet() -> None:
    story = Story(hall())
    opened(story)
    story.hear(100, ended(HOT, 100))
    story.until(390, 100)
    assert story.only().state is IncidentState.OPEN
    story.until(410, 390)

    incident = story.only()
    assert incident.state is IncidentState.RESOLVED
    assert incident.resolve_reason is ResolveReason.ENDED
    assert incident.ended_at == Story.ns(100)
    assert story.kinds() == ["opened", "resolved"]


def test_an_alert_that_flaps_stays_one_incident_and_tells_nobody_twice() -> None:
    story = Story(hall())
    opened(story)
    for turn in range(10):
        story.hear(100 + 120 * turn, ended(replace(HOT, id=f"f{turn - 1}") if turn else HOT, 100 + 120 * turn))
        back = replace(
            finding("gpu_hot", HOT.entity, 150 + 120 * turn, "gpu_temperature_celsius", "peers"), id=f"f{turn}"
        )
        story.hear(150 + 120 * turn, back)
    story.until(1500, 1250)

    assert story.only().state is IncidentState.OPEN
    assert story.kinds() == ["opened"]
    assert any("is back" in entry.text for entry in story.only().timeline)


def test_an_alert_that_returns_soon_after_the_end_opens_its_incident_again_and_later_a_new_one() -> None:
    story = Story(hall())
    opened(story)
    story.hear(100, ended(HOT, 100))
    story.until(420, 100)
    second = finding("gpu_hot", HOT.entity, 600, "gpu_temperature_celsius", "peers", said="back at 91 °C")
    story.hear(600, second)
    story.until(630, 600)
    assert story.only().state is IncidentState.OPEN
    assert story.kinds() == ["opened", "resolved", "reopened"]

    story.hear(700, ended(second, 700))
    story.until(1020, 700)
    story.hear(5000, finding("gpu_hot", HOT.entity, 5000, "gpu_temperature_celsius", "peers", said="91 °C"))
    story.until(5030, 5000)
    assert len(story.incidents()) == 2


def test_hearing_the_same_findings_again_changes_nothing() -> None:
    story = Story(hall())
    incident = opened(story)
    for at in (25, 30, 35):
        story.hear(at, HOT)
    story.until(60, 35)

    assert story.only() == incident
    assert story.kinds() == ["opened"]


def test_a_restart_in_the_middle_continues_the_same_incident() -> None:
    before = Story(hall())
    gone = [silent(f"node/a1n{node}", 1) for node in range(1, 9)]
    before.hear(20, *gone)
    before.until(40, 20)
    before.hear(50, ended(gone[0], 50))
    before.until(130, 50)
    first = before.only()

    after = Story(hall(), store=before.store)
    after.alerter.restore(Story.ns(140))
    after.hear(145, *gone)  # heard again from the log
    after.until(170, 145)
    assert after.only().id == first.id
    assert after.kinds() == []

    after.hear(200, *[ended(one, 200) for one in gone])
    after.until(520, 200)
    assert after.only().state is IncidentState.RESOLVED
    assert after.kinds() == ["resolved"]


def test_a_crash_before_the_restart_knew_opens_no_twin() -> None:
    before = Story(hall())
    first = opened(before)
    after = Story(hall(), store=before.store)
    after.hear(25, HOT)  # without restore: even then the id is the same
    after.until(60, 25)

    assert [one.id for one in after.incidents()] == [first.id]
    assert after.kinds() == []


def test_an_acknowledgement_by_another_process_is_kept_and_expires() -> None:
    story = Story(hall())
    incident = opened(story)
    story.store.save(incident.acknowledged(Story.ns(60), "ana", Story.ns(600)))
    story.until(90, 60)
    assert story.only().state is IncidentState.ACKNOWLEDGED
    story.until(620, 90)

    incident = story.only()
    assert incident.state is IncidentState.OPEN
    assert "the acknowledgement by ana expired" in incident.timeline[-1].text
    assert story.kinds() == ["opened", "reopened"]


def test_an_acknowledged_incident_that_worsens_pages_again_and_keeps_its_owner() -> None:
    story = Story(hall())
    incident = opened(story)
    story.store.save(incident.acknowledged(Story.ns(30), "ana", Story.ns(9000)))
    story.hear(100, finding("xid_page", HOT.entity, 99, "", "event", Severity.PAGE, "GPU 0 of a1n1: Xid 79"))
    story.until(130, 100)

    incident = story.only()
    assert incident.severity is Severity.PAGE
    assert incident.state is IncidentState.ACKNOWLEDGED
    assert incident.acknowledgement is not None
    assert incident.acknowledgement.actor == "ana"
    assert story.kinds() == ["opened", "worsened"]
    assert [entry.kind for entry in incident.timeline][:2] == ["opened", "acknowledged"]


def test_a_person_who_resolves_is_not_overruled_while_the_same_alert_goes_on() -> None:
    story = Story(hall())
    incident = opened(story)
    story.store.save(incident.resolved(Story.ns(60), "ana", ResolveReason.NOISE))
    story.hear(100, replace(HOT, updated_at=Story.ns(100), score=0.99))
    story.until(900, 100)

    incident = story.only()
    assert incident.state is IncidentState.RESOLVED
    assert incident.resolve_reason is ResolveReason.NOISE
    assert story.kinds() == ["opened"]


def test_two_who_write_at_once_both_keep_what_they_wrote() -> None:
    class Racing(MemoryIncidentStore):
        raced = False

        def save_round(
            self, changes: Sequence[Change], state: RoleState | None = None, predictions: Sequence[Prediction] = ()
        ) -> list[Incident]:
            if changes[0][0].version == 1 and not self.raced:
                self.raced = True
                stored = self.get(changes[0][0].id)
                assert stored is not None
                super().save_round([(stored.acknowledged(Story.ns(50), "ana", Story.ns(5000)), ())])
            return super().save_round(changes, state, predictions)

    story = Story(hall(), store=Racing())
    opened(story)
    story.hear(
        60, finding("gpu_slow", HOT.entity, 58, "gpu_clock_sm_hertz", "peers", Severity.PAGE, said="clock 900 MHz")
    )
    story.until(130, 60)

    incident = story.only()
    assert incident.acknowledgement is not None
    assert len(incident.alerts) == 2
    assert story.stats.total("alerting_writes_repeated_total") == 1


def test_a_store_that_is_away_loses_nothing() -> None:
    class Away(MemoryIncidentStore):
        away = True

        def save_round(
            self, changes: Sequence[Change], state: RoleState | None = None, predictions: Sequence[Prediction] = ()
        ) -> list[Incident]:
            if self.away:
                raise Transient("the database is away")
            return super().save_round(changes, state, predictions)

    store = Away()
    story = Story(hall(), store=store)
    story.hear(1, HOT)
    with pytest.raises(Transient):
        story.until(20, 1)
    store.away = False
    story.until(40, 20)

    assert story.only().title == "GPU 0 of a1n1 at 91 °C"
    assert len(story.store.notifications()) == 1


def test_a_silence_keeps_an_incident_quiet_and_says_who_and_why() -> None:
    story = Story(hall())
    story.store.save_silence(Silence("s1", parse('node="a1n1"'), START, Story.ns(300), "ana", "fan swap"))
    incident = opened(story)

    assert incident.suppressed_by is not None
    assert incident.suppressed_by.startswith("silenced by ana until 2026-11-22T03:05:00Z")
    assert incident.suppressed_by.endswith(": fan swap")
    assert story.kinds() == []

    story.until(330, 20)
    assert story.only().suppressed_by is None
    assert story.kinds() == ["opened"]


def test_a_maintenance_window_mutes_what_is_planned_and_nothing_else() -> None:
    window = MaintenanceWindow.model_validate(
        {
            "matchers": 'rack="a1"',
            "starts_at": "2026-11-22T02:00:00Z",
            "ends_at": "2026-11-22T04:00:00Z",
            "comment": "feed work",
        }
    )
    story = Story(hall(), settings=AlertSettings(maintenance=(window,)))
    elsewhere = finding("gpu_hot", "gpu/GPU-b2n1-0", 0, "gpu_temperature_celsius", "peers", said="hot in b2")
    story.hear(1, HOT, elsewhere)
    story.until(20, 1)

    quiet = {one.suspect: one.suppressed_by for one in story.incidents()}
    assert quiet[elsewhere.entity] is None
    assert quiet[HOT.entity] == "maintenance until 2026-11-22T04:00:00Z: feed work"
    assert story.sent == [("opened", "hot in b2")]


def test_an_event_holds_for_its_time_and_repeated_events_are_one_alert() -> None:
    story = Story(hall(), Rules(EventRule("xid_page", "xid", hold_seconds=300)))

    def xid(at: float) -> Event:
        return Event("xid", "79", START + round(at * SECOND), labels(node="a1n1", gpu="GPU-a1n1-4"))

    for at in (0, 60, 120):
        story.hear(at, events=[xid(at)])
    story.until(300, 120)
    incident = story.only()
    assert incident.suspect == "gpu/GPU-a1n1-4"
    assert len(incident.firing) == 1

    story.until(450, 300)
    assert story.only().firing == ()
    story.until(800, 450)
    assert story.only().state is IncidentState.RESOLVED


def test_an_event_that_clears_ends_its_alert() -> None:
    story = Story(hall(), Rules(EventRule("link_down", "link", hold_seconds=9000)))
    port = labels(node="a1n1", port="p1")
    story.hear(0, events=[Event("link", "down", START, port)])
    story.until(30, 0)
    story.hear(60, events=[Event("link", "clear", Story.ns(60), port)])
    story.until(400, 60)

    assert story.only().state is IncidentState.RESOLVED


def test_alerts_that_prove_to_be_one_cause_end_in_one_incident_and_the_other_says_so() -> None:
    story = Story(hall())
    story.hear(15, silent("node/a1n1", 0))
    story.until(30, 15)
    story.hear(31, silent("node/a1n2", 20))
    story.until(50, 31)
    assert len(story.incidents()) == 2
    story.hear(60, *[silent(f"node/a1n{node}", 50) for node in range(3, 9)])
    story.until(90, 60)

    still_open = [one for one in story.incidents() if one.state is not IncidentState.RESOLVED]
    closed = [one for one in story.incidents() if one.resolve_reason is ResolveReason.DUPLICATE]
    assert [one.suspect for one in still_open] == ["rack/a1"]
    assert len(closed) == 1
    assert still_open[0].id in closed[0].timeline[-1].text
    assert len(still_open[0].alerts) == 8


def test_each_sensor_of_one_alert_ends_by_itself_and_repeats_are_counted() -> None:
    rule = EventRule("fan_critical", "status", hold_seconds=90_000, severity=Severity.TICKET)
    story = Story(hall(), Rules(rule, EventRule("xid_repeats", "xid", count=3, window_seconds=100)))

    def fan(name: str, code: str, at: float) -> Event:
        return Event("status", code, Story.ns(at), labels(node="a1n1", sensor=name))

    story.hear(0, events=[fan("Fan 1A", "critical", 0), fan("Fan 1B", "critical", 0)])
    story.hear(60, events=[fan("Fan 1A", "clear", 60)])
    story.until(200, 60)
    incident = story.only()
    assert len(incident.firing) == 1
    assert "2 sensors of node a1n1 (Fan 1A and Fan 1B)" in incident.reasons[0]
    story.hear(300, events=[fan("Fan 1B", "clear", 300)])
    story.until(700, 300)
    assert story.only().state is IncidentState.RESOLVED

    for at in (800, 1000, 1050, 1080):
        story.hear(at, events=[Event("xid", "13", Story.ns(at), labels(node="b1n1", gpu="GPU-b1n1-0"))])
        story.until(at + 15, at)
        assert len(story.incidents()) == (2 if at == 1080 else 1)


def test_a_finding_on_something_no_file_declares_is_placed_in_its_node() -> None:
    story = Story(Topology())
    story.hear(
        1,
        finding("psu_down", "psu/n9:psu0", 0, "", "limit", Severity.TICKET, "psu0 delivers nothing"),
        finding("node_power", "node/n9", 0, "node_power_watts", "peers", said="n9 draws 0 W"),
    )
    story.until(30, 1)

    assert story.only().suspect == "psu/n9:psu0"
