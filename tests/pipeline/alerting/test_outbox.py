"""Notifications reach their receivers once, in order, however long it takes."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import SecretStr
from standardwebhooks.webhooks import Webhook

from coldaisle.clock import HOUR, SECOND, ManualClock, SystemClock
from coldaisle.errors import Backpressure, Permanent, Transient
from coldaisle.incident import Incident, IncidentState
from coldaisle.selfstats import SelfStats
from coldaisle.severity import Severity
from coldaisle.store import Notification, NotificationState
from coldaisle.store.memory_incidents import MemoryIncidentStore
from coldaisle.store.sql import open_incidents
from pipeline.alerting.notifiers.webhook import WebhookConfig, WebhookNotifier
from pipeline.alerting.outbox import OutboxSettings, OutboxWorker, notifications_for

NOON = 1_790_000_000 * SECOND


class Receiver:
    """A notifier that answers as told and remembers who got what when."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.answers: list[Exception | None] = []
        self.tries: list[tuple[float, str]] = []
        self.taken: list[str] = []

    def send(self, notification: Notification) -> None:
        self.tries.append(((self.clock.now() - NOON) / SECOND, notification.id))
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer
        self.taken.append(notification.id)

    def close(self) -> None:
        self.answers.clear()


class Play:
    """A store, a worker and two receivers in virtual time."""

    def __init__(self, **settings: float) -> None:
        self.clock = ManualClock(NOON)
        self.store = MemoryIncidentStore()
        self.stats = SelfStats()
        self.receivers = {name: Receiver(self.clock) for name in ("oncall", "chat")}
        chosen = replace(OutboxSettings(seed=7), **settings)  # type: ignore[arg-type]
        self.worker = OutboxWorker(self.store, self.receivers, self.clock, self.stats, chosen)

    def put(self, notification_id: str, receiver: str = "oncall", incident_id: str = "inc-1") -> None:
        message = Notification(
            notification_id, incident_id, receiver, "opened", "{}", self.clock.now(), next_attempt_at=self.clock.now()
        )
        self.store.save(incident(notification_id), [message])

    def run_until(self, seconds: float, pace_seconds: float = 0.25) -> None:
        while self.clock.now() < NOON + seconds * SECOND:
            self.worker.step(self.clock.now())
            self.clock.advance(pace_seconds)

    def state(self, notification_id: str) -> Notification:
        return next(one for one in self.store.notifications() if one.id == notification_id)


def incident(incident_id: str = "inc-1") -> Incident:
    return Incident(
        id=incident_id,
        title="Node n017 is silent",
        severity=Severity.PAGE,
        state=IncidentState.OPEN,
        suspect="node/n017",
        entities=("node/n017",),
        started_at=NOON - SECOND,
        opened_at=NOON,
        updated_at=NOON,
        explanation="",
        recommended_action="",
        reasons=(),
        confidence=0.5,
        alerts=(),
    )


def test_what_is_due_is_sent_once() -> None:
    play = Play()
    play.put("m1")
    assert play.worker.step(NOON) == 1
    assert play.worker.step(NOON + HOUR) == 0
    assert play.receivers["oncall"].taken == ["m1"]
    done = play.state("m1")
    assert (done.state, done.attempts, done.sent_at) == (NotificationState.SENT, 1, NOON)
    assert play.stats.get("outbox_sent_total", receiver="oncall") == 1


def test_a_receiver_that_is_away_is_tried_ever_more_rarely() -> None:
    play = Play(first_backoff_seconds=2.0, max_backoff_seconds=60.0)
    play.receivers["oncall"].answers = [Transient("down")] * 8
    play.put("m1")
    play.run_until(600)
    times = [at for at, _ in play.receivers["oncall"].tries]
    gaps = [after - before for before, after in pairwise(times)]
    assert len(times) == 9
    assert all(gap <= min(2.0 * 2**n, 60.0) + 0.25 for n, gap in enumerate(gaps))  # the pace of the steps is 0.25 s
    assert play.state("m1").state is NotificationState.SENT
    assert play.stats.get("outbox_failed_total", receiver="oncall", reason="unreachable") == 8


def test_the_jitter_is_seeded_and_differs_between_receivers() -> None:
    def tries(receiver: str) -> list[tuple[float, str]]:
        play = Play()
        play.receivers[receiver].answers = [Transient("down")] * 4
        play.put("m1", receiver)
        play.run_until(100)
        return play.receivers[receiver].tries

    assert tries("oncall") == tries("oncall")
    assert tries("oncall") != tries("chat")


def test_a_receiver_that_asks_for_time_gets_it_for_all_its_notifications() -> None:
    play = Play()
    play.receivers["oncall"].answers = [Backpressure("slowly", 90.0)]
    play.put("m1", incident_id="a")
    play.put("m2", incident_id="b")
    play.run_until(200)
    assert play.receivers["oncall"].tries == [(0.0, "m1"), (90.0, "m1"), (90.0, "m2")]
    assert play.state("m2").attempts == 1


def test_no_receiver_waits_for_another() -> None:
    play = Play()
    play.receivers["oncall"].answers = [Transient("down")] * 100
    play.put("m1")
    play.put("m2", "chat")
    assert play.worker.step(NOON) == 1
    assert play.receivers["chat"].taken == ["m2"]


def test_the_order_of_one_incident_is_kept_through_failures() -> None:
    play = Play()
    play.receivers["oncall"].answers = [Transient("down")] * 3
    for number in range(4):
        play.put(f"m{number}")
    play.run_until(120)
    assert play.receivers["oncall"].taken == ["m0", "m1", "m2", "m3"]


def test_what_is_refused_is_dead_at_once_with_the_reason() -> None:
    play = Play()
    play.receivers["oncall"].answers = [Permanent("refused with 404")]
    play.put("m1")
    play.put("m2")
    play.run_until(10)
    dead = play.state("m1")
    assert (dead.state, dead.attempts, dead.last_error) == (NotificationState.DEAD, 1, "refused with 404")
    assert play.receivers["oncall"].taken == ["m2"]
    assert play.stats.get("outbox_dead_total", receiver="oncall", reason="refused") == 1


def test_what_is_too_old_is_given_up_with_the_last_error_and_can_be_sent_again() -> None:
    play = Play(max_age_seconds=3600.0, max_backoff_seconds=300.0)
    play.receivers["oncall"].answers = [Transient("down")] * 1000
    play.put("m1")
    play.run_until(2 * 3600, pace_seconds=10)
    dead = play.state("m1")
    assert dead.state is NotificationState.DEAD
    assert dead.last_error == f"given up after {dead.attempts} tries in 1 h: down"
    assert play.stats.get("outbox_dead_total", receiver="oncall", reason="too old") == 1
    play.receivers["oncall"].answers = []
    assert play.store.requeue("m1", play.clock.now())
    play.run_until(3 * 3600, pace_seconds=10)
    assert play.state("m1").state is NotificationState.SENT


def test_what_waited_while_we_were_down_is_still_tried() -> None:
    play = Play(max_age_seconds=3600.0)
    play.put("m1")
    play.clock.advance(7200)
    assert play.worker.step(play.clock.now()) == 1


def test_a_receiver_that_nobody_configured_is_named() -> None:
    play = Play()
    play.put("m1", "pager")
    play.run_until(1)
    dead = play.state("m1")
    assert dead.state is NotificationState.DEAD
    assert "'pager'" in dead.last_error


def test_a_broken_notifier_loses_nothing_and_stops_nobody() -> None:
    play = Play()
    play.receivers["oncall"].answers = [ZeroDivisionError("oops")]
    play.put("m1")
    play.put("m2", "chat")
    play.run_until(10)
    assert play.receivers["oncall"].taken == ["m1"]
    assert play.receivers["chat"].taken == ["m2"]
    assert play.stats.get("outbox_failed_total", receiver="oncall", reason="broken") == 1


def test_what_was_sent_but_not_settled_goes_out_again_with_the_same_id() -> None:
    play = Play(lease_seconds=60.0)
    play.put("m1")
    play.store.lease(NOON, 1, 60)  # another worker that died after sending
    play.run_until(59)
    assert play.receivers["oncall"].tries == []
    play.run_until(61)
    assert play.receivers["oncall"].taken == ["m1"]


def test_what_a_slow_receiver_leaves_of_a_batch_is_given_back_before_its_lease_ends() -> None:
    play = Play(batch=5, lease_seconds=45.0, work_seconds=15.0)

    class Slow(Receiver):
        def send(self, notification: Notification) -> None:
            super().send(notification)
            self.clock.advance(10)

    play.worker = OutboxWorker(
        play.store, {"oncall": Slow(play.clock)}, play.clock, play.stats, OutboxSettings(batch=5)
    )
    for number in range(5):
        play.put(f"m{number}", incident_id=f"i{number}")
    assert play.worker.step(play.clock.now()) == 2
    assert [one.id for one in play.store.lease(play.clock.now(), 9, 60)] == ["m2", "m3", "m4"]


def test_running_ends_when_told_and_has_sent_what_was_due() -> None:
    play = Play()
    stop = threading.Event()
    both = threading.Barrier(3, timeout=10)

    class Meeting(Receiver):
        def send(self, notification: Notification) -> None:
            super().send(notification)
            both.wait()  # both receivers are served at the same time

    receivers = {name: Meeting(play.clock) for name in ("oncall", "chat")}
    worker = OutboxWorker(play.store, receivers, play.clock, play.stats, OutboxSettings(poll_seconds=0.01))
    play.put("m1")
    play.put("m2", "chat")
    play.put("m3", "pager")
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    both.wait()
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    states = {one.id: one.state for one in play.store.notifications()}
    assert states["m1"] is states["m2"] is NotificationState.SENT
    assert states["m3"] is NotificationState.DEAD


# What is sent


def test_a_notification_says_what_happened_and_carries_the_public_form() -> None:
    made = notifications_for(incident(), "opened", ["oncall", "chat"], NOON, "http://127.0.0.1:8050/")
    assert [one.receiver for one in made] == ["oncall", "chat"]
    body = json.loads(made[0].body)
    assert (body["type"], body["timestamp"]) == ("incident.opened", "2026-09-21T14:13:20Z")
    assert body["data"]["url"] == "http://127.0.0.1:8050/incidents/inc-1"
    assert body["data"]["title"] == "Node n017 is silent"
    assert json.loads(notifications_for(incident(), "opened", ["a"], NOON, "")[0].body)["data"]["url"] is None


def test_ids_follow_from_incident_kind_receiver_and_the_changes_before_not_from_how_often_it_was_written() -> None:
    def ids(one: Incident, kind: str = "opened") -> list[str]:
        return [made.id for made in notifications_for(one, kind, ["a", "b"], NOON, "")]

    assert ids(incident()) == ids(replace(incident(), version=1))
    taken = incident().acknowledged(NOON, "ann")
    again = taken.unacknowledged(NOON, "ann").acknowledged(NOON, "ann")
    assert not set(ids(taken, "acknowledged")) & set(ids(again, "acknowledged"))
    different = [
        *ids(incident()),
        *ids(incident(), "resolved"),
        *ids(incident().noted(NOON, "note", "worse than when last told: page, 4 entities; it was ticket, 1 entity")),
        *ids(incident("x")),
    ]
    assert len(set(different)) == 8


# With a real server


@contextmanager
def server(answers: list[tuple[int, dict[str, str]]]) -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """Serve on loopback: one answer a request, then 204; give the URL and what came."""
    came: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            came.append(({key.lower(): value for key, value in self.headers.items()}, body))
            status, headers = answers.pop(0) if answers else (204, {})
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_address[1]}/hook", came
        finally:
            listening.shutdown()
            thread.join()


@pytest.mark.integration
def test_a_real_receiver_that_fails_then_throttles_then_accepts_gets_each_once(tmp_path: Path) -> None:
    secret = "whsec_" + "bmV3" * 8
    now = SystemClock().now()
    clock = ManualClock(now)  # real requests in virtual time
    store = open_incidents(tmp_path)
    stored = store.save(incident(), notifications_for(incident(), "opened", ["oncall"], now, "http://127.0.0.1:8050"))
    store.save(stored, notifications_for(stored, "resolved", ["oncall"], now, "http://127.0.0.1:8050"))
    retry_at = formatdate((now + 100 * SECOND) / SECOND, usegmt=True)
    answers = [(500, {}), (429, {"Retry-After": "30"}), (503, {"Retry-After": retry_at})]
    with server(answers) as (url, came):
        notifier = WebhookNotifier(WebhookConfig(url=url, secret=SecretStr(secret)), clock)
        worker = OutboxWorker(store, {"oncall": notifier}, clock, SelfStats(), OutboxSettings(seed=1))
        tries: defaultdict[int, int] = defaultdict(int)
        for second in range(110):
            worker.step(clock.now())
            tries[second] = len(came)
            clock.advance(1)
        notifier.close()
    kinds = [json.loads(body)["type"] for _, body in came]
    assert kinds == ["incident.opened"] * 4 + ["incident.resolved"]
    assert len({headers["webhook-id"] for headers, _ in came}) == 2
    assert tries[0] == 1
    assert tries[30] <= 3  # 30 s after the second try, whenever that was
    assert tries[98] == 3  # until the date that the receiver named
    assert tries[102] >= 4
    for headers, body in came:
        Webhook(secret).verify(body, headers)
    assert {one.state for one in store.notifications()} == {NotificationState.SENT}
    store.close()


@pytest.mark.integration
def test_a_receiver_that_hangs_up_and_one_that_does_not_listen_are_transient() -> None:
    message = Notification("m1", "inc-1", "oncall", "opened", "{}", NOON)
    with server([]) as (url, came):
        WebhookNotifier(WebhookConfig(url=url), ManualClock(NOON)).send(message)
    assert len(came) == 1
    gone = WebhookNotifier(WebhookConfig(url=url, timeout_seconds=2), ManualClock(NOON))
    with pytest.raises(Transient, match=r"127\.0\.0\.1 cannot be reached"):
        gone.send(message)
