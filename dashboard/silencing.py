"""What a silence of one incident mutes, in matchers and in words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from coldaisle.alert import Alert
from coldaisle.clock import rfc3339
from coldaisle.incident import Incident
from coldaisle.matcher import Matcher, Operator, all_match
from coldaisle.silence import Silence, labels_for_matching
from coldaisle.store import IncidentStore
from coldaisle.topology import Topology, kind_of, name_of
from dashboard import words

MOST_SECONDS = 30 * 86400
_MOST_NAMED = 40
"""More entities than this are not named one by one: nobody could read such a silence."""


def matchers_for(incident: Incident, topology: Topology) -> tuple[Matcher, ...]:
    """
    Return the narrowest matchers that mute every alert of ``incident``.

    The suspect where it contains everything that has an alert, else the entities by name, else the rules
    within what contains them all.
    """
    alerts = incident.firing or incident.alerts
    touched = list(dict.fromkeys(name for alert in alerts for name in (alert.members or (alert.entity,))))
    if not touched:
        return (Matcher("entity", Operator.EQUAL, incident.suspect),)
    chains = [(entity, *topology.ancestors(entity)) for entity in touched]
    if all(incident.suspect in chain for chain in chains) and kind_of(incident.suspect) != "site":
        return (_named(incident.suspect),)
    if len(touched) <= _MOST_NAMED:
        pattern = "|".join(_exactly(entity) for entity in touched)
        return (Matcher("entity", Operator.MATCHES, pattern),) if len(touched) > 1 else (_named(touched[0]),)
    rules = "|".join(_exactly(name) for name in dict.fromkeys(alert.name for alert in alerts))
    shared = [above for above in chains[0] if kind_of(above) != "site" and all(above in chain for chain in chains)]
    where = (_named(shared[0]),) if shared else ()
    return (Matcher("alertname", Operator.MATCHES, rules), *where)


def _exactly(text: str) -> str:
    return re.escape(text).replace("\\-", "-")  # outside of brackets a hyphen means itself, and is easier to read


def _named(entity: str) -> Matcher:
    return Matcher(kind_of(entity), Operator.EQUAL, name_of(entity))


def said(matchers: Sequence[Matcher], topology: Topology) -> str:
    """Return what ``matchers`` mute, for the person who is about to mute it."""
    parts = []
    for one in matchers:
        if one.name == "entity" and one.operator is Operator.MATCHES:
            parts.append(words.reach(re.sub(r"\\(.)", r"\1", name) for name in one.value.split("|")))
        elif one.name == "alertname":
            parts.append(words.counted_things(one.value.count("|") + 1, "rule", "rules"))
        elif one.operator is Operator.EQUAL:
            entity = one.value if one.name == "entity" else f"{one.name}/{one.value}"
            inside = "everything in " if topology.children(entity) else ""
            parts.append(f"{inside}{words.called(entity, topology)}")
        else:
            parts.append(str(one))
    return " in ".join(parts)


def holding(store: IncidentStore, incident: Incident, topology: Topology, now: int) -> list[Silence]:
    """Return the silences that mute an alert of ``incident`` at ``now``, the one that ends last first."""
    found = [
        silence
        for silence in store.silences(now)
        if any(_fits(silence.matchers, alert, topology) for alert in incident.firing or incident.alerts)
    ]
    return sorted(found, key=lambda silence: -silence.ends_at)


def _fits(matchers: tuple[Matcher, ...], alert: Alert, topology: Topology) -> bool:
    """Labels as the alerting half sees them: of the entity, and of all that contains it."""
    labels = labels_for_matching(alert)
    for above in topology.ancestors(alert.entity):
        labels.setdefault(kind_of(above), name_of(above))
    if all_match(matchers, labels):
        return True
    return bool(alert.members) and all(
        all_match(matchers, {**labels, "entity": one, kind_of(one): name_of(one)}) for one in alert.members
    )


def public(silence: Silence) -> dict[str, Any]:
    """Return a silence as the API shows it."""
    return {
        "id": silence.id,
        "matchers": ", ".join(str(one) for one in silence.matchers),
        "starts_at": rfc3339(silence.starts_at),
        "ends_at": rfc3339(silence.ends_at),
        "actor": silence.actor,
        "comment": silence.comment,
    }
