"""Turns messages into frames and events, and poison into dead letters."""

from __future__ import annotations

from collections.abc import Sequence

from coldaisle.bus import EVENTS, Message
from coldaisle.codec import LINE_PROTOCOL, decode_event
from coldaisle.errors import Permanent
from coldaisle.event import Event
from coldaisle.frame import Block, Frame
from coldaisle.inbound import FrameReader
from coldaisle.line_protocol import Refused
from coldaisle.plausible import refuse_absurd_time
from coldaisle.selfstats import SelfStats
from pipeline.deadletter import DeadLetters


class Reader:
    """Turns messages into frames and events; what cannot be read goes to the dead letters."""

    def __init__(self, dead_letters: DeadLetters, stats: SelfStats) -> None:
        self.dead_letters = dead_letters
        self._stats = stats
        self._frames = FrameReader(stats)

    def read(self, messages: Sequence[Message]) -> tuple[list[Frame | Block], list[Event]]:
        """Return the frames and events of ``messages`` in their order. Raises Permanent on too much poison."""
        frames: list[Frame | Block] = []
        events: list[Event] = []
        for message in messages:
            refused: Sequence[Refused] = ()
            try:
                if message.partition.topic == EVENTS:
                    events.append(read_event(message))
                else:
                    found, refused = self._frames.read(message)
                    frames += found
            except Permanent as error:
                self.dead_letters.put(message, str(error))
            else:
                self.dead_letters.good(key=message.key)
            if refused:
                self.dead_letters.put(*_only(message, refused))
        return frames, events

    def events(self, messages: Sequence[Message]) -> list[tuple[int, Event]]:
        """Return the events of ``messages`` with their offsets; poison is the business of those who keep events."""
        found: list[tuple[int, Event]] = []
        for message in messages:
            try:
                found.append((message.offset, read_event(message)))
            except Permanent:
                self._stats.add("events_ignored_total", reason="unreadable")
        return found


def read_event(message: Message) -> Event:
    """Return the event of ``message``. Raises Permanent where it is malformed or dated absurdly."""
    event = decode_event(message.value)
    try:
        refuse_absurd_time(event.timestamp, message.timestamp)
    except Permanent as error:
        raise Permanent(f"event {event.kind!r:.100}: {error}") from error
    return event


def _only(message: Message, refused: Sequence[Refused]) -> tuple[Message, str]:
    """Return a message of the refused lines alone: the others were taken, and must not come again with a replay."""
    lines = "\n".join(each.text for each in refused) + "\n"
    headers = {**message.headers, "content-type": LINE_PROTOCOL}
    first = refused[0]
    more = f" (and {len(refused) - 1} more lines)" if len(refused) > 1 else ""
    reason = f"line protocol: line {first.number}: {first.reason}{more}; the message's other lines were taken"
    return message._replace(value=lines.encode(), headers=headers), reason
