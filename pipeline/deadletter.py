"""Puts messages that cannot be read where people find them, and stops when there are too many."""

from __future__ import annotations

from hashlib import sha256

from coldaisle.bus import DEADLETTERS, Message, Producer
from coldaisle.codec import LINE_PROTOCOL
from coldaisle.deadletter import Letter, encode_letter, letter_of
from coldaisle.errors import Permanent
from coldaisle.selfstats import SelfStats

_MOST_SENDERS = 65_536
_FEWEST_OF_A_SENDER = 3  # whose key comes once or twice is no sender: a broken one may invent keys
_FEWEST_WRONG = 3  # one or two broken senders stop nobody, not even where nobody else has been heard yet


class _Sender:
    """What came lately under one key."""

    __slots__ = ("bad", "good")

    def __init__(self) -> None:
        self.good = 0.0
        self.bad = 0.0


class DeadLetters:
    """
    Sends poison to the topic ``deadletters`` with its origin and reason, each counted.

    One or two senders that are broken fill the dead letters and stop nobody. More than ``most_share`` of the
    senders (a sender is a message's key, the node) with mostly poison, three at least, is not bad luck but a
    wrong reader or a change of format everywhere: then, after ``least`` poisoned messages, :meth:`put` raises
    Permanent, so that the topic is not emptied into the dead letters. One for each thread.
    """

    def __init__(
        self, producer: Producer, stats: SelfStats, most_share: float = 0.5, least: int = 100, by: str = ""
    ) -> None:
        """``by`` names the role in its letters."""
        self._producer = producer
        self._stats = stats
        self._most_share = most_share
        self._least = least
        self._by = by
        self._bad = 0
        self._judge_at = least
        self._senders: dict[bytes, _Sender] = {}
        stats.describe("dead_letters_total", "counter", "Messages that could not be read, by topic.")

    def good(self, messages: int = 1, key: bytes = b"") -> None:
        """Take note of messages of the sender ``key`` that could be read."""
        sender = self._senders.get(key)
        if sender is None or sender.good > self._least:
            sender = self._sender(key)
        sender.good += messages

    def put(self, message: Message, reason: str) -> None:
        """Send a message to the dead letters. Raises Permanent when there are too many, Transient."""
        topic = message.partition.topic
        self._send(letter_of(message, reason, self._by), topic)
        self._bad += 1
        sender = self._sender(message.key)
        sender.bad += 1
        if self._bad >= self._judge_at:
            # Counting all senders is slow where there are many; once in so many messages is soon enough.
            self._judge_at = self._bad + max(1, self._least // 10, len(self._senders) // 10)
            self._refuse_if_most_are_wrong(topic, reason)

    def put_line(self, line: bytes, reason: str) -> None:
        """Send a line that a store refuses for good to the dead letters. Raises Transient."""
        place = f"store/{sha256(line).hexdigest()[:16]}"
        headers = {"content-type": LINE_PROTOCOL}
        self._send(Letter(place, reason, line, headers=headers, by=self._by or "store"), "store")

    def flush(self) -> None:
        """Return when every dead letter is durable. Raises Transient."""
        self._producer.flush()

    def _send(self, letter: Letter, topic: str) -> None:
        key, value, headers = encode_letter(letter)
        self._producer.produce(DEADLETTERS, key, value, headers)
        self._stats.add("dead_letters_total", topic=topic)

    def _sender(self, key: bytes) -> _Sender:
        key = key[:256]
        known = self._senders.get(key)
        if known is None:
            if len(self._senders) >= _MOST_SENDERS:
                self._senders.pop(next(iter(self._senders)))
            known = self._senders[key] = _Sender()
            return known
        if known.good + known.bad > self._least:
            # What came long ago counts less and less.
            known.good, known.bad = known.good / 2, known.bad / 2
        return known

    def _refuse_if_most_are_wrong(self, topic: str, reason: str) -> None:
        telling = [each for each in self._senders.values() if each.good + each.bad >= _FEWEST_OF_A_SENDER]
        wrong = sum(each.bad > self._most_share * (each.good + each.bad) for each in telling)
        if wrong >= _FEWEST_WRONG and wrong > self._most_share * len(telling):
            raise Permanent(
                f"{self._bad} messages of {topic!r} cannot be read; {wrong} of {len(telling)} senders send mostly such "
                f"({reason[:300]}); check what writes there, then start again"
            )
