"""What the pages and the API ask of the rest of the house."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from coldaisle.clock import Clock
from coldaisle.expected import Expecting
from coldaisle.incident import Incident
from coldaisle.live import LiveView
from coldaisle.selfstats import SelfStats
from coldaisle.store import IncidentStore, MetricStore, Notification
from coldaisle.topology import Topology


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the parts behind the pages work; ``problems`` are sentences with a remedy."""

    ready: bool = True
    problems: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)  # part -> version


Notify = Callable[[Incident, str], Sequence[Notification]]
"""Returns the notifications that a change of ``incident`` (``acknowledged``, ``resolved``, ...) owes its receivers."""


def _nobody(_incident: Incident, _kind: str) -> Sequence[Notification]:
    return ()


def _well() -> Health:
    return Health()


@dataclass(frozen=True, slots=True)
class Backends:
    """
    Everything the pages are drawn from. ``live`` and ``topology`` are called at each refresh and answer at once.

    ``live`` returns None until the first telemetry has come.
    """

    live: Callable[[], LiveView | None]
    topology: Callable[[], Topology]
    incidents: IncidentStore
    metrics: MetricStore
    stats: SelfStats
    clock: Clock
    hall: str = "hall-1"
    health: Callable[[], Health] = _well
    notify: Notify = _nobody
    expecting: Expecting | None = None  # None = nobody foretells, and the pages do not offer it
