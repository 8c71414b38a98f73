"""The text that a search looks through, and the words that it looks for."""

from __future__ import annotations

from coldaisle.incident import Incident


def search_text(incident: Incident) -> str:
    """Return title, explanation and entities in small letters, one a line."""
    parts = (incident.title, incident.explanation, incident.suspect, *incident.entities)
    return "\n".join(parts).lower().replace("\0", " ")


def words_of(text: str | None) -> list[str]:
    """Return what a text asks for: every word must occur, in any order, also inside a longer one."""
    return (text or "").lower().replace("\0", " ").split()
