"""What a finding is a symptom of, how strong it is, and which causes can bring it about."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

from coldaisle.anomaly import Anomaly
from coldaisle.catalogue import CATALOGUE
from coldaisle.topology import kind_of


class Symptom(StrEnum):
    """The family of a finding; physics decides which causes are plausible for which family."""

    THERMAL = "thermal"
    POWER = "power"
    SILENCE = "silence"
    LINK = "link"
    DEVICE = "device"  # Xid, ECC, remapped rows, NVLink: inside one board
    SPEED = "speed"  # clocks, utilisation, step time: work goes slower
    SENSOR = "sensor"  # the measurement itself is in doubt
    OTHER = "other"


# Words of a rule's or a metric's name, the first hit decides: what is specific stands before what is general.
_WORDS: Final = (
    (Symptom.SILENCE, ("silen", "no_telemetry", "stale", "collector_up", "agent")),
    (
        Symptom.SENSOR,
        ("stuck", "invalid", "implausible", "out_of_range", "skew", "sensor_bad", "doubled", "repeated", "backwards"),
    ),
    (Symptom.DEVICE, ("xid", "ecc", "remap", "nvlink", "gpu_count", "pcie", "off_the_bus", "retire", "battery")),
    (
        Symptom.THERMAL,
        (
            "thermal",
            "temp",
            "celsius",
            "hot",
            "warm",
            "inlet",
            "fan",
            "flow",
            "cool",
            "pump",
            "crac",
            "cdu",
            "leak",
        ),
    ),
    (Symptom.LINK, ("link", "port", "symbol", "network", "nic", "optic")),
    (Symptom.POWER, ("power", "watts", "volt", "psu", "pdu", "feed", "ups", "energy")),
    (Symptom.SPEED, ("clock", "utilization", "utilisation", "step", "slow", "straggl", "throttle", "throughput")),
)

# How plausibly a fault of this kind of entity shows as this symptom on something in its reach (0 = it cannot).
# Physics, not statistics: a cooling unit warms what it cools and slows it; it breaks no cable.
_PLAUSIBLE: Final[dict[str, dict[Symptom, float]]] = {
    "site": {Symptom.SILENCE: 0.9, Symptom.POWER: 0.6, Symptom.THERMAL: 0.5, Symptom.SPEED: 0.3, Symptom.LINK: 0.4},
    "row": {Symptom.SILENCE: 0.7, Symptom.POWER: 0.7, Symptom.THERMAL: 0.8, Symptom.SPEED: 0.4, Symptom.LINK: 0.3},
    "rack": {Symptom.SILENCE: 0.9, Symptom.POWER: 0.85, Symptom.THERMAL: 0.8, Symptom.SPEED: 0.5, Symptom.LINK: 0.6},
    "pdu": {Symptom.POWER: 1.0, Symptom.SILENCE: 0.85, Symptom.SPEED: 0.7, Symptom.THERMAL: 0.4, Symptom.LINK: 0.4},
    "ups": {Symptom.POWER: 1.0, Symptom.SILENCE: 0.85, Symptom.SPEED: 0.6, Symptom.THERMAL: 0.4, Symptom.LINK: 0.4},
    "crac": {Symptom.THERMAL: 1.0, Symptom.SPEED: 0.7, Symptom.POWER: 0.5, Symptom.SILENCE: 0.2},
    "cdu": {Symptom.THERMAL: 1.0, Symptom.SPEED: 0.7, Symptom.POWER: 0.5, Symptom.SILENCE: 0.2},
    "switch": {Symptom.LINK: 1.0, Symptom.SILENCE: 0.85, Symptom.SPEED: 0.7},
    "port": {Symptom.LINK: 1.0, Symptom.SPEED: 0.6, Symptom.SILENCE: 0.4},
    "job": {Symptom.SPEED: 1.0, Symptom.POWER: 0.7, Symptom.THERMAL: 0.5},
}
_INSIDE_NODE: Final = 0.9

_STRONG_DETECTORS: Final = frozenset({"event", "limit", "status", "state"})
_STATISTICAL: Final = frozenset(
    {"level", "peers", "drift", "seasonal", "forest", "isolation_forest", "reconstruction", "forecast"}
    | {"early_warning", "limit_warning"}
)


def symptom_of(anomaly: Anomaly) -> Symptom:
    """Return the family of a finding: from its detector, its metric's name, then its rule's name."""
    if anomaly.detector == "silence":
        return Symptom.SILENCE
    metric = anomaly.series.metric if anomaly.series is not None else ""
    if not metric and anomaly.contributions:
        metric = anomaly.contributions[0].metric
    by_rule = _by_words(anomaly.rule)
    if by_rule in (Symptom.SILENCE, Symptom.SENSOR):
        return by_rule
    for text in (metric, anomaly.rule, anomaly.entity.partition("/")[0]):
        found = _by_words(text)
        if found is not Symptom.OTHER:
            return found
    return Symptom.OTHER


def _by_words(text: str) -> Symptom:
    low = "_" + re.sub(r"[^a-z0-9]+", "_", text.lower())
    for symptom, words in _WORDS:
        if any("_" + word in low for word in words):
            return symptom
    return Symptom.OTHER


def plausible(candidate: str, symptom: Symptom) -> float:
    """Return 0..1: how plausibly a fault of ``candidate`` shows as ``symptom`` in its reach."""
    row = _PLAUSIBLE.get(kind_of(candidate))
    if row is None:
        return _INSIDE_NODE
    return row.get(symptom, 0.15 if kind_of(candidate) in ("site", "row", "rack") else 0.05)


def strength_of(anomaly: Anomaly) -> float:
    """
    Return 0..1: how directly a finding shows a fault of the entity it names.

    What a device says of itself (an event, a limit, a state) weighs 0.95, silence 0.8; what statistics say
    weighs up to 0.7 with its score; a metric that nobody described weighs half.
    """
    if anomaly.detector in _STRONG_DETECTORS or anomaly.detector not in _STATISTICAL | {"silence"}:
        return 0.95
    if anomaly.detector == "silence":
        return 0.8
    known = anomaly.series is None or anomaly.series.metric in CATALOGUE
    score = min(max(anomaly.score, 0.0), 1.0)
    return (0.35 + 0.35 * score) * (1.0 if known else 0.5)


def described(anomaly: Anomaly) -> bool:
    """Return whether somebody described what this finding is about; what nobody described never pages alone."""
    if anomaly.detector not in _STATISTICAL:
        return True
    return anomaly.series is None or anomaly.series.metric in CATALOGUE
