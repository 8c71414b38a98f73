"""Recognises sources that contradict themselves: two hosts of one name, samples sent twice, counters that fall back."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from coldaisle.anomaly import Anomaly
from coldaisle.clock import MINUTE, SECOND
from coldaisle.detector import Ids
from coldaisle.frame import Block, Frame, Times
from coldaisle.state import Kept, State
from pipeline.findings import Findings, Measured, Subject
from pipeline.ingest import Ingest
from pipeline.rulebook import QualityRule
from pipeline.series_table import SeriesTable
from pipeline.words import span

BY_MINUTE = ("repeated", "backwards")
"""Checks that count in how many different minutes something was seen: once is a restart, again and again is a lie."""
_FEWEST_CROSSINGS = 10  # a process that is replaced may overlap with the new one for some scrapes
_MOST_KEYS = 65_536
_MOST_SENDERS = 8
_LOOK_EVERY_NS = 10 * SECOND


class _Sender:
    """When, in event time, one process sent for one collector of one node; and how often in another's time."""

    __slots__ = ("crossings", "first", "last")

    def __init__(self, first: int, last: int, crossings: int = 0) -> None:
        self.first, self.last, self.crossings = first, last, crossings


class Doubles:
    """Keeps who sends for each node, and in which minutes each source repeated itself or went backwards."""

    def __init__(self, table: SeriesTable, ingest: Ingest, findings: Findings, rules: Sequence[QualityRule]) -> None:
        self._table = table
        self._ingest = ingest
        self._findings = findings
        self._doubled = [rule for rule in rules if rule.check == "doubled"]
        self._by_minute = {word: [rule for rule in rules if rule.check == word] for word in BY_MINUTE}
        self._senders: dict[tuple[str, str], dict[str, _Sender]] = {}
        self._minutes: dict[tuple[str, int], deque[int]] = {}
        self._last_doubled: dict[int, int] = {}  # source -> event time
        self._looked = 0

    def hear(self, batch: Sequence[Frame | Block]) -> list[Anomaly]:
        """Take note of who sent; frames without a sender say nothing."""
        found: list[Anomaly] = []
        for frame in batch:
            if isinstance(frame, Block) or not frame.sender or not len(frame):
                continue
            at = int(frame.timestamps[-1])
            key = (frame.collector, frame.node)
            senders = self._senders.get(key)
            if senders is None:
                if len(self._senders) >= _MOST_KEYS:
                    self._senders.pop(next(iter(self._senders)))
                senders = self._senders[key] = {}
            known = senders.get(frame.sender)
            if known is None:
                senders[frame.sender] = _Sender(at, at)
                continue
            before, known.last = known.last, max(at, known.last)
            if len(senders) > 1:
                found += self._compare(key, senders, known, before)
        return found

    def check(self, now: int) -> list[Anomaly]:
        """Take what was dropped since the last call; open and close findings. ``now`` is event time."""
        found: list[Anomaly] = []
        for word, ids, timestamps in self._ingest.take_suspects():
            found += self._count(word, ids, timestamps)
        if now - self._looked >= _LOOK_EVERY_NS:
            self._looked = now
            found += self._mended(now)
        return found

    def state(self) -> State:
        """Return what a snapshot keeps."""
        return {
            "senders": [
                [collector, node, name, each.first, each.last, each.crossings]
                for (collector, node), senders in self._senders.items()
                for name, each in senders.items()
            ],
            "minutes": [[word, source, list(minutes)] for (word, source), minutes in self._minutes.items()],
            "doubled": [[source, last] for source, last in self._last_doubled.items()],
            "looked": self._looked,
        }

    def restore(self, state: State) -> None:
        """Take back what ``state`` returned. Raises Permanent."""
        kept = Kept(state)
        for collector, node, name, first, last, crossings in kept.rows("senders", str, str, str, int, int, int):
            self._senders.setdefault((collector, node), {})[name] = _Sender(first, last, crossings)
        self._minutes = {(word, source): deque(told) for word, source, told in kept.rows("minutes", str, int, list)}
        self._last_doubled = {source: last for source, last in kept.rows("doubled", int, int)}
        self._looked = kept.integer("looked")

    def _compare(self, key: tuple[str, str], senders: dict[str, _Sender], known: _Sender, before: int) -> list[Anomaly]:
        at = known.last
        for rule in self._doubled:
            oldest = max(each.last for each in senders.values()) - round(rule.for_seconds * SECOND)
            for name in [name for name, each in senders.items() if each.last < oldest]:
                del senders[name]
        while len(senders) > _MOST_SENDERS:
            del senders[min(senders, key=lambda name: senders[name].last)]
        # It speaks again after the other has spoken. One that took over is not followed by the one before it, and
        # what that one had spooled is older than all that the new one says.
        crossed = [each for each in senders.values() if each is not known and before < each.last and each.first < at]
        if not crossed:
            return []
        self._ingest.count_crossing()
        known.crossings += 1
        if sum(each.crossings for each in senders.values()) < _FEWEST_CROSSINGS:
            return []
        source = self._table.sources.number(f"node/{key[1]}")
        self._last_doubled[source] = max(at, self._last_doubled.get(source, 0))
        found: list[Anomaly] = []
        for rule in self._doubled:
            if ("doubled", source) not in self._findings:
                since = min(each.first for each in crossed)
                words = {"count": str(len(senders)), "text": f"{key[0]}: {', '.join(sorted(senders))}"}
                subject = Subject(f"node/{key[1]}")
                found.append(
                    self._findings.open(("doubled", source), rule, subject, Measured("quality"), since, at, words)
                )
        return found

    def _count(self, word: str, ids: Ids, timestamps: Times) -> list[Anomaly]:
        found: list[Anomaly] = []
        rules = self._by_minute.get(word, [])
        if not rules or not len(ids):
            return found
        at = int(timestamps.max())
        for source in np.unique(self._table.source[ids]).tolist():
            minutes = self._minutes.setdefault((word, source), deque())
            if not minutes or minutes[-1] < at // MINUTE:
                minutes.append(at // MINUTE)
            for rule in rules:
                while minutes and minutes[0] * MINUTE < at - round(rule.for_seconds * SECOND):
                    minutes.popleft()
                key = (word, source)
                if len(minutes) < rule.count or key in self._findings:
                    continue
                first = int(ids[np.flatnonzero(self._table.source[ids] == source)[0]])
                subject = Subject(str(self._table.sources.values[source]))
                words = {
                    "count": str(len(minutes)),
                    "window": span(rule.for_seconds),
                    "text": self._table.row(first).name,
                }
                since = minutes[0] * MINUTE
                found.append(self._findings.open(key, rule, subject, Measured("quality"), since, at, words))
        return found

    def _mended(self, now: int) -> list[Anomaly]:
        found: list[Anomaly] = []
        for word, rules in self._by_minute.items():
            longest = max((rule.for_seconds for rule in rules), default=0.0)
            for key in [key for key in self._minutes if key[0] == word]:
                minutes = self._minutes[key]
                if minutes and minutes[-1] * MINUTE >= now - round(longest * SECOND):
                    continue
                del self._minutes[key]
                if key in self._findings:
                    found.append(self._findings.close(key, now))
        longest = max((rule.for_seconds for rule in self._doubled), default=0.0)
        for source, last in list(self._last_doubled.items()):
            if last < now - round(longest * SECOND):
                del self._last_doubled[source]
                if ("doubled", source) in self._findings:
                    found.append(self._findings.close(("doubled", source), now))
        return found
