"""Reads the dead letters of a bus, sends them again, and notes which have been dealt with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from time import monotonic

from coldaisle.bus import DEADLETTERS, Bus, Message, Producer
from coldaisle.deadletter import Letter, Settled, decode_letter, encode_settled
from coldaisle.deadletter_lines import messages_of
from coldaisle.errors import Permanent, Transient

REPLAYED, DROPPED = "replayed", "dropped"
_POLL_MESSAGES = 500
_POLL_SECONDS = 0.5
_PATIENCE_SECONDS = 30.0


@dataclass(slots=True)
class Found:
    """A dead letter as it lies on the bus: who could not use it, since when, and whether it is dealt with."""

    letter: Letter  # its value is empty where it was not asked for
    length: int  # bytes of the original
    at: int  # ns, when it was put there last
    by: list[str] = field(default_factory=list)
    copies: int = 0
    settled: Settled | None = None


@dataclass(slots=True)
class Box:
    """Every dead letter by id, the oldest first, and what could not even be read as one."""

    letters: dict[str, Found] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)

    def waiting(self) -> list[Found]:
        """Return those nobody has dealt with."""
        return [found for found in self.letters.values() if found.settled is None]


def read_box(bus: Bus, wanted: Callable[[str], bool] = lambda _: False) -> Box:
    """
    Return every dead letter; only of ``wanted`` ids with their bytes, so that a full topic fits in memory.

    A letter that a role puts there again after a crash, or that two roles put there, is one. What was settled
    stays settled, but for a line that a store refuses again after it was replayed. Raises Transient while the
    bus is away, Permanent where there is no such topic.
    """
    box = Box()
    marked: dict[str, Settled] = {}
    for message in _all(bus):
        try:
            said = decode_letter(message)
        except Permanent as error:
            box.unreadable.append(str(error))
            continue
        if isinstance(said, Settled):
            marked[said.id] = said
            continue
        length = len(said.value) if said.length is None else said.length
        if not wanted(said.id):
            said = replace(said, value=b"")
        found = box.letters.setdefault(said.id, Found(said, length, message.timestamp))
        settled = marked.get(said.id)
        if settled is not None and settled.how == REPLAYED and not said.topic:
            del marked[said.id]
        found.letter, found.at, found.copies = said, max(found.at, message.timestamp), found.copies + 1
        if said.by and said.by not in found.by:
            found.by.append(said.by)
    for name, settled in marked.items():
        if name in box.letters:
            box.letters[name].settled = settled
    box.letters = dict(sorted(box.letters.items(), key=lambda item: item[1].at))
    return box


def replay(producer: Producer, letter: Letter, note: str = "") -> int:
    """
    Send the original again to where it came from, then note that it was; return how many messages were sent.

    A line that a store refused is sent as the frame or event that it was. Sent twice does no harm. Raises
    Permanent where the original is not here as a whole, Transient while the bus is away.
    """
    if not letter.whole:
        raise Permanent(
            f"{letter.id}: only the first {len(letter.value):,} of {letter.length:,} bytes are kept; it cannot be sent "
            "again: let its sender send less at once, then drop it"
        )
    if letter.topic:
        sent = [(letter.topic, letter.key, letter.value, dict(letter.headers))]
    else:
        sent = [(topic, key, value, {}) for topic, key, value in messages_of(letter.value)]
    for topic, key, value, headers in sent:
        producer.produce(topic, key, value, headers)
    # Flushed first: a crash in between sends it twice, never not at all.
    producer.flush()
    settle(producer, Settled(letter.id, REPLAYED, note))
    return len(sent)


def settle(producer: Producer, settled: Settled) -> None:
    """Note that a letter is dealt with. Raises Transient."""
    key, value, headers = encode_settled(settled)
    producer.produce(DEADLETTERS, key, value, headers)
    producer.flush()


def _all(bus: Bus) -> Iterator[Message]:
    """Yield every message of the topic up to where it ends now."""
    reader = bus.reader((DEADLETTERS,))
    try:
        until = monotonic() + _PATIENCE_SECONDS
        while True:
            messages = reader.poll(_POLL_MESSAGES, _POLL_SECONDS)
            yield from messages
            # Asked after a poll: before it, a consumer need not know its partitions.
            behind = reader.behind()
            if behind and not any(behind.values()):
                return
            if messages:
                until = monotonic() + _PATIENCE_SECONDS
            elif monotonic() > until:
                raise Transient(f"the bus gave no message of {DEADLETTERS!r} for {_PATIENCE_SECONDS:.0f} s; try again")
    finally:
        reader.close()
