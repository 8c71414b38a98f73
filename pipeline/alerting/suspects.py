"""Name the entity that explains most of a group, and say how sure that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from coldaisle.topology import kind_of
from pipeline.alerting.correlate import STRONG, anchor
from pipeline.alerting.graph import Graph
from pipeline.alerting.symptoms import Symptom, plausible
from pipeline.alerting.track import Track

_INSIDE = frozenset({"gpu", "nic", "port", "psu"})
_PLANT = frozenset({"pdu", "ups", "crac", "cdu", "switch"})
_STANDS_OUT = 0.15  # how much stronger than the next a single piece of evidence must be to name its entity


class Verdict(NamedTuple):
    """Who is suspected, how much of the group that explains (0..1), and how sure it is (0..1)."""

    suspect: str
    coverage: float
    confidence: float


def judge(scope: str, tracks: Sequence[Track], graph: Graph) -> Verdict:
    """
    Return the suspect of a group that shares ``scope``.

    Direct evidence on the scope decides; inside one node the part with the strongest evidence does; in a job
    the member whose evidence stands out. Otherwise it is the scope itself.
    """
    anchors = [anchor(track, graph) for track in tracks]
    suspect = _suspect(scope, tracks, anchors, graph)
    explained = sum(
        1.0
        for track, place in zip(tracks, anchors, strict=True)
        if place == suspect
        or (suspect in graph.causes(graph.unit(place)) and plausible(suspect, track.symptom) >= 0.3)
        or graph.unit(place) == graph.unit(suspect)
        or (kind_of(scope) == "job" and scope in graph.causes(place))
    )
    coverage = explained / len(tracks)
    return Verdict(suspect, coverage, _confidence(suspect, tracks, anchors, graph, coverage))


def _suspect(scope: str, tracks: Sequence[Track], anchors: Sequence[str], graph: Graph) -> str:
    places = set(anchors)
    if len(places) == 1:
        return next(iter(places))
    units = {graph.unit(place) for place in places}
    if len(units) == 1:
        return _part_of_node(next(iter(units)), tracks, anchors)
    if kind_of(scope) == "job":
        return _standing_out(tracks, anchors) or scope
    if kind_of(scope) == "port":
        # A link that is down beside a node that says nothing: a dead node takes its link down, not the reverse.
        silent = {
            p for t, p in zip(tracks, anchors, strict=True) if t.symptom is Symptom.SILENCE and kind_of(p) == "node"
        }
        return next(iter(silent)) if len(silent) == 1 else scope
    return scope if scope in places else _plant(tracks, anchors, graph) or scope


def _plant(tracks: Sequence[Track], anchors: Sequence[str], graph: Graph) -> str | None:
    """The one PDU, UPS, cooling unit or switch with direct evidence that can harm at least half of the units."""
    units = {graph.unit(place) for place in anchors}
    found = {
        place
        for track, place in zip(tracks, anchors, strict=True)
        if kind_of(place) in _PLANT and track.strength >= STRONG
        if 2 * sum(1 for unit in units if place in graph.causes(unit)) >= len(units)
    }
    return next(iter(found)) if len(found) == 1 else None


def _part_of_node(unit: str, tracks: Sequence[Track], anchors: Sequence[str]) -> str:
    strength: dict[str, float] = {}
    for track, place in zip(tracks, anchors, strict=True):
        strength[place] = max(strength.get(place, 0.0), track.strength + 0.1 * track.severity.rank)
    parts = sorted(((value, place) for place, value in strength.items() if kind_of(place) in _INSIDE), reverse=True)
    if not parts or strength.get(unit, 0.0) > parts[0][0] + 0.05:
        return unit
    if len(parts) > 1 and parts[0][0] < parts[1][0] + _STANDS_OUT:
        return unit
    return parts[0][1]


def _standing_out(tracks: Sequence[Track], anchors: Sequence[str]) -> str | None:
    ranked: dict[str, tuple[float, int]] = {}
    for track, place in zip(tracks, anchors, strict=True):
        mine = (track.strength + 0.1 * track.severity.rank, -track.starts_at)
        ranked[place] = max(ranked.get(place, (0.0, 0)), mine)
    best = sorted(ranked.items(), key=lambda item: item[1], reverse=True)
    if len(best) == 1 or best[0][1][0] >= best[1][1][0] + _STANDS_OUT:
        return best[0][0]
    return None


def _confidence(suspect: str, tracks: Sequence[Track], anchors: Sequence[str], graph: Graph, coverage: float) -> float:
    """
    Return 0..1.

    The chance that every piece of evidence misleads, if independent: evidence e leaves 1 - s(e) of doubt, a
    second symptom or a second place halves what is left, up to three times. Scaled by how much of the group
    the suspect explains; halved in its excess over the share of harm where nothing was seen on the suspect
    itself, because then others of the same reach would explain it as well.
    """
    doubt = 1.0 - max(track.strength for track in tracks)
    others = min(3, len({(track.symptom, place) for track, place in zip(tracks, anchors, strict=True)}) - 1)
    doubt *= 0.5**others
    sure = (1.0 - doubt) * (0.5 + 0.5 * coverage)
    if suspect not in anchors:
        harmed = Counter(kind_of(graph.unit(place)) for place in anchors)
        kind, count = harmed.most_common(1)[0]
        share = min(1.0, count / max(1, graph.reach_counts(suspect)[kind]))
        sure *= 0.4 + 0.4 * share
    elif not any(t.strength >= STRONG for t, place in zip(tracks, anchors, strict=True) if place == suspect):
        sure *= 0.9
    if all(track.symptom is Symptom.SILENCE for track in tracks):
        sure = min(sure, 0.6)  # silence says that something is wrong, hardly what
    return round(min(sure, 0.99), 2)
