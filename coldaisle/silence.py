"""A person mutes matching alerts for a time, with a comment."""

from __future__ import annotations

from dataclasses import dataclass

from coldaisle.alert import Alert
from coldaisle.matcher import Matcher, all_match
from coldaisle.topology import kind_of, name_of


@dataclass(frozen=True, slots=True)
class Silence:
    """Alerts that fulfil every matcher are quiet from ``starts_at`` until ``ends_at``; they are never deleted."""

    id: str
    matchers: tuple[Matcher, ...]
    starts_at: int
    ends_at: int
    actor: str
    comment: str

    def mutes(self, alert: Alert, now: int) -> bool:
        """Return whether ``alert`` is quiet at ``now``."""
        return self.starts_at <= now < self.ends_at and all_match(self.matchers, labels_for_matching(alert))


def labels_for_matching(alert: Alert) -> dict[str, str]:
    """Return what matchers see of an alert: its name, severity, entity and the entity's kind."""
    return {
        "alertname": alert.name,
        "severity": alert.severity.value,
        "entity": alert.entity,
        "detector": alert.detector,
        kind_of(alert.entity): name_of(alert.entity),
    }
