"""Finds entities and incidents by the words that a person types."""

from __future__ import annotations

from coldaisle.incident import Incident
from coldaisle.store import IncidentQuery, IncidentStore
from coldaisle.topology import Topology, name_of
from dashboard import words

_ORDER = {kind: place for place, kind in enumerate(("row", "rack", "node", "gpu", "switch", "crac", "cdu", "pdu"))}


def entities(topology: Topology, text: str, limit: int = 8) -> list[str]:
    """
    Return entities whose name holds every word of ``text``: exact names first, then what begins so, then the rest.

    ``n017`` finds the node before its GPUs; ``n017 gpu 5`` and ``gpu 5 of n017`` find that GPU; ``rack a03`` the rack.
    """
    wanted = text.lower().split()
    if not wanted:
        return []
    whole = " ".join(wanted)
    ranked: list[tuple[int, int, int, str]] = []
    for entity in topology:
        name = entity.name.lower()
        if entity.kind == "gpu" and entity.parent is not None and "index" in entity.attributes:
            shown = f"{name_of(entity.parent).lower()} gpu {entity.attributes['index']}"
        else:
            shown = name
        line = f"{shown} {name} {entity.id.lower()}"
        spoken = line.replace("/", " ").split()
        if not all(word in line for word in wanted):
            continue
        exact = name == whole or entity.id.lower() == whole or whole in (f"{entity.kind} {name}", shown)
        starts = sum(any(part.startswith(word) for part in spoken) for word in wanted)
        whole_words = sum(word in spoken for word in wanted)
        rank = 0 if exact else 10 - min(4, starts) - min(4, whole_words)
        ranked.append((rank, _ORDER.get(entity.kind, 9), len(ranked), entity.id))
    ranked.sort(key=lambda item: item[:3] if item[0] else (0, item[1], item[2]))
    return [entity for *_, entity in ranked[:limit]]


def incidents(store: IncidentStore, text: str, limit: int = 6) -> list[Incident]:
    """Return incidents whose id begins with ``text`` or whose words hold it, the newest first."""
    found = store.find(IncidentQuery(text=text, limit=limit))
    named = store.get(text.strip()) if len(text.strip()) >= 6 else None
    if named is not None and named.id not in {one.id for one in found}:
        found = [named, *found][:limit]
    return found


def place(entity: str, topology: Topology) -> str:
    """Return where an entity stands, from the outside in: ``row A › rack A03 › n017``."""
    chain = [above for above in reversed(topology.ancestors(entity)) if not above.startswith("site/")]
    return " › ".join(words.called(above, topology) for above in chain)
