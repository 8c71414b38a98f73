"""A finding: a span in which something was unusual, not yet anyone's problem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b

from coldaisle.prediction import Prediction
from coldaisle.series import Series
from coldaisle.severity import Severity


class Phase(StrEnum):
    """An anomaly is announced when it opens, when it worsens, and when it has ended."""

    OPENED = "opened"
    UPDATED = "updated"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Contribution:
    """How much one metric of one entity adds to an anomaly; shares of one anomaly sum to 1."""

    entity: str
    metric: str
    share: float
    observed: float | None = None
    expected: float | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """
    The evidence as it stood when the anomaly opened: what was seen beside what was expected.

    All sequences but ``peers`` have the length of ``timestamps``; None = not read.
    """

    metric: str
    unit: str
    timestamps: tuple[int, ...]
    observed: tuple[float | None, ...]
    expected: tuple[float | None, ...] = ()
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    peers: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)  # entity -> values
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Anomaly:
    """
    One finding about one entity, announced on the topic ``anomalies``.

    ``rule`` says what decided (``config/rules``), ``detector`` what measured (``level``, ``peers``,
    ``limit``, ``event``, ``silence``). Identity is :func:`anomaly_id`, so announcing twice is harmless.
    """

    id: str
    phase: Phase
    rule: str
    detector: str
    version: str
    severity: Severity
    entity: str
    started_at: int
    updated_at: int
    score: float  # 0 usual .. 1 never seen
    explanation: str  # one sentence, numbers with units
    ended_at: int | None = None
    series: Series | None = None
    observed: float | None = None
    expected: float | None = None
    low: float | None = None
    high: float | None = None
    tail_probability: float | None = None
    contributions: tuple[Contribution, ...] = ()
    peers: tuple[str, ...] = ()  # entities it was compared with
    members: tuple[str, ...] = ()  # entities it holds for, when one finding speaks of many (a silence)
    summary: str = ""  # the rule's words for the title, filled in
    action: str = ""  # the rule's words for what to do
    runbook: str = ""
    window: Window | None = None
    prediction: Prediction | None = None  # where it says what is to come, not what is


def anomaly_id(rule: str, entity: str, series: Series | None, started_at: int) -> str:
    """Return 16 hex digits that are the same whenever the same finding is made again."""
    text = "\x1f".join((rule, entity, str(series) if series else "", str(started_at)))
    return blake2b(text.encode(), digest_size=8).hexdigest()
