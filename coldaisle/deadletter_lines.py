"""Turns lines that a store refused back into the frames and events that they were."""

from __future__ import annotations

import math

from coldaisle.bus import EVENTS, FRAMES
from coldaisle.codec import encode_event, encode_frame
from coldaisle.errors import Permanent
from coldaisle.frame import Frame, Sample
from coldaisle.line_protocol import parse_line
from coldaisle.series import Series
from coldaisle.store.influx_lines import ATTRIBUTES, EVENT, TEXT, UNREAD, VALUE, decode, event_from, labels_from

_COLLECTOR = "replay"


def messages_of(lines: bytes) -> list[tuple[str, bytes, bytes]]:
    """Return topic, key and value for each of ``lines``, as the store writes them. Raises Permanent."""
    found: list[tuple[str, bytes, bytes]] = []
    for text in lines.decode("utf-8", "replace").splitlines():
        try:
            found.append(_message_of(text))
        except (ValueError, KeyError) as error:
            raise Permanent(f"the line {text[:100]!r} cannot be read: {error}") from error
    return found


def _message_of(text: str) -> tuple[str, bytes, bytes]:
    measurement, tags, fields, timestamp = parse_line(text)
    if measurement == EVENT and TEXT in fields:
        event = event_from(tags, timestamp, str(fields[TEXT]), str(fields.get(ATTRIBUTES, "{}")))
        return EVENTS, (event.label("node") or "").encode(), encode_event(event)
    series = Series(decode(measurement), labels_from(tags))
    value = math.nan if UNREAD in fields else float(fields[VALUE])
    node = series.label("node") or ""
    return FRAMES, node.encode(), encode_frame(Frame.of(_COLLECTOR, node, [Sample(series, timestamp, value)]))
