"""A node that lies is recognised, counted and shown: a wrong clock, a second host, repeats, counters that fall."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from coldaisle.anomaly import Anomaly, Phase
from coldaisle.clock import SECOND
from coldaisle.codec import LayoutCache, decode_frame, encode_frame
from coldaisle.frame import Frame, Sample
from coldaisle.selfstats import SelfStats
from coldaisle.series import Series, labels
from coldaisle.state import collect_state, restore_state
from coldaisle.topology import Topology
from pipeline.doubles import Doubles
from pipeline.engine_settings import EngineSettings
from pipeline.findings import Findings
from pipeline.ingest import Ingest
from pipeline.rule_examples import PlainTails
from pipeline.rules import load
from pipeline.scoring import Engine
from pipeline.series_table import SeriesTable

RULES = load(Path(__file__).parents[2] / "config" / "rules")
START = 1_763_780_400 * SECOND


def frame(at: float, sender: str, node: str = "n1", metric: str = "node_load_average", value: float = 1.0) -> Frame:
    sample = Sample(Series(metric, labels(node=node)), START + round(at * SECOND), value)
    return replace(Frame.of("host", node, [sample]), sender=sender)


class Hall:
    """An engine with the shipped rules, fed by messages as they come from the bus."""

    def __init__(self) -> None:
        self.stats, self.found, self._layouts = SelfStats(), list[Anomaly](), LayoutCache()
        settings = EngineSettings(allowed_lateness_seconds=0.0)
        self.engine = Engine([], PlainTails(), RULES, Topology(), settings, self.stats)

    def hear(self, at: float, *frames: Frame) -> None:
        read = [decode_frame(encode_frame(each), self._layouts) for each in frames]
        self.found += self.engine.process(read, START + round(at * SECOND))

    def opened(self) -> list[tuple[str, str]]:
        return [(each.rule, each.entity) for each in self.found if each.phase is Phase.OPENED]

    def closed(self) -> list[str]:
        return [each.rule for each in self.found if each.phase is Phase.CLOSED]


def test_two_hosts_of_one_name_are_one_finding_that_ends_when_one_of_them_does() -> None:
    hall = Hall()
    for second in range(0, 1500, 10):
        hall.hear(second, frame(second, "a"), *([frame(second + 5, "b")] if second < 300 else []))
        hall.hear(second, frame(second, "z", node="n2"))
    assert hall.opened() == [("node_doubled", "node/n1")]
    assert "host: a, b" in hall.found[0].explanation
    assert hall.closed() == ["node_doubled"]
    assert hall.stats.get("senders_crossed_total") == pytest.approx(60, abs=3)


def test_a_restart_a_rolling_restart_and_the_other_ones_spool_are_no_lies() -> None:
    hall = Hall()
    spooled = [frame(second, "a") for second in range(150, 200, 5)]
    for second in range(0, 600, 10):
        live = "a" if second < 150 else "" if second < 200 else "b" if second < 400 else "c"
        sent = [frame(second, live)] if live else []
        if second in (400, 410):
            sent.append(frame(second + 3, "b"))  # it stops a little after the new one has begun
        if second >= 300 and spooled:
            sent.append(spooled.pop(0))
        hall.hear(second, *sent)
    assert hall.opened() == [("node_silent", "node/n1")], "while nothing came; and nobody is doubled"
    assert hall.stats.get("senders_crossed_total") == 4


def test_samples_sent_twice_are_scored_once_counted_and_told_when_it_goes_on() -> None:
    hall = Hall()
    for second in range(0, 400, 10):
        hall.hear(second, frame(second, ""), frame(second, ""))
    assert hall.opened() == [("samples_repeated", "node/n1")]
    assert hall.stats.get("ingest_dropped_total", reason="duplicate") == pytest.approx(39, abs=2)


def test_counters_that_fall_again_and_again_are_told_and_their_falls_are_no_growth() -> None:
    hall = Hall()
    for second in range(0, 400, 10):
        value = second * 1000.0 + (0 if second % 20 else 10_000_000)
        hall.hear(second, frame(second, "", metric="node_network_receive_bytes_total", value=value))
    assert hall.opened() == [("counter_backwards", "node/n1")]
    assert hall.stats.get("ingest_dropped_total", reason="counter_reset") > 15


def test_a_clock_that_is_ahead_is_told() -> None:
    hall = Hall()
    hall.hear(0, frame(0, "a", node="n2"), frame(600, "a"))
    assert hall.opened() == [("clock_skewed", "node/n1")]
    assert hall.stats.get("ingest_dropped_total", reason="future") == 1


def test_what_is_known_of_senders_survives_a_snapshot_at_any_moment() -> None:
    def doubles() -> Doubles:
        table = SeriesTable(Topology())
        return Doubles(table, Ingest(table, SelfStats()), Findings(), RULES.quality_rules())

    sent = [frame(second, "ab"[second % 2]) for second in range(20)]
    whole = doubles()
    expected = [whole.hear([each]) for each in sent]
    for cut in range(len(sent)):
        first, second = doubles(), doubles()
        told = [first.hear([each]) for each in sent[:cut]]
        kept = json.loads(json.dumps(collect_state({"doubles": first})))
        restore_state({"doubles": second}, kept)
        told += [second.hear([each]) for each in sent[cut:]]
        opened = [[each.rule for each in found] for found in told]
        # Findings are restored apart from this: here one that was open opens again with the next frame.
        first_told = next(position for position, rules in enumerate(opened) if rules)
        assert first_told == next(position for position, found in enumerate(expected) if found)
    assert second.state() == whole.state()
