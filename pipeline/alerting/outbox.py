"""Carries notifications from the outbox to their receivers, however long that takes."""

from __future__ import annotations

import json
import logging
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

from coldaisle.clock import SECOND, Clock, rfc3339
from coldaisle.errors import Backpressure, ColdaisleError, Permanent, Transient
from coldaisle.incident import Incident
from coldaisle.selfstats import SelfStats
from coldaisle.store import IncidentStore, Notification, NotificationState
from coldaisle.store.incident_json import incident_to_public
from pipeline.alerting.lifecycle import WORSE
from pipeline.alerting.notifiers import Notifier

_LOG = logging.getLogger(__name__)
_CHANGES = frozenset({"acknowledged", "unacknowledged", "resolved", "reopened"})


@dataclass(frozen=True, slots=True)
class OutboxSettings:
    """How patiently notifications are delivered."""

    batch: int = 20
    lease_seconds: float = 45.0  # work_seconds and one slow answer; what a killed worker had in hand waits so long
    work_seconds: float = 15.0  # after this what is left of a batch is given back, before somebody else takes it
    poll_seconds: float = 0.5
    first_backoff_seconds: float = 2.0
    max_backoff_seconds: float = 300.0
    max_age_seconds: float = 24 * 3600.0
    seed: int | None = None  # of the jitter; None = from the system


def notifications_for(
    incident: Incident, kind: str, receivers: Sequence[str], now: int, source_url: str
) -> list[Notification]:
    """
    Return one notification a receiver about ``incident``, which is not saved yet.

    ``kind`` is opened, worsened, acknowledged, resolved or reopened. The body is what Standard Webhooks
    recommends: type, timestamp, data. Ids follow from incident, kind, receiver and how often its state had changed
    before, so that making them again makes the same ones, even where it was written more or less often.
    ``source_url`` is the address of the page, empty where there is none.
    """
    url = f"{source_url.rstrip('/')}/incidents/{incident.id}" if source_url else None
    document = {
        "type": f"incident.{kind}",
        "timestamp": rfc3339(now),
        "data": {**incident_to_public(incident), "url": url},
    }
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return [
        Notification(
            id=_notification_id(incident, kind, receiver),
            incident_id=incident.id,
            receiver=receiver,
            kind=kind,
            body=body,
            created_at=now,
            next_attempt_at=now,
        )
        for receiver in receivers
    ]


def source_of(notifications: Sequence[Notification]) -> str:
    """Return the page's address that the newest of ``notifications`` of one incident names, empty where none does."""
    for one in notifications:
        try:
            url = json.loads(one.body)["data"]["url"]
        except (ValueError, KeyError, TypeError):
            continue  # a body of another form
        if isinstance(url, str):
            return url.rpartition("/incidents/")[0]
    return ""


def _notification_id(incident: Incident, kind: str, receiver: str) -> str:
    changes = sum(1 for line in incident.timeline if line.kind in _CHANGES or line.text.startswith(WORSE))
    text = "\x1f".join((incident.id, kind, str(changes), receiver))
    return "msg_" + blake2b(text.encode(), digest_size=12).hexdigest()


class OutboxWorker:
    """
    Sends what is due, settles what became of it.

    At least once: after a crash between sending and settling the same notification, with the same id, goes
    out again. Per incident and receiver the order of writing is kept. A receiver that fails or asks for time
    is left alone until its time has come, and no other receiver waits for it.
    """

    def __init__(
        self,
        store: IncidentStore,
        notifiers: Mapping[str, Notifier],
        clock: Clock,
        stats: SelfStats,
        settings: OutboxSettings | None = None,
    ) -> None:
        self._store = store
        self._notifiers = dict(notifiers)
        self._clock = clock
        self._stats = stats
        self._settings = settings or OutboxSettings()
        self._jitter = {name: random.Random(_seed(self._settings.seed, name)) for name in self._notifiers}
        self._resting_until = dict.fromkeys(self._notifiers, 0)
        self._failing: set[str] = set()
        stats.describe("outbox_sent_total", "counter", "Notifications that their receiver has taken.")
        stats.describe("outbox_failed_total", "counter", "Tries that will be made again, by reason.")
        stats.describe("outbox_dead_total", "counter", "Notifications given up, by reason.")

    def step(self, now: int, receivers: Sequence[str] | None = None) -> int:
        """
        Send what is due at ``now`` (to ``receivers`` only, where given); return how many were taken.

        Raises Transient when the store is away.
        """
        if receivers is not None and all(self._resting_until.get(name, 0) > now for name in receivers):
            return 0
        due = self._store.lease(now, self._settings.batch, self._settings.lease_seconds, receivers)
        until = now + round(self._settings.work_seconds * SECOND)
        taken = 0
        for notification in due:
            if self._clock.now() > until:
                self._store.settle(notification)  # as it was: only its lease ends
                continue
            taken += self._deliver(notification, now)
        return taken

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set, with one thread a receiver; return when all have ended."""
        threads = [
            threading.Thread(target=self._serve, args=(name, stop), name=f"outbox-{name}", daemon=True)
            for name in self._notifiers
        ]
        for thread in threads:
            thread.start()
        self._guarded(self._bury_all_homeless)
        for thread in threads:
            thread.join()

    def _serve(self, receiver: str, stop: threading.Event) -> None:
        while not stop.is_set():
            if not self._guarded(lambda: self.step(self._clock.now(), [receiver])):
                stop.wait(self._settings.poll_seconds)

    def _guarded(self, work: Callable[[], int]) -> int:
        """Do ``work``; a store that is away is noted once and asked again after the next pause."""
        try:
            done = work()
        except ColdaisleError as error:
            self._stats.add("outbox_store_errors_total")
            self._note("the incident store", str(error))
            return 0
        self._note("the incident store", None)
        return done

    def _deliver(self, notification: Notification, now: int) -> int:
        receiver = notification.receiver
        if receiver not in self._notifiers:
            self._bury_homeless(notification)
            return 0
        if self._resting_until[receiver] > now:  # failed earlier in this batch: no try is spent
            self._store.settle(replace(notification, next_attempt_at=self._resting_until[receiver]))
            return 0
        attempts = notification.attempts + 1
        try:
            self._notifiers[receiver].send(notification)
        except Permanent as error:
            self._bury(replace(notification, attempts=attempts), str(error), "refused")
            self._note(receiver, str(error))
            return 0
        except Backpressure as error:
            self._retry(notification, error.retry_after_seconds, str(error), "backpressure")
            return 0
        except Transient as error:
            self._retry(notification, self._backoff_seconds(receiver, attempts), str(error), "unreachable")
            return 0
        except Exception as error:  # a broken notifier must not stop the others, nor lose the notification
            _LOG.exception("the notifier of %s is broken", receiver)
            self._retry(notification, self._backoff_seconds(receiver, attempts), repr(error), "broken")
            return 0
        self._store.settle(
            replace(
                notification,
                state=NotificationState.SENT,
                attempts=attempts,
                last_error="",
                sent_at=max(now, self._clock.now()),
            )
        )
        self._stats.add("outbox_sent_total", receiver=receiver)
        self._note(receiver, None)
        return 1

    def _backoff_seconds(self, receiver: str, attempts: int) -> float:
        """Exponential with full jitter: AWS Architecture Blog, "Exponential Backoff And Jitter" (2015)."""
        longest = self._settings.first_backoff_seconds * 2.0 ** min(attempts - 1, 30)
        return self._jitter[receiver].uniform(0, min(longest, self._settings.max_backoff_seconds))

    def _retry(self, notification: Notification, wait_seconds: float, error: str, reason: str) -> None:
        receiver, attempts = notification.receiver, notification.attempts + 1
        again_at = self._clock.now() + round(wait_seconds * SECOND)
        self._resting_until[receiver] = again_at
        self._stats.add("outbox_failed_total", receiver=receiver, reason=reason)
        self._note(receiver, error)
        tried = replace(notification, attempts=attempts, next_attempt_at=again_at, last_error=error)
        if again_at - notification.created_at > self._settings.max_age_seconds * SECOND:
            hours = self._settings.max_age_seconds / 3600
            self._bury(tried, f"given up after {attempts} tries in {hours:g} h: {error}", "too old")
        else:
            self._store.settle(tried)

    def _bury(self, notification: Notification, error: str, reason: str) -> None:
        self._store.settle(replace(notification, state=NotificationState.DEAD, last_error=error))
        self._stats.add("outbox_dead_total", receiver=notification.receiver, reason=reason)

    def _bury_homeless(self, notification: Notification) -> None:
        error = f"the configuration names no receiver {notification.receiver!r}: add it, then requeue"
        self._bury(notification, error, "no receiver")

    def _bury_all_homeless(self) -> int:
        """Give up what waits for receivers that the configuration no longer names."""
        waiting = self._store.notifications(state=NotificationState.WAITING, limit=1000)
        homeless = [notification for notification in waiting if notification.receiver not in self._notifiers]
        for notification in homeless:
            self._bury_homeless(notification)
        return len(homeless)

    def _note(self, what: str, error: str | None) -> None:
        """Log when something begins to fail and when it works again, not every time."""
        if error is not None and what not in self._failing:
            self._failing.add(what)
            _LOG.warning("%s: %s", what, error)
        elif error is None and what in self._failing:
            self._failing.discard(what)
            _LOG.info("%s works again", what)


def _seed(seed: int | None, name: str) -> str | None:
    return None if seed is None else f"{seed}:{name}"
