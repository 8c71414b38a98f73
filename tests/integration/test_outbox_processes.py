"""Two outbox workers share one PostgreSQL and are killed again and again."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from time import monotonic

import pytest

from coldaisle.clock import SECOND, SystemClock
from coldaisle.incident import Incident, IncidentState
from coldaisle.severity import Severity
from coldaisle.store import NotificationState
from coldaisle.store.sql import connect_incidents
from pipeline.alerting.outbox import notifications_for
from tests.integration.listeners import inbox
from tests.integration.postgres_server import PASSWORD, PostgresServer, missing
from tests.integration.programme import ROOT, environment

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("postgres")]
KILLS, INCIDENTS, MOST_REPEATED = 6, 150, 0.03
WORKER = """
import sys, threading
from pydantic import SecretStr
from coldaisle.clock import SystemClock
from coldaisle.selfstats import SelfStats
from coldaisle.store.sql import connect_incidents
from pipeline.alerting.notifiers.webhook import WebhookConfig, WebhookNotifier
from pipeline.alerting.outbox import OutboxSettings, OutboxWorker

url, password, *receivers = sys.argv[1:]
clock = SystemClock()
store = connect_incidents(url, SecretStr(password))
notifiers = {f"r{n}": WebhookNotifier(WebhookConfig(url=one), clock) for n, one in enumerate(receivers)}
settings = OutboxSettings(lease_seconds=3.0, work_seconds=1.0, poll_seconds=0.05, first_backoff_seconds=0.1, batch=5)
print("at work", flush=True)
OutboxWorker(store, notifiers, clock, SelfStats(), settings).run(threading.Event())
"""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of its own."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    with PostgresServer() as server:
        yield server


def _worker(url: str, *receivers: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", WORKER, url, PASSWORD, *receivers]
    quiet = subprocess.DEVNULL  # each refused try is logged
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=quiet, text=True, cwd=ROOT, env=environment())


def _at_work(child: subprocess.Popen[str]) -> None:
    assert child.stdout is not None
    assert child.stdout.readline() == "at work\n"


def _end(child: subprocess.Popen[str]) -> None:
    child.send_signal(signal.SIGKILL)
    child.wait(10)
    assert child.stdout is not None
    child.stdout.close()


def _written(number: int, now: int) -> Incident:
    return Incident(
        f"inc-{number}", "Node n1 is silent", Severity.PAGE, IncidentState.OPEN, "node/n1", ("node/n1",),
        now, now, now, "No sample for 60 s.", "Look.", ("60 s",), 0.5, (),
    )  # fmt: skip


def test_killed_workers_deliver_everything_in_order_with_few_repeats_and_one_id_each(server: PostgresServer) -> None:
    chance, now = random.Random(5), SystemClock().now()
    store = connect_incidents(server.url(), server.password)
    receivers = ["r0", "r1"]
    for number in range(INCIDENTS):
        first = _written(number, now)
        stored = store.save(first, notifications_for(first, "opened", receivers, now, ""))
        store.save(stored, notifications_for(stored, "resolved", receivers, now, ""))
    with inbox() as one, inbox() as other:
        for box in (one, other):
            box.answer = lambda: 503 if random.random() < 0.03 else 204
        workers = [_worker(server.url(), one.url, other.url) for _ in range(2)]
        pause = threading.Event()
        try:
            for kill in range(KILLS):
                _at_work(workers[kill % 2])
                pause.wait(chance.uniform(0.1, 0.5))
                _end(workers[kill % 2])
                workers[kill % 2] = _worker(server.url(), one.url, other.url)
            until = monotonic() + 60
            while store.notifications(state=NotificationState.WAITING, limit=1):
                assert monotonic() < until, len(store.notifications(state=NotificationState.WAITING, limit=10_000))
                pause.wait(0.1)
        finally:
            for worker in workers:
                _end(worker)
        outbox = {note.id: note for note in store.notifications(limit=100_000)}
        assert {note.state for note in outbox.values()} == {NotificationState.SENT}
        repeated = 0
        for name, box in zip(receivers, (one, other), strict=True):
            taken = [delivery.id for delivery in box.taken()]
            counted = Counter(taken)
            assert counted.keys() == {note.id for note in outbox.values() if note.receiver == name}
            repeated += len(taken) - len(counted)
            firsts = {delivery: place for place, delivery in reversed(list(enumerate(taken)))}
            lasts: dict[str, dict[str, int]] = {}
            for note in outbox.values():
                if note.receiver == name:
                    lasts.setdefault(note.incident_id, {})[note.kind] = firsts[note.id]
            assert all(places["opened"] < places["resolved"] for places in lasts.values())
    assert repeated <= MOST_REPEATED * len(outbox)
    print(f"{KILLS} kills, {len(outbox)} notifications, {repeated} repeated, 0 lost")  # noqa: T201
    store.close()
    assert now < SystemClock().now() < now + 300 * SECOND
