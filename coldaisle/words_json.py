"""Events and anomalies as JSON and back, without loss."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from coldaisle.anomaly import Anomaly, Contribution, Phase, Window
from coldaisle.errors import Permanent
from coldaisle.event import Event
from coldaisle.prediction import Outcome, Prediction, Reason, Within
from coldaisle.series import Labels, Series, labels_of
from coldaisle.severity import Severity

EVENT_VERSION = 1
ANOMALY_VERSION = 1
MOST_WORDS_BYTES = 4 << 20
"""Of one event or anomaly; the largest, a window of 2,000 points beside twenty peers, has a fifth of it."""

T = TypeVar("T")
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def encode_event(event: Event) -> bytes:
    """Return ``event`` as one JSON object in UTF-8."""
    return _dump(event_to_json(event))


def decode_event(data: bytes) -> Event:
    """Return the event that ``data`` holds. Raises Permanent with the reason."""
    return event_from_json(_load(data, "event"))


def encode_anomaly(anomaly: Anomaly) -> bytes:
    """Return ``anomaly`` as one JSON object in UTF-8."""
    return _dump(anomaly_to_json(anomaly))


def decode_anomaly(data: bytes) -> Anomaly:
    """Return the anomaly that ``data`` holds. Raises Permanent with the reason."""
    return anomaly_from_json(_load(data, "anomaly"))


def event_to_json(event: Event) -> dict[str, Any]:
    """Return ``event`` as a JSON object; ``timestamp`` is Unix nanoseconds."""
    return {
        "version": EVENT_VERSION,
        "kind": event.kind,
        "code": event.code,
        "timestamp": event.timestamp,
        "labels": _labels_to_json(event.labels),
        "text": event.text,
        "attributes": dict(event.attributes),
    }


def event_from_json(document: Mapping[str, Any]) -> Event:
    """Return the event of :func:`event_to_json`. Raises Permanent that names the field."""
    read = _Reader("event", document)
    read.version(EVENT_VERSION)
    return Event(
        kind=read.text("kind"),
        code=read.text("code"),
        timestamp=read.integer("timestamp"),
        labels=read.labels("labels"),
        text=read.text("text", ""),
        attributes=read.texts("attributes"),
    )


def anomaly_to_json(anomaly: Anomaly) -> dict[str, Any]:
    """Return ``anomaly`` as a JSON object; times are Unix nanoseconds, unknown numbers null."""
    a = anomaly
    foretold = {} if a.prediction is None else {"prediction": prediction_to_json(a.prediction)}
    return {
        "version": ANOMALY_VERSION,
        "id": a.id,
        "phase": a.phase.value,
        "rule": a.rule,
        "detector": a.detector,
        "detector_version": a.version,
        "severity": a.severity.value,
        "entity": a.entity,
        "started_at": a.started_at,
        "updated_at": a.updated_at,
        "ended_at": a.ended_at,
        "score": _number_to_json(a.score),
        "explanation": a.explanation,
        "series": None if a.series is None else [a.series.metric, _labels_to_json(a.series.labels)],
        "observed": _number_to_json(a.observed),
        "expected": _number_to_json(a.expected),
        "low": _number_to_json(a.low),
        "high": _number_to_json(a.high),
        "tail_probability": _number_to_json(a.tail_probability),
        "contributions": [_contribution_to_json(each) for each in a.contributions],
        "peers": list(a.peers),
        "members": list(a.members),
        "summary": a.summary,
        "action": a.action,
        "runbook": a.runbook,
        "window": None if a.window is None else _window_to_json(a.window),
        **foretold,
    }


def anomaly_from_json(document: Mapping[str, Any]) -> Anomaly:
    """Return the anomaly of :func:`anomaly_to_json`. Raises Permanent that names the field."""
    read = _Reader("anomaly", document)
    read.version(ANOMALY_VERSION)
    return Anomaly(
        id=read.text("id"),
        phase=read.as_("phase", Phase),
        rule=read.text("rule"),
        detector=read.text("detector"),
        version=read.text("detector_version"),
        severity=read.as_("severity", Severity),
        entity=read.text("entity"),
        started_at=read.integer("started_at"),
        updated_at=read.integer("updated_at"),
        ended_at=None if document.get("ended_at") is None else read.integer("ended_at"),
        score=read.number("score"),
        explanation=read.text("explanation"),
        series=read.series("series"),
        observed=read.maybe_number("observed"),
        expected=read.maybe_number("expected"),
        low=read.maybe_number("low"),
        high=read.maybe_number("high"),
        tail_probability=read.maybe_number("tail_probability"),
        contributions=tuple(_contribution_from_json(each) for each in read.items("contributions")),
        peers=read.words("peers"),
        members=read.words("members"),
        summary=read.text("summary", ""),
        action=read.text("action", ""),
        runbook=read.text("runbook", ""),
        window=None if document.get("window") is None else _window_from_json(document["window"]),
        prediction=None if document.get("prediction") is None else prediction_from_json(document["prediction"]),
    )


def prediction_to_json(prediction: Prediction) -> dict[str, Any]:
    """Return ``prediction`` as a JSON object; times are Unix nanoseconds, spans seconds."""
    p = prediction
    return {
        "id": p.id,
        "rule": p.rule,
        "entity": p.entity,
        "what": p.what,
        "probability": _number_to_json(p.probability),
        "within_seconds": [_number_to_json(seconds) for seconds in p.within],
        "made_at": p.made_at,
        "warned_at": p.warned_at,
        "settles_at": p.settles_at,
        "updated_at": p.updated_at,
        "latest": _number_to_json(p.latest),
        "reasons": [
            {
                "metric": reason.metric,
                "text": reason.text,
                "weight": _number_to_json(reason.weight),
                "value": _number_to_json(reason.value),
                "since": reason.since,
            }
            for reason in p.reasons
        ],
        "model": p.model,
        "model_version": p.version,
        "outcome": p.outcome.value,
        "settled_at": p.settled_at,
        "lead_seconds": _number_to_json(p.lead_seconds),
    }


def prediction_from_json(document: Any) -> Prediction:
    """Return the prediction of :func:`prediction_to_json`. Raises Permanent that names the field."""
    read = _Reader("prediction", document)
    within = read.line("within_seconds")
    if len(within) != 3:
        raise Permanent(f"prediction: within_seconds: has {len(within)} numbers; expected low, median and high")
    return Prediction(
        id=read.text("id"),
        rule=read.text("rule"),
        entity=read.text("entity"),
        what=read.text("what"),
        probability=read.number("probability"),
        within=Within(*(_number(seconds, "prediction: within_seconds") for seconds in within)),
        made_at=read.integer("made_at"),
        warned_at=read.maybe_integer("warned_at"),
        settles_at=read.integer("settles_at"),
        updated_at=read.integer("updated_at"),
        latest=read.number("latest"),
        reasons=tuple(_reason_from_json(each) for each in read.items("reasons")),
        model=read.text("model"),
        version=read.text("model_version"),
        outcome=read.as_("outcome", Outcome),
        settled_at=read.maybe_integer("settled_at"),
        lead_seconds=read.maybe_number("lead_seconds"),
    )


def _reason_from_json(document: Any) -> Reason:
    read = _Reader("prediction: reason", document)
    return Reason(
        metric=read.text("metric"),
        text=read.text("text"),
        weight=read.number("weight"),
        value=read.maybe_number("value"),
        since=read.maybe_integer("since"),
    )


def _contribution_to_json(contribution: Contribution) -> dict[str, Any]:
    return {
        "entity": contribution.entity,
        "metric": contribution.metric,
        "share": _number_to_json(contribution.share),
        "observed": _number_to_json(contribution.observed),
        "expected": _number_to_json(contribution.expected),
    }


def _contribution_from_json(document: Any) -> Contribution:
    read = _Reader("anomaly: contribution", document)
    return Contribution(
        entity=read.text("entity"),
        metric=read.text("metric"),
        share=read.number("share"),
        observed=read.maybe_number("observed"),
        expected=read.maybe_number("expected"),
    )


def _window_to_json(window: Window) -> dict[str, Any]:
    return {
        "metric": window.metric,
        "unit": window.unit,
        "timestamps": list(window.timestamps),
        "observed": [_number_to_json(value) for value in window.observed],
        "expected": [_number_to_json(value) for value in window.expected],
        "low": [_number_to_json(value) for value in window.low],
        "high": [_number_to_json(value) for value in window.high],
        "peers": {name: [_number_to_json(value) for value in line] for name, line in window.peers.items()},
        "limit": _number_to_json(window.limit),
    }


def _window_from_json(document: Any) -> Window:
    read = _Reader("anomaly: window", document)
    return Window(
        metric=read.text("metric"),
        unit=read.text("unit"),
        timestamps=tuple(_integer(each, "anomaly: window: timestamps") for each in read.items("timestamps")),
        observed=read.line("observed"),
        expected=read.line("expected"),
        low=read.line("low"),
        high=read.line("high"),
        peers={
            _text(name, "anomaly: window: peers"): _line(line, "anomaly: window: peers")
            for name, line in read.object("peers").items()
        },
        limit=read.maybe_number("limit"),
    )


def _labels_to_json(pairs: Labels) -> dict[str, str]:
    named = dict(pairs)
    if len(named) != len(pairs):
        raise Permanent(f"labels: one is named twice: {pairs}")
    return named


def _number_to_json(value: float | None) -> float | str | None:
    """JSON has no NaN: what is not finite is written as its name, so that nothing is lost."""
    if value is None or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _number(value: Any, where: str) -> float:
    if isinstance(value, str) and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Permanent(f"{where}: is {_shown(value)}; expected a number")
    try:
        return float(value)
    except OverflowError as error:
        raise Permanent(f"{where}: is too large") from error


def _integer(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Permanent(f"{where}: is {_shown(value)}; expected an integer")
    if not -(2**63) <= value < 2**63:
        raise Permanent(f"{where}: does not fit 64 bits")
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise Permanent(f"{where}: is {_shown(value)}; expected a text")
    # JSON can name half of a pair of UTF-16 units; no store and no socket takes it.
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise Permanent(f"{where}: is not valid Unicode")
    return value


def _line(value: Any, where: str) -> tuple[float | None, ...]:
    if not isinstance(value, list):
        raise Permanent(f"{where}: is {_shown(value)}; expected a list of numbers")
    return tuple(None if each is None else _number(each, where) for each in value)


def _shown(value: Any) -> str:
    if isinstance(value, list | dict) and value:
        # Its text may be as long as the message, and nested deeper than Python can print.
        return "a list" if isinstance(value, list) else "an object"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _dump(document: dict[str, Any]) -> bytes:
    try:
        return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise Permanent(f"a text is not valid Unicode: {error.reason}") from error


def _load(data: bytes, what: str) -> Any:
    if len(data) > MOST_WORDS_BYTES:
        raise Permanent(f"{what}: has {len(data):,} bytes; at most {MOST_WORDS_BYTES:,} are read")
    try:
        return json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise Permanent(f"{what}: is not JSON: {str(error)[:200]}") from error


class _Reader:
    """Reads one JSON object field by field; every complaint names the field and what was expected."""

    def __init__(self, what: str, document: Any) -> None:
        if not isinstance(document, Mapping):
            raise Permanent(f"{what}: is {_shown(document)}; expected a JSON object")
        self._what = what
        self._document = document

    def _get(self, key: str) -> Any:
        if key not in self._document:
            raise Permanent(f"{self._what}: lacks {key!r}")
        return self._document[key]

    def version(self, known: int) -> None:
        have = self._get("version")
        if have == known and not isinstance(have, bool):
            return
        newer = isinstance(have, int) and have > known
        who = "a newer Coldaisle wrote it; upgrade this process, then replay it" if newer else "nobody wrote that"
        raise Permanent(f"{self._what}: has version {_shown(have)}; this reader knows {known} ({who})")

    def text(self, key: str, default: str | None = None) -> str:
        value = self._get(key) if default is None else self._document.get(key, default)
        return _text(value, f"{self._what}: {key}")

    def integer(self, key: str) -> int:
        return _integer(self._get(key), f"{self._what}: {key}")

    def number(self, key: str) -> float:
        return _number(self._get(key), f"{self._what}: {key}")

    def maybe_number(self, key: str) -> float | None:
        return None if self._document.get(key) is None else self.number(key)

    def maybe_integer(self, key: str) -> int | None:
        return None if self._document.get(key) is None else self.integer(key)

    def items(self, key: str) -> list[Any]:
        value = self._document.get(key, [])
        if not isinstance(value, list):
            raise Permanent(f"{self._what}: {key}: is {_shown(value)}; expected a list")
        return value

    def words(self, key: str) -> tuple[str, ...]:
        return tuple(_text(each, f"{self._what}: {key}") for each in self.items(key))

    def line(self, key: str) -> tuple[float | None, ...]:
        return _line(self.items(key), f"{self._what}: {key}")

    def object(self, key: str) -> Mapping[str, Any]:
        value = self._document.get(key, {})
        if not isinstance(value, dict):
            raise Permanent(f"{self._what}: {key}: is {_shown(value)}; expected an object")
        return value

    def texts(self, key: str) -> dict[str, str]:
        where = f"{self._what}: {key}"
        return {_text(name, where): _text(value, where) for name, value in self.object(key).items()}

    def labels(self, key: str) -> Labels:
        self._get(key)
        return labels_of(self.texts(key).items())

    def series(self, key: str) -> Series | None:
        value = self._document.get(key)
        if value is None:
            return None
        if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)):
            raise Permanent(f"{self._what}: {key}: is {_shown(value)}; expected a metric and its labels")
        metric = _text(value[0], f"{self._what}: {key}")
        return Series(metric, _Reader(f"{self._what}: {key}", {"labels": value[1]}).labels("labels"))

    def as_(self, key: str, kind: Callable[[str], T]) -> T:
        text = self.text(key)
        try:
            return kind(text)
        except ValueError as error:
            raise Permanent(f"{self._what}: {key}: {_shown(text)} is not known") from error
