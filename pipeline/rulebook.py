"""The rules: what is worth a finding, how badly, and in which words."""

from __future__ import annotations

import re
import string
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field, PrivateAttr, field_validator, model_validator

from coldaisle.anomaly import Anomaly, Phase, anomaly_id
from coldaisle.clock import SECOND
from coldaisle.config import Section
from coldaisle.errors import ConfigError
from coldaisle.event import Event
from coldaisle.matcher import Matcher, all_match
from coldaisle.matcher import parse as parse_matchers
from coldaisle.series import Labels
from coldaisle.severity import Severity
from coldaisle.topology import Topology
from coldaisle.xid import XIDS, Page
from pipeline.words import clock_time, entity_phrase

WORDS = frozenset(
    {"entity", "metric", "value", "limit", "since", "expected", "difference", "direction", "siblings", "code", "text"}
    | {"count", "window", "silent", "members", "meaning", "advice", "sensor"}
)
"""What a template may name in braces."""

VERSION = "1"
"""Of what rules measure themselves (limits, events, silence, quality)."""


class _Rule(Section):
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    severity: Severity
    summary: str
    explanation: str = ""
    action: str = ""
    runbook: str = ""
    matchers: str = ""  # as PromQL writes them: sensor=~".*Fan.*"

    _matchers: tuple[Matcher, ...] = PrivateAttr(default=())

    @field_validator("summary", "explanation", "action")
    @classmethod
    def _names_known_words(cls, text: str) -> str:
        try:
            named = {field for _, field, _, _ in string.Formatter().parse(text) if field is not None}
        except ValueError as error:
            raise ValueError(f"the template {text!r} is broken: {error}") from error
        unknown = sorted(named - WORDS)
        if unknown:
            raise ValueError(f"unknown word {{{unknown[0]}}}; known: {', '.join(sorted(WORDS))}")
        return text

    @model_validator(mode="after")
    def _reads_its_matchers(self) -> _Rule:
        try:
            self._matchers = parse_matchers(self.matchers)
        except ConfigError as error:
            raise ValueError(f"matchers: {error}") from error
        return self

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether the rule speaks of what carries ``labels``."""
        return all_match(self._matchers, labels)

    def say(self, template: str, words: Mapping[str, str]) -> str:
        """Return ``template`` with its words filled in; a word that nobody knows here stays out."""
        return template.format_map(_Known(words)).strip()


class _Known(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return ""


class MetricRule(_Rule):
    """
    A limit on a metric.

    ``of`` says on what: the ``value`` (of a counter its rate a second) or the ``increase`` of a counter over
    the last ``increase_over_seconds``. The limit is a number (``above``, ``below``, ``equal``), another metric of
    the same thing plus ``offset`` (``above_metric``, ``below_metric``), or a share of the highest value this
    series ever had (``below_peak_ratio``). The finding ends once the value has been past ``clear`` (default: the limit)
    for ``clear_seconds``.
    """

    on: Literal["metric"]
    metric: str
    of: Literal["value", "increase"] = "value"
    above: float | None = None
    below: float | None = None
    equal: float | None = None
    above_metric: str = ""
    below_metric: str = ""
    offset: float = 0.0
    below_peak_ratio: float | None = None
    clear: float | None = None
    for_seconds: float = Field(0.0, ge=0)
    clear_seconds: float = Field(60.0, ge=0)
    increase_over_seconds: float = Field(600.0, gt=0)

    @model_validator(mode="after")
    def _has_one_limit(self) -> MetricRule:
        given = [
            self.above is not None,
            self.below is not None,
            self.equal is not None,
            bool(self.above_metric),
            bool(self.below_metric),
            self.below_peak_ratio is not None,
        ]
        if sum(given) != 1:
            raise ValueError("give exactly one of above, below, equal, above_metric, below_metric and below_peak_ratio")
        return self

    @property
    def upward(self) -> bool:
        """Whether being high is what the rule is about."""
        return self.above is not None or bool(self.above_metric)


class ScoreRule(_Rule):
    """
    What a detector's opinion of a metric must be worth.

    ``metrics`` are names or patterns with ``*``; the first rule in order of files that matches a metric and
    detector holds. Beside being improbable a value must differ from the expected one by ``at_least`` (in the metric's
    unit) and by ``at_least_ratio`` of the expected value: what is certain but small helps nobody.
    """

    on: Literal["score"]
    metrics: tuple[str, ...]
    detectors: tuple[str, ...] = ()
    at_least: float = Field(0.0, ge=0)
    at_least_ratio: float = Field(0.0, ge=0)
    for_seconds: float = Field(60.0, ge=0)
    clear_seconds: float = Field(120.0, ge=0)

    def covers(self, metric: str, detector: str) -> bool:
        """Return whether the rule speaks of ``metric`` as seen by ``detector``."""
        if self.detectors and detector not in self.detectors:
            return False
        return any(
            re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), metric) is not None for pattern in self.metrics
        )


class SilenceRule(_Rule):
    """Telemetry that stopped: of a whole ``node``, of ``part`` of a live one, or of one ``entity`` of a live one."""

    on: Literal["silence"]
    of: Literal["node", "part", "entity"]
    kinds: tuple[str, ...] = ()  # kinds of entities; none = all


class QualityRule(_Rule):
    """
    Samples that cannot be believed.

    A ``stuck`` sensor, many ``invalid`` readings, a clock with a ``skew``, a node of which two hosts speak
    (``doubled``), samples that are ``repeated``, counters that go ``backwards``.
    """

    on: Literal["quality"]
    check: Literal["stuck", "invalid", "skew", "doubled", "repeated", "backwards"]
    metrics: tuple[str, ...] = ()
    for_seconds: float = Field(600.0, gt=0)
    count: int = Field(10, ge=1)  # within ``for_seconds``: of invalid readings, of minutes with repeats or falls


class EventRule(_Rule):
    """
    An event that is worth a finding. The first rule in order of files that matches an event holds.

    ``codes`` (none = all) open, ``clear_codes`` close; without a clearing event the finding ends after
    ``hold_seconds`` of quiet. ``count`` of them within ``window_seconds`` are needed. ``xid_page`` picks Xids by
    what :mod:`coldaisle.xid` says about them.
    """

    on: Literal["event"]
    kind: str
    codes: tuple[str, ...] = ()
    xid_page: tuple[Page, ...] = ()
    clear_codes: tuple[str, ...] = ()
    count: int = Field(1, ge=1)
    window_seconds: float = Field(600.0, gt=0)
    hold_seconds: float = Field(3600.0, gt=0)

    _recent: dict[str, deque[int]] = PrivateAttr(default_factory=dict)
    _active: dict[str, dict[Labels, int]] = PrivateAttr(default_factory=dict)

    def about(self, event: Event) -> bool:
        """Return whether ``event`` is of this rule, opening or clearing."""
        if event.kind != self.kind or not self.matches(dict(event.labels)):
            return False
        return self.opens(event) or event.code in self.clear_codes

    def opens(self, event: Event) -> bool:
        """Return whether ``event`` (of this kind) is one that opens."""
        if event.code in self.clear_codes:
            return False
        if self.xid_page:
            known = XIDS.get(int(event.code)) if event.code.isdigit() else None
            page = known.page if known is not None else Page.TICKET
            return page in self.xid_page and (not self.codes or event.code in self.codes)
        return not self.codes or event.code in self.codes

    def finding(self, event: Event, topology: Topology) -> Anomaly | None:
        """
        Return what ``event`` says: opened, or closed where its code clears; None = it says nothing (yet).

        Remembers what it was shown: where ``count`` are asked for, fewer say nothing (so that a later rule may
        speak), and of several sensors of one thing the last to recover clears. Without a clearing event the finding
        ends after ``hold_seconds`` of quiet, which the caller measures.
        """
        if not self.about(event):
            return None
        entity = topology.observe(event.labels)
        if not self.opens(event):
            return self._cleared(event, entity)
        self._active.setdefault(entity, {}).setdefault(event.labels, event.timestamp)
        recent = self._recent.setdefault(entity, deque(maxlen=max(self.count, 64)))
        recent.append(event.timestamp)
        while recent[0] < event.timestamp - self.window_seconds * SECOND:
            recent.popleft()
        if len(recent) < self.count:
            return None
        return self.anomaly(event, entity, Phase.OPENED, event.timestamp, len(recent))

    def begin_anew(self) -> None:
        """Forget what it was shown."""
        self._recent.clear()
        self._active.clear()

    def _cleared(self, event: Event, entity: str) -> Anomaly | None:
        active = self._active.get(entity)
        if active is not None:
            active.pop(event.labels, None)
            if active:
                return None
            del self._active[entity]
        return self.anomaly(event, entity, Phase.CLOSED, event.timestamp)

    def anomaly(self, event: Event, entity: str, phase: Phase, started_at: int, count: int = 1) -> Anomaly:
        """Return the finding in words; ``count`` is how many such events stand behind it."""
        known = XIDS.get(int(event.code)) if event.kind == "xid" and event.code.isdigit() else None
        words = {
            "entity": entity_phrase(entity),
            "code": event.code,
            "text": event.text,
            "sensor": event.label("sensor") or "",
            "since": clock_time(started_at),
            "count": str(count),
            "window": f"{self.window_seconds / 60:g} min",
            "meaning": known.meaning if known else event.text,
            "advice": known.advice if known else "",
        }
        return Anomaly(
            id=anomaly_id(self.name, entity, None, started_at),
            phase=phase,
            rule=self.name,
            detector="event",
            version=VERSION,
            severity=self.severity,
            entity=entity,
            started_at=started_at,
            updated_at=event.timestamp,
            ended_at=event.timestamp if phase is Phase.CLOSED else None,
            score=1.0,
            explanation=self.say(self.explanation or self.summary, words),
            summary=self.say(self.summary, words),
            action=self.say(self.action, words),
            runbook=self.runbook,
        )


Rule = MetricRule | ScoreRule | SilenceRule | QualityRule | EventRule


class RuleFile(Section):
    """One file of ``config/rules``."""

    rule: tuple[Annotated[Rule, Field(discriminator="on")], ...] = ()


class RuleBook:
    """All rules in order of files."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self._rules = tuple(rules)
        seen: set[str] = set()
        for rule in self._rules:
            if rule.name in seen:
                raise ConfigError(f"rule {rule.name!r} is written twice; give one of them another name")
            seen.add(rule.name)

    def __iter__(self) -> Iterator[Rule]:
        return iter(self._rules)

    def __len__(self) -> int:
        return len(self._rules)

    def metric_rules(self) -> list[MetricRule]:
        """Return the limits."""
        return [rule for rule in self._rules if isinstance(rule, MetricRule)]

    def event_rules(self) -> list[EventRule]:
        """Return the event rules; the first that matches an event holds."""
        return [rule for rule in self._rules if isinstance(rule, EventRule)]

    def quality_rules(self) -> list[QualityRule]:
        """Return the rules on samples that cannot be believed."""
        return [rule for rule in self._rules if isinstance(rule, QualityRule)]

    def score_rule(self, metric: str, detector: str) -> ScoreRule | None:
        """Return the rule that decides on what ``detector`` thinks of ``metric``."""
        for rule in self._rules:
            if isinstance(rule, ScoreRule) and rule.covers(metric, detector):
                return rule
        return None

    def silence_rule(self, of: str, kind: str) -> SilenceRule | None:
        """Return the rule for silence ``of`` a node, a part or an entity of ``kind``."""
        for rule in self._rules:
            if isinstance(rule, SilenceRule) and rule.of == of and (not rule.kinds or kind in rule.kinds):
                return rule
        return None
