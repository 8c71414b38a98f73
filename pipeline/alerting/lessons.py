"""Puts what people teach on the bus, where whoever scores hears it in its time."""

from __future__ import annotations

from coldaisle.bus import EVENTS, Producer
from coldaisle.codec import encode_event
from coldaisle.event import Event


class Lessons:
    """Carries lessons to the topic ``events``."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer

    def __call__(self, event: Event) -> None:
        """Return once the bus has it. Raises Transient."""
        self._producer.produce(EVENTS, (event.label("node") or "").encode(), encode_event(event))
        self._producer.flush()
