"""Roles and servers are killed all the time, and what is known afterwards is what an undisturbed site knows."""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from influxdb_client import InfluxDBClient

from cli.settings import Settings, read, topology_of
from cli.wiring import alerter_of, bar_of, copy_of, foresight_of, notify_of, rules_of
from coldaisle.anomaly import Anomaly
from coldaisle.bus import ANOMALIES, EVENTS, FRAMES, Bus, partition_of
from coldaisle.bus.kafka import KafkaBus
from coldaisle.bus.memory import MemoryBus
from coldaisle.clock import SECOND, ManualClock, SystemClock
from coldaisle.codec import anomaly_to_json, decode_anomaly, encode_event, encode_frame
from coldaisle.incident import Incident
from coldaisle.selfstats import SelfStats
from coldaisle.store import IncidentQuery, IncidentStore
from coldaisle.store.incident_json import incident_to_json
from coldaisle.store.snapshots import MemorySnapshots
from coldaisle.store.sql import connect_incidents, open_incidents
from pipeline.alerting.role import AlertRole
from pipeline.deadletter import DeadLetters
from pipeline.score_role import Pace, ScoreRole
from pipeline.shards import Workshop
from tests.integration.exact_site import PARTITIONS, ROLES, Hall, Site, Storm
from tests.integration.influx_server import ORG, TOKEN
from tests.integration.programme import until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.influxdb,
    pytest.mark.xdist_group("exact"),
    pytest.mark.timeout(900),
]

KILLS = 40
SECONDS = 110
MOST_REPEATED = 0.03


class Known(NamedTuple):
    """What a site knows when all is done."""

    anomalies: dict[str, Any]
    incidents: dict[str, Any]
    notifications: set[str]


def anomalies_of(messages: Iterable[bytes]) -> dict[str, Any]:
    """Return what was found, however often it was said."""
    found: dict[str, Any] = {}
    for message in messages:
        anomaly: Anomaly = decode_anomaly(message)
        key = f"{anomaly.id} {anomaly.phase.value} {anomaly.updated_at}"
        document = json.loads(json.dumps(anomaly_to_json(anomaly)))
        assert found.setdefault(key, document) == document, key
    return found


def plain(incident: Incident) -> dict[str, Any]:
    """Return what an incident says, but not how often it was written."""
    document = incident_to_json(incident)
    document.pop("version", None)
    return document


def kept_in(store: IncidentStore) -> tuple[dict[str, Any], set[str]]:
    """Return the incidents and the ids of all notifications."""
    incidents = store.find(IncidentQuery(limit=10_000))
    notifications = {each.id for each in store.notifications(limit=10_000)}
    return {each.id: plain(each) for each in incidents}, notifications


def titles(incidents: dict[str, Any]) -> dict[str, tuple[str, int]]:
    """Return which incidents there are."""
    return {key: (each["title"], each["opened_at"]) for key, each in incidents.items()}


def differing(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """Return what differs, field by field."""
    return {
        f"{key} {name}": (found[key].get(name), expected[key].get(name))
        for key in found
        for name in found[key].keys() | expected[key].keys()
        if found[key].get(name) != expected[key].get(name)
    }


def undisturbed(site: Site, folder: Path) -> Known:
    """Return what the same roles know of the same hall where nothing ever goes wrong, in virtual time."""
    settings: Settings = read(site.config("score"))
    clock, stats = ManualClock(site.hall.start), SelfStats()
    bus = MemoryBus(clock, stats, PARTITIONS, max_bytes=1 << 30)
    rules, topology = rules_of(settings), topology_of(settings)
    workshop = Workshop(
        bar=lambda: bar_of(settings, rules, stats),
        topology=lambda: copy_of(topology),
        rules=rules,
        settings=settings.engine,
        stats=stats,
        watches=PARTITIONS,
        courts=PARTITIONS,
        foresight=lambda: foresight_of(settings),
    )
    score = ScoreRole(bus, workshop, MemorySnapshots(stats), clock, Pace(1e6, settings.engine.idle_seconds))
    store = open_incidents(folder)
    notify = notify_of(settings.receivers, clock, lambda: "http://127.0.0.1:8800")
    alerter = alerter_of(settings, rules, copy_of(topology), store, notify, stats)
    dead_letters = DeadLetters(bus.producer(), stats)
    alert = AlertRole(bus.consumer(AlertRole.topics, AlertRole.group), alerter, dead_letters, clock)
    producer, heard = bus.producer(), bus.reader((ANOMALIES,))
    said: list[bytes] = []
    for second, frames, events in site.hall.steps():
        clock.set(site.hall.start + (second + 1) * SECOND + SECOND // 10)
        for event in events:
            producer.produce(EVENTS, (event.label("node") or "").encode(), encode_event(event))
        for frame in frames:
            producer.produce(FRAMES, frame.node.encode(), encode_frame(frame))
        score.step(0.0)
        while score.lag():
            score.step(0.0)
        said += [message.value for message in heard.poll(1_000_000, 0.0)]  # before they are worked off, and gone
        while alert.lag():
            alert.step(0.0)
    for _ in range(round(2 * settings.alerts.group_wait_seconds)):
        clock.set(clock.now() + SECOND)
        score.step(0.0)
        alert.step(0.0)
    found = anomalies_of(said)
    incidents, notifications = kept_in(store)
    store.close()
    return Known(found, incidents, notifications)


def feed(site: Site, bus: KafkaBus) -> dict[str, tuple[int, float]]:
    """Tell the bus the hall's life as it happens; return how many samples each metric had and their sum."""
    shipper = site.shipper(bus)
    shipper.start()
    told: dict[str, tuple[int, float]] = defaultdict(lambda: (0, 0.0))
    clock = SystemClock()
    for second, frames, events in site.hall.steps():
        clock.sleep(max(0.0, (site.hall.start + (second + 1) * SECOND - clock.now()) / SECOND))
        for number, frame in enumerate(frames):
            shipper.ship(frame, events if number == 0 else [])
            for series, value in zip(frame.layout.series, frame.values.tolist(), strict=True):
                if math.isfinite(value):
                    count, total = told[series.metric]
                    told[series.metric] = count + 1, total + value
    shipper.stop(60.0)
    assert not list((site.folder / "spool").glob("*.spool")), "the shipper left something behind"
    return dict(told)


def stored(site: Site) -> dict[str, tuple[int, float]]:
    """Return how many points of each metric InfluxDB has, and their sum."""
    flux = 'from(bucket: "coldaisle") |> range(start: 0) |> filter(fn: (r) => r._field == "value")'
    found: dict[str, tuple[int, float]] = {}
    with InfluxDBClient(site.influx.url, TOKEN, org=ORG, timeout=60_000) as client:
        counts: dict[str, int] = Counter()
        totals: dict[str, float] = defaultdict(float)
        for how in ("count", "sum"):
            for table in client.query_api().query(f'{flux} |> group(columns: ["_measurement"]) |> {how}()'):
                for record in table.records:
                    if how == "count":
                        counts[record.get_measurement()] += int(record.get_value())
                    else:
                        totals[record.get_measurement()] += float(record.get_value())
    for metric, count in counts.items():
        found[metric] = count, totals[metric]
    return found


def everything_on(bus: Bus, topic: str) -> list[bytes]:
    """Return all messages of a topic."""
    reader = bus.reader((topic,))
    messages: list[bytes] = []
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < 3.0:
        found = reader.poll(10_000, 0.5)
        messages += [message.value for message in found]
        if found:
            quiet_since = time.monotonic()
    reader.close()
    return messages


def test_forty_kills_change_nothing(tmp_path: Path) -> None:
    hall = Hall(SystemClock().now() // SECOND * SECOND + 25 * SECOND, SECONDS, seed=7)
    nodes = {frame.node for _, frames, _ in Hall(hall.start, 1, seed=7).steps() for frame in frames}
    assert {partition_of(node.encode(), PARTITIONS) for node in nodes} == set(range(PARTITIONS))
    with Site(tmp_path, hall) as site:
        for role in ROLES:
            site.start(role)
        until(lambda: all(site.metrics(role) for role in ROLES), 60)
        bus = KafkaBus(read(site.config("alert")).bus.kafka)
        storm = Storm(site, KILLS, SECONDS, seed=11)
        waiting = (hall.start - SystemClock().now()) / SECOND
        begin = threading.Timer(max(0.0, waiting), storm.start)
        begin.start()
        told = feed(site, bus)
        storm.join(60)
        assert storm.error is None, storm.error
        assert sum(site.kills.values()) == KILLS

        expected = undisturbed(site, tmp_path / "undisturbed")
        assert len(expected.incidents) >= 4
        assert len(expected.anomalies) > 20
        settings = read(site.config("alert"))
        decided = hall.start + (SECONDS + 2 * settings.alerts.group_wait_seconds) * SECOND
        until(lambda: site.metrics("alert").get("alert_decided_seconds", 0) * SECOND >= decided, 400, 1.0)
        store = connect_incidents(settings.storage.incidents, settings.storage.incidents_password)
        until(lambda: {one.id for one in site.inbox.taken()} >= kept_in(store)[1], 60, 0.5)
        late = site.metrics("alert").get("alert_late_messages_total", 0.0)
        assert site.stop_all() == dict.fromkeys(ROLES, 0), {role: site.log(role)[-2000:] for role in ROLES}

        incidents, notifications = kept_in(store)
        store.close()
        found = anomalies_of(everything_on(bus, ANOMALIES))
        bus.close()
        assert found.keys() == expected.anomalies.keys()
        assert differing(found, expected.anomalies) == {}
        assert titles(incidents) == titles(expected.incidents), f"{late:g} messages came too late"
        assert differing(incidents, expected.incidents) == {}
        assert notifications == expected.notifications

        delivered = Counter(one.id for one in site.inbox.taken())
        assert delivered.keys() == expected.notifications
        repeats = delivered.total() - len(delivered)
        assert repeats <= max(1, MOST_REPEATED * len(delivered)), delivered
        points = stored(site)
        samples = sum(count for count, _ in told.values())
        sys.stdout.write(
            f"\n{KILLS} kills: {len(found)} findings, {len(incidents)} incidents, {samples:,} points, "
            f"{len(delivered)} notifications, {repeats} repeated; {late:g} messages late for alert\n"
        )
        assert {metric: count for metric, (count, _) in points.items()} == {
            metric: count for metric, (count, _) in told.items()
        }
        for metric, (_, total) in told.items():
            assert points[metric][1] == pytest.approx(total, rel=1e-9), metric
