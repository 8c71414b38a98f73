"""Measures the incident list: filtered pages and counts of 100,000 incidents in SQLite (budget: 100 ms)."""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from coldaisle.alert import Alert, AlertState
from coldaisle.anomaly import Anomaly, Contribution, Phase, Window
from coldaisle.clock import HOUR, MINUTE, SECOND
from coldaisle.incident import Incident, IncidentState, ResolveReason
from coldaisle.severity import Severity
from coldaisle.store import IncidentQuery
from coldaisle.store.engine import begin, open_engine, sqlite_url
from coldaisle.store.incident_rows import write_incident
from coldaisle.store.sql import SqlIncidentStore

BEGIN = 1_750_000_000 * SECOND
APART = 5 * MINUTE
BUDGET_SECONDS = 0.1

_STORIES = (
    (
        "gpu-hot",
        "GPU {gpu} of node {node} is hotter than its peers",
        "It reads {a} °C where seven siblings read {b} °C.",
    ),
    (
        "fan-stopped",
        "A fan of node {node} stands still",
        "Fan 3 reads 0 rpm for {a} s; the others turn at {b},200 rpm.",
    ),
    ("feed-lost", "Rack {rack} lost a power feed", "PDU {rack}-a reads 0 W (expected {a} kW) for {b} s."),
    ("ecc-storm", "GPU {gpu} remaps rows", "{a} uncorrectable errors within {b} min (Xid 63, 94)."),
    ("link-flaps", "A link of node {node} goes up and down", "{a} changes within {b} min on mlx5_0."),
)


def incident_of(number: int, chance: random.Random) -> Incident:
    """Return a plausible incident; some of them reach over a rack, a few over a row."""
    rule, title, explanation = _STORIES[number % len(_STORIES)]
    node_number = chance.randrange(2000)
    node, rack = f"n{node_number:04}", f"r{node_number // 8:03}"
    gpu = f"GPU-{node_number * 8 + chance.randrange(8):08x}"
    size = chance.choices((1, 8, 72), (0.9, 0.09, 0.01))[0]
    reach = [f"gpu/{gpu}", f"node/{node}", f"rack/{rack}", *(f"gpu/{rack}-{one}" for one in range(size - 1))]
    started = BEGIN + number * APART
    values = {"gpu": gpu, "node": node, "rack": rack, "a": chance.randrange(20, 99), "b": chance.randrange(2, 20)}
    alerts = tuple(_alert(rule, entity, started) for entity in reach[: min(size + 1, 20)])
    incident = Incident(
        id=f"{chance.getrandbits(64):016x}",
        title=title.format(**values),
        severity=chance.choices(list(Severity), (0.2, 0.5, 0.3))[0],
        state=IncidentState.OPEN,
        suspect=reach[0],
        entities=tuple(reach),
        started_at=started,
        opened_at=started + 30 * SECOND,
        updated_at=started + 30 * SECOND,
        explanation=explanation.format(**values),
        recommended_action="Look at the part; swap it if it does not recover.",
        reasons=tuple(f"{entity} differs from its peers" for entity in reach[:5]),
        confidence=0.8,
        alerts=alerts,
    ).noted(started, "opened", "one alert")
    if number < 99_900:
        incident = incident.resolved(started + chance.randrange(1, 12) * HOUR, "coldaisle", ResolveReason.ENDED)
    return incident


def _alert(rule: str, entity: str, at: int) -> Alert:
    window = Window("gpu_temperature_celsius", "°C", tuple(range(60)), tuple(map(float, range(60))), (61.0,) * 60)
    finding = Anomaly(
        id=f"{rule}-{entity}-{at}",
        phase=Phase.OPENED,
        rule=rule,
        detector="peers",
        version="1",
        severity=Severity.PAGE,
        entity=entity,
        started_at=at,
        updated_at=at,
        score=0.97,
        explanation="81 °C, its peers read 61 °C",
        observed=81.0,
        expected=61.0,
        contributions=(Contribution(entity, "gpu_temperature_celsius", 1.0, 81.0, 61.0),),
        window=window,
    )
    return Alert(rule, entity, Severity.PAGE, AlertState.FIRING, at, at, summary="hot", anomalies=(finding,))


class Result(NamedTuple):
    """One question: its median time in seconds, on the wall and on the processor, and how many incidents it means."""

    question: str
    median_seconds: float
    processor_seconds: float  # what is left of the wall's time when nobody else works here
    found: int


def questions(total: int) -> dict[str, IncidentQuery]:
    """Return what people ask of a history of ``total`` incidents."""
    end = BEGIN + total * APART
    return {
        "all": IncidentQuery(),
        "open": IncidentQuery(states=(IncidentState.OPEN, IncidentState.ACKNOWLEDGED)),
        "page": IncidentQuery(severities=(Severity.PAGE,)),
        "resolved and info": IncidentQuery(states=(IncidentState.RESOLVED,), severities=(Severity.INFO,)),
        "an early hour": IncidentQuery(start=BEGIN + 20 * HOUR, end=BEGIN + 21 * HOUR),
        "the last day": IncidentQuery(start=end - 24 * HOUR),
        "the last page": IncidentQuery(offset=total - 100),
        "node/n0017": IncidentQuery(entity="node/n0017"),
        "r010": IncidentQuery(entity="r010"),
        "text: power feed": IncidentQuery(text="power feed"),
        "text: GPU-0000123": IncidentQuery(text="GPU-0000123"),
        "text: xid n17": IncidentQuery(text="Xid n17"),
        "text: no such words": IncidentQuery(text="quench helium"),
        "text: 2 letters": IncidentQuery(text="zq"),
        "everything at once": IncidentQuery(
            (IncidentState.RESOLVED,), (Severity.PAGE,), "rack/r010", "hotter", BEGIN, end - 24 * HOUR
        ),
    }


def fill(path: Path, total: int) -> None:
    """Write ``total`` incidents in portions of 2,000 a transaction."""
    engine = open_engine(sqlite_url(path))
    chance = random.Random(7)
    for portion in range(0, total, 2000):
        with begin(engine, write=True) as connection:
            for number in range(portion, min(portion + 2000, total)):
                write_incident(connection, incident_of(number, chance))
    engine.dispose()


def measure(path: Path, total: int, repeats: int) -> list[Result]:
    """Ask every question ``repeats`` times: once the page, once the count."""
    store = SqlIncidentStore(sqlite_url(path))
    results = []
    for name, query in questions(total).items():
        found = store.count(query)
        for kind, ask in (("page", store.find), ("count", store.count)):
            wall, processor = [], []
            for _ in range(repeats):
                start, start_processor = time.perf_counter(), time.process_time()
                ask(query)
                processor.append(time.process_time() - start_processor)
                wall.append(time.perf_counter() - start)
            medians = statistics.median(wall), statistics.median(processor)
            results.append(Result(f"{name} ({kind})", *medians, found))
    store.close()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--incidents", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--keep", type=Path, help="keep the database here, or use the one that is there")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = args.keep or Path(folder) / "incidents.sqlite"
        if not path.exists():
            start = time.perf_counter()
            fill(path, args.incidents)
            took = time.perf_counter() - start
            size = path.stat().st_size / 1e6
            print(
                f"{args.incidents:,} incidents written in {took:.0f} s ({args.incidents / took:,.0f}/s), {size:.0f} MB"
            )
        print(f"{'question':34}{'median':>10}{'CPU':>10}{'means':>10}")
        for result in measure(path, args.incidents, args.repeats):
            late = "  over budget" if result.median_seconds > BUDGET_SECONDS else ""
            times = f"{result.median_seconds * 1e3:>7.1f} ms{result.processor_seconds * 1e3:>7.1f} ms"
            print(f"{result.question:34}{times}{result.found:>10,}{late}")


if __name__ == "__main__":
    main()
