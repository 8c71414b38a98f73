"""What a start finds changed since the snapshot: rules, the file of the topology, the length of ticks."""

from __future__ import annotations

import numpy as np
import pytest

from coldaisle.anomaly import Anomaly, Phase
from coldaisle.clock import SECOND
from coldaisle.errors import Permanent
from coldaisle.frame import Frame, Sample
from coldaisle.selfstats import SelfStats
from coldaisle.series import Layout, Series, labels
from coldaisle.severity import Severity
from coldaisle.snapshot import Snapshot, collect_state, restore_state
from coldaisle.topology import Entity, Relation, RelationKind, Topology
from pipeline.ingest import Samples
from pipeline.rule_examples import FirstLevel, PlainPeers, PlainTails
from pipeline.rulebook import MetricRule, QualityRule, Rule, RuleBook, SilenceRule
from pipeline.scoring import Engine, EngineSettings
from pipeline.series_table import SeriesTable
from pipeline.ticks import TickBuffer
from tests.pipeline.eventful_hall import parts_of

START = 1_800_000_000 * SECOND
HOT = MetricRule(
    name="hot", on="metric", metric="gpu_temperature_celsius", above=90, clear_seconds=5, severity=Severity.PAGE,
    summary="{entity}",
)  # fmt: skip
INVALID = QualityRule(
    name="bad", on="quality", check="invalid", count=3, for_seconds=60, severity=Severity.TICKET, summary="{entity}"
)
SILENT = SilenceRule(name="silent", on="silence", of="node", severity=Severity.PAGE, summary="{entity}")


def engine(*rules: Rule, topology: Topology | None = None) -> Engine:
    settings = EngineSettings(allowed_lateness_seconds=1)
    known = topology or Topology()
    return Engine([FirstLevel(), PlainPeers()], PlainTails(), RuleBook(rules), known, settings, SelfStats())


def feed(scorer: Engine, seconds: range, celsius: float) -> list[Anomaly]:
    found: list[Anomaly] = []
    series = Series("gpu_temperature_celsius", labels(gpu="GPU-a", node="n1"))
    other = Series("gpu_temperature_celsius", labels(gpu="GPU-b", node="n1"))
    for second in seconds:
        at = START + second * SECOND
        frame = Frame.of("test", "n1", [Sample(series, at, celsius), Sample(other, at, 50.0)])
        found += scorer.process([frame], at)
    return found


def brief(found: list[Anomaly]) -> list[tuple[str, str, int]]:
    return [(a.rule, a.phase.value, (a.started_at - START) // SECOND) for a in found]


def passed_on(scorer: Engine, *rules: Rule) -> Engine:
    after = engine(*rules)
    data = Snapshot("engine", 1, 0, {}, collect_state(parts_of(scorer))).to_bytes()
    restore_state(parts_of(after), Snapshot.from_bytes(data, "engine", 1).parts)
    return after


def test_a_limit_that_did_not_change_goes_on() -> None:
    before = engine(HOT, SILENT)
    assert brief(feed(before, range(10), 95.0)) == [("hot", "opened", 0)]
    reworded = HOT.model_copy(update={"summary": "{entity} is too hot", "action": "Look at it."})
    after = passed_on(before, SILENT, reworded)
    assert brief(feed(after, range(10, 20), 95.0)) == []
    assert brief(feed(after, range(20, 30), 50.0)) == [("hot", "closed", 0)]


def test_a_limit_that_changed_ends_what_it_had_found_and_opens_it_anew_where_it_still_holds() -> None:
    before = engine(HOT)
    feed(before, range(10), 95.0)
    stricter = passed_on(before, HOT.model_copy(update={"above": 93.0}))
    assert brief(feed(stricter, range(10, 20), 95.0)) == [("hot", "closed", 0), ("hot", "opened", 8)]
    laxer = passed_on(before, HOT.model_copy(update={"above": 99.0}))
    assert brief(feed(laxer, range(10, 20), 95.0)) == [("hot", "closed", 0)]


def test_what_a_removed_limit_had_found_ends_even_after_another_cut() -> None:
    before = engine(HOT)
    feed(before, range(10), 95.0)
    once = passed_on(before, SILENT)
    twice = passed_on(once, SILENT)
    assert brief(feed(twice, range(10, 20), 95.0)) == [("hot", "closed", 0)]
    assert twice.open_findings() == 0


def test_what_a_removed_quality_rule_had_found_ends() -> None:
    before = engine(INVALID)
    feed(before, range(5), 50.0)
    assert [each.rule for each in feed(before, range(5, 10), float("nan"))] == ["bad"]
    after = passed_on(before)
    found = feed(after, range(10, 90), 50.0)
    assert [(each.rule, each.phase) for each in found] == [("bad", Phase.CLOSED)]


def declared() -> Topology:
    return Topology(
        [Entity("rack", "r1"), Entity("node", "n1", "rack/r1", {"sku": "a"}), Entity("node", "n2")],
        [Relation(RelationKind.FEEDS, "pdu/p1", "node/n1")],
    )


def rewritten() -> Topology:
    moved = Entity("node", "n1", "rack/r2", {"sku": "b"})
    return Topology([Entity("rack", "r2"), moved, Entity("gpu", "GPU-a", "node/n1")])


def learnt(topology: Topology) -> Topology:
    topology.observe(labels(gpu="GPU-a", node="n1"))
    topology.observe(labels(psu="psu0", node="n9"))
    topology.add(Entity("job", "train"))
    for node in ("node/n2", "node/n1"):
        topology.relate(Relation(RelationKind.RUNS, "job/train", node))
    topology.relate(Relation(RelationKind.RUNS, "job/done", "node/n9"))
    topology.unrelate(RelationKind.RUNS, "job/done")
    return topology


def picture(topology: Topology) -> tuple[object, ...]:
    return (
        list(topology), topology.relations(), topology.version,
        {each.id: (topology.children(each.id), topology.sources(each.id)) for each in topology},
    )  # fmt: skip


def test_a_topology_on_the_same_file_comes_back_as_it_was() -> None:
    before, after = learnt(declared()), declared()
    after.restore(before.state())
    assert picture(after) == picture(before)
    assert not after.moved
    assert before.state()["added"].tobytes() == after.state()["added"].tobytes()
    for each in (before, after):
        each.unrelate(RelationKind.RUNS, "job/train")
        each.observe(labels(nic="mlx5_0", node="n3"))
    assert picture(after) == picture(before)


def test_a_file_that_changed_is_believed_and_only_what_was_learnt_is_added() -> None:
    before = learnt(declared())
    after = rewritten()
    after.restore(before.state())
    assert after.moved
    assert after.parent("node/n1") == "rack/r2"
    assert after.get("node/n2") is None, "declared before, and no more"
    assert after.get("pdu/p1") is None
    assert after.parent("psu/n9:psu0") == "node/n9"
    assert after.sources("node/n1") == ["job/train"]
    kept = after.state()
    again = rewritten()
    again.restore(kept)
    assert not again.moved
    assert picture(again) == picture(after)


def test_peers_are_grouped_anew_where_the_file_has_changed() -> None:
    def groups(skus: dict[str, str], before: Engine | None) -> tuple[Engine, set[int]]:
        hall = Topology([Entity("node", node, None, {"sku": sku}) for node, sku in skus.items()])
        scorer = engine(HOT, topology=hall)
        if before is not None:
            restore_state(parts_of(scorer), collect_state(parts_of(before)))
        for second in range(5):
            at = START + (second + (10 if before else 0)) * SECOND
            series = [Series("gpu_power_watts", labels(gpu=f"GPU-{node}", node=node)) for node in skus]
            scorer.process([Frame.of("test", "n", [Sample(each, at, 300.0) for each in series])], at)
        return scorer, set(scorer.view().groups.tolist())

    before, together = groups({"n1": "a", "n2": "a"}, None)
    assert len(together) == 1
    _, still = groups({"n1": "a", "n2": "a"}, before)
    assert still == together
    _, apart = groups({"n1": "a", "n2": "b"}, before)
    assert len(apart) == 2


def test_a_topology_without_a_file_learns_all_and_keeps_all() -> None:
    before, after = learnt(Topology()), Topology()
    after.restore(before.state())
    assert picture(after) == picture(before)


def buffer(seconds: float | None) -> tuple[SeriesTable, TickBuffer]:
    table = SeriesTable(Topology())
    return table, TickBuffer(table, seconds)


def test_samples_that_wait_outlive_another_length_of_tick() -> None:
    times = START + np.array([0, 1, 7, 12]) * SECOND
    _, before = buffer(None)
    before.add(Samples(np.arange(4), times, np.arange(4.0)))
    _, after = buffer(5.0)
    after.restore(before.state())
    ticks = list(after.close_until(START + 60 * SECOND))
    assert [tick.samples.ids.tolist() for tick in ticks] == [[0, 1], [2], [3]]


def test_the_table_gives_out_the_same_ids_afterwards() -> None:
    before, _ = buffer(None)

    def layout(*names: str) -> Layout:
        return Layout(Series("gpu_power_watts", labels(gpu=name, node="n1")) for name in names)

    before.ids(layout("a", "b", "c", "d"))
    before.take_fresh()
    before.free([2, 0])
    after, _ = buffer(None)
    after.restore(before.state())
    for table in (before, after):
        assert table.ids(layout("d", "e", "f", "g")).tolist() == [3, 0, 2, 4]
        assert table.take_fresh().tolist() == [0, 2, 4]
    mine, theirs = before.state(), after.state()
    assert all(np.array_equal(mine[key], theirs[key]) for key in mine)


def test_what_does_not_fit_is_refused_and_not_a_crash() -> None:
    kept = collect_state(parts_of(engine(HOT)))
    kept["table"] = {**kept["table"], "labels": np.array([5], np.int32)}
    with pytest.raises(Permanent, match="snapshot: table: "):
        restore_state(parts_of(engine(HOT)), kept)
