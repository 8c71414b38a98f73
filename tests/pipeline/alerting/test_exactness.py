"""Whatever crashes between two steps of role ``alert``: the same incidents, timelines and notifications."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coldaisle.anomaly import Anomaly, Phase
from coldaisle.bus.memory import MemoryBus
from coldaisle.clock import SECOND, ManualClock
from coldaisle.errors import Transient
from coldaisle.event import Event
from coldaisle.incident import Incident
from coldaisle.prediction import Outcome, Prediction, Within, prediction_id
from coldaisle.selfstats import SelfStats
from coldaisle.series import labels
from coldaisle.severity import Severity
from coldaisle.store import Change, IncidentQuery, Notification, PredictionQuery, RoleState, RoleStore
from coldaisle.store.memory_incidents import MemoryIncidentStore
from coldaisle.store.sql import connect_incidents, open_incidents
from pipeline.alerting.alerter import Alerter
from pipeline.alerting.outbox import notifications_for
from pipeline.alerting.role import AlertRole, AlertRoleSettings
from pipeline.alerting.settings import AlertSettings
from pipeline.deadletter import DeadLetters
from tests.integration.postgres_server import PostgresServer, missing
from tests.pipeline.alerting.message_log import LogReader, MessageLog, seconds
from tests.scenarios.story import START, EventRule, Rules, ended, finding, hall, silent

LENGTH_SECONDS = 1000.0
RULES = Rules(EventRule("xid", "xid", 120.0), EventRule("ecc_storm", "ecc", 60.0, Severity.TICKET, 3, 60.0))


def night(seed: int) -> MessageLog:
    """Half an hour: a feed fails, GPUs run hot, a job straggles, Xids come in showers, nodes fall silent."""
    chance = random.Random(seed)
    told: list[tuple[float, Anomaly | Event, str]] = []

    def tell(at: float, what: Anomaly | Event, key: str) -> None:
        told.append((at, what, key))

    def span(one: Anomaly, at: float, lasts: float, key: str) -> None:
        tell(at, one, key)
        if chance.random() < 0.5:
            worse = replace(
                one, phase=Phase.UPDATED, severity=Severity.PAGE, updated_at=START + seconds(at + lasts / 2)
            )
            tell(at + lasts / 2, worse, key)
        tell(at + lasts, ended(one, at + lasts), key)

    feed = chance.uniform(60, 200)
    span(
        finding("pdu_power_lost", "pdu/pdu-a1-a", feed, "pdu_power_watts", "limit", said="feed a is dead"),
        feed,
        400,
        "p",
    )
    for place in range(1, 9):
        at = feed + chance.uniform(0, 14)
        span(silent(f"node/a1n{place}", at), at, 350 + chance.uniform(0, 40), f"a1n{place}")
    for _ in range(18):
        at, node = chance.uniform(0, 800), f"{chance.choice('ab')}{chance.randint(1, 4)}n{chance.randint(1, 8)}"
        gpu = f"gpu/GPU-{node}-{chance.randint(0, 7)}"
        hot = finding("gpu_hot", gpu, at, "gpu_temperature_celsius", "peers", said=f"{gpu} is hot")
        span(hot, at, chance.uniform(20, 300), node)
    tell(300, Event("job", "start", START + seconds(300), labels(job="train"), "", {"nodes": "b2n1,b2n2,b2n3"}), "job")
    for place in (1, 2, 3):
        at = 420 + chance.uniform(0, 6)
        slow = finding("gpu_slow", f"gpu/GPU-b2n{place}-0", at, "gpu_clock_sm_hertz", "peers", said="clock 900 MHz")
        span(slow, at, 200, f"b2n{place}")
    for _ in range(12):
        at, node = chance.uniform(0, 800), f"b{chance.randint(1, 4)}n{chance.randint(1, 8)}"
        kind = chance.choice(["xid", "ecc", "ecc"])
        for more in range(chance.randint(1, 5)):
            moment = at + 9 * more
            tell(moment, Event(kind, "79", START + seconds(moment), labels(node=node), "", {}), node)
    for number in range(12):
        at, gpu = chance.uniform(0, 700), f"gpu/GPU-a{1 + number % 4}n{1 + number % 8}-1"
        soon = finding("gpu_memory_fails_soon", gpu, at, "gpu_ecc_corrected_errors_total", "early_warning", said="soon")
        severity = chance.choice([Severity.INFO, Severity.TICKET])
        made = foretold(gpu, START + seconds(at))
        over = replace(made, outcome=Outcome.HIT, updated_at=made.updated_at + seconds(90), lead_seconds=90.0)
        tell(at, replace(soon, severity=severity, prediction=made), gpu)
        tell(at + 90, replace(ended(soon, at + 90), severity=severity, prediction=over), gpu)
    log = MessageLog()
    for at, what, key in sorted(told, key=lambda one: one[0]):
        log.append(what, START + seconds(at + chance.uniform(0.05, 1.5)), key)
    return log


def foretold(entity: str, made_at: int) -> Prediction:
    return Prediction(
        id=prediction_id("gpu_memory_fails", entity, made_at), rule="gpu_memory_fails", entity=entity,
        what="uncorrectable memory error", probability=0.8, within=Within(60.0, 600.0, 7200.0), made_at=made_at,
        settles_at=made_at + seconds(7200), updated_at=made_at, latest=0.8,
    )  # fmt: skip


class Shaky:
    """A store whose rounds fail now and then: before they are written, or after, when only the answer is lost."""

    def __init__(self, store: RoleStore, chance: random.Random, share: float) -> None:
        self._store, self._chance, self._share = store, chance, share
        self.failures = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def save_round(
        self, changes: Sequence[Change], state: RoleState | None = None, predictions: Sequence[Prediction] = ()
    ) -> list[Incident]:
        luck = self._chance.random()
        if luck < self._share:
            self.failures += 1
            raise Transient("the database is away")
        stored = self._store.save_round(changes, state, predictions)
        if luck > 1 - self._share:
            self.failures += 1
            raise Transient("the answer of the database was lost")
        return stored


def role_of(store: RoleStore, reader: LogReader, clock: ManualClock, holder: str = "the only one") -> AlertRole:
    """A process just started."""

    def notify(incident: Incident, kind: str) -> list[Notification]:
        return notifications_for(incident, kind, ["oncall", "chat"], incident.updated_at, "")

    stats = SelfStats()
    alerter = Alerter(store, hall(), RULES, AlertSettings(), notify, stats)
    bus = MemoryBus(clock, stats)
    settings = AlertRoleSettings(holder=holder, bus="the log", commits=False)
    return AlertRole(reader, alerter, DeadLetters(bus.producer(), stats), clock, None, settings)


Picture = tuple[list[Incident], list[tuple[str, ...]], list[Prediction]]


def picture(store: RoleStore) -> Picture:
    """Everything that people would see: incidents whole, and what was sent in which order to whom."""
    found = store.find(IncidentQuery(limit=10_000))
    whole = [incident for one in found if (incident := store.get(one.id)) is not None]
    sent = [(one.id, one.incident_id, one.receiver, one.kind, one.body) for one in store.notifications(limit=100_000)]
    lines: dict[str, list[tuple[str, ...]]] = {}
    for one in sent:
        lines.setdefault(one[1] + one[2], []).append(one)
    told = store.predictions(PredictionQuery())
    return sorted(whole, key=lambda one: one.id), [one for key in sorted(lines) for one in lines[key]], told


def undisturbed(log: MessageLog, store: RoleStore) -> Picture:
    clock = ManualClock(START)
    role = role_of(store, LogReader(log, clock, random.Random(0), 10_000), clock)
    while clock.now() < START + seconds(LENGTH_SECONDS + 400):
        clock.advance(1.0)
        role.step(0.0)
    return picture(store)


def disturbed(log: MessageLog, store: RoleStore, seed: int, share: float = 0.08) -> tuple[Picture, int]:
    """Crash between any two steps, lose rounds, stop the bus and the database for a while; never the same twice."""
    chance = random.Random(seed)
    clock = ManualClock(START)
    shaky = Shaky(store, chance, share)
    reader = LogReader(log, clock, chance)
    role = role_of(shaky, reader, clock)
    crashes = 0
    while clock.now() < START + seconds(LENGTH_SECONDS + 400):
        clock.advance(chance.choice([0.1, 0.5, 0.5, 1.0, 3.0]))
        reader.away = chance.random() < 0.05
        if chance.random() < 0.04:
            crashes += 1
            clock.advance(chance.choice([0.0, 1.0, 20.0]))
            reader = LogReader(log, clock, chance)
            role = role_of(shaky, reader, clock)
        try:
            role.step(0.0)
        except Transient:
            continue
    reader.away = False
    shaky._share = 0.0
    for _ in range(500):
        role.step(0.0)
        clock.advance(0.5)
    return picture(store), crashes + shaky.failures


Fresh = Callable[[], RoleStore]


def same(left: Picture, right: Picture) -> None:
    """Compare piece by piece, so that a difference is readable."""
    assert [one.id for one in left[0]] == [one.id for one in right[0]]
    for mine, theirs in zip(left[0], right[0], strict=True):
        assert mine.timeline == theirs.timeline
        assert mine == theirs
    assert [one[:4] for one in left[1]] == [one[:4] for one in right[1]]
    assert left[1] == right[1]
    assert left[2] == right[2]


def assert_crashes_change_nothing(make: Fresh, seed: int, runs: int) -> None:
    log = night(seed)
    expected = undisturbed(log, MemoryIncidentStore())
    assert len(expected[0]) > 10
    assert {one[3] for one in expected[1]} >= {"opened", "resolved"}
    assert [one.outcome for one in expected[2]] == [Outcome.HIT] * 12
    for run in range(runs):
        found, troubles = disturbed(log, make(), 100 * seed + run)
        same(expected, found)
        assert troubles > 20


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_crashes_between_any_two_steps_change_nothing_that_people_see(seed: int) -> None:
    assert_crashes_change_nothing(MemoryIncidentStore, seed, 1)


@pytest.mark.slow
def test_crashes_change_nothing_on_sqlite_either(tmp_path: Path) -> None:
    store = open_incidents(tmp_path)
    assert_crashes_change_nothing(lambda: store, 7, 1)
    store.close()


@pytest.mark.integration
@pytest.mark.xdist_group("postgres")
def test_crashes_change_nothing_on_postgresql_either() -> None:
    reason = missing()
    if reason:
        pytest.skip(reason)
    with PostgresServer({"fsync": "off"}) as server:  # it is the client that crashes here
        store = connect_incidents(server.url(), server.password)
        assert_crashes_change_nothing(lambda: store, 8, 1)
        store.close()


def test_findings_announced_again_change_nothing() -> None:
    log = night(11)
    expected = undisturbed(log, MemoryIncidentStore())
    twice = log.redelivered(random.Random(1), 0.5)
    assert sum(map(len, twice.partitions.values())) > 1.3 * sum(map(len, log.partitions.values()))
    same(expected, undisturbed(twice, MemoryIncidentStore()))


@pytest.mark.slow
def test_what_arrives_up_to_a_second_later_in_another_order_changes_nothing() -> None:
    log = night(12)
    expected = undisturbed(log, MemoryIncidentStore())
    for seed in range(2):
        same(expected, undisturbed(log.delayed(random.Random(seed), 1.2), MemoryIncidentStore()))


def test_one_decides_and_another_takes_over_when_it_is_gone() -> None:
    log, clock, store = night(13), ManualClock(START), MemoryIncidentStore()
    expected = undisturbed(log, MemoryIncidentStore())
    names = (f"process {number}" for number in range(100))

    def started() -> AlertRole:
        return role_of(store, LogReader(log, clock, random.Random(0), 10_000), clock, next(names))

    pair, gaps, gap, turns = [started(), started()], [], 0.0, 0
    while clock.now() < START + seconds(LENGTH_SECONDS + 400):
        clock.advance(0.5)
        turns += 1
        for role in pair:
            role.step(0.0)
        deciding = [role for role in pair if role.deciding]
        assert len(deciding) <= 1
        gap = 0.0 if deciding else gap + 0.5
        gaps.append(gap)
        if turns % 120 == 0 and deciding:
            pair[pair.index(deciding[0])] = started()  # killed: it lets go of nothing
    same(expected, picture(store))
    assert max(gaps) <= 6.5


@pytest.mark.slow
def test_a_process_that_was_stopped_for_long_writes_nothing_when_it_wakes() -> None:
    log, clock, store = night(14), ManualClock(START), MemoryIncidentStore()
    expected = undisturbed(log, MemoryIncidentStore())
    sleeper = role_of(store, LogReader(log, clock, random.Random(0), 10_000), clock, "sleeper")
    other = role_of(store, LogReader(log, clock, random.Random(0), 10_000), clock, "other")
    turns = 0
    while clock.now() < START + seconds(LENGTH_SECONDS + 400):
        clock.advance(0.5)
        turns += 1
        awake, asleep = (sleeper, other) if turns // 100 % 2 == 0 else (other, sleeper)
        awake.step(0.0)
        if turns % 100 == 99:
            asleep._renew_at = clock.now() + SECOND  # it wakes between the look at its lease and its next write
            with contextlib.suppress(Transient):
                asleep.step(0.0)
    for _ in range(40):
        clock.advance(0.5)
        other.step(0.0)
        sleeper.step(0.0)
    same(expected, picture(store))


@pytest.mark.slow
def test_what_one_orderly_end_leaves_the_next_start_takes_up() -> None:
    log, clock, store = night(15), ManualClock(START), MemoryIncidentStore()
    expected = undisturbed(log, MemoryIncidentStore())
    turns = 0
    role = role_of(store, LogReader(log, clock, random.Random(0), 10_000), clock, "first")
    while clock.now() < START + seconds(LENGTH_SECONDS + 400):
        clock.advance(0.5)
        turns += 1
        if turns % 77 == 0:
            role.close()
            role = role_of(store, LogReader(log, clock, random.Random(0), 10_000), clock, f"next {turns}")
        role.step(0.0)
        assert role.deciding  # at once: the one before let go
    same(expected, picture(store))


def test_a_state_that_cannot_be_read_is_said_and_rebuilt_from_the_incidents(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log, clock, store = night(16), ManualClock(START), MemoryIncidentStore()
    undisturbed(log, store)
    before = [one.id for one in store.find(IncidentQuery(limit=1000))]
    assert store.hold("alert", "the only one", clock.now(), 6.0)
    for broken in ("{", '{"version": 99}', '{"version": 1}'):
        store.save_round([], RoleState("alert", "the only one", {"desk": broken}))
        clock.set(START + seconds(LENGTH_SECONDS + 500))
        role = role_of(store, LogReader(log, clock, random.Random(0), 10_000), clock)
        caplog.clear()
        role.step(0.0)
        assert "cannot be read" in caplog.text
        assert [one.id for one in store.find(IncidentQuery(limit=1000))] == before
