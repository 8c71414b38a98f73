"""A discrete happening: an Xid, a link flap, a sensor that turned critical."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from coldaisle.series import Labels


@dataclass(frozen=True, slots=True)
class Event:
    """
    Something that happened at an instant. Never squeezed into a gauge.

    ``kind`` is the family (``xid``, ``status``, ``link``, ``job``, ``power``), ``code`` what exactly
    (``79``, ``critical``, ``down``, ``start``), ``labels`` of what.
    """

    kind: str
    code: str
    timestamp: int
    labels: Labels
    text: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)

    def label(self, name: str) -> str | None:
        """Return the value of label ``name``, or None."""
        return dict(self.labels).get(name)
