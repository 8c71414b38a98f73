"""Puts messages that cannot be read where people find them, and stops when there are too many."""

from __future__ import annotations

from coldaisle.bus import DEADLETTERS, Message, Producer
from coldaisle.errors import Permanent
from coldaisle.selfstats import SelfStats


class DeadLetters:
    """
    Sends poison to the topic ``deadletters`` with its origin and reason, each counted.

    More than ``most_share`` of poison among the last messages is not bad luck but a wrong producer or a
    wrong reader: then :meth:`put` raises Permanent, so that the topic is not emptied into the dead letters.
    """

    def __init__(self, producer: Producer, stats: SelfStats, most_share: float = 0.5, least: int = 100) -> None:
        self._producer = producer
        self._stats = stats
        self._most_share = most_share
        self._least = least
        self._good = 0.0
        self._bad = 0.0
        stats.describe("dead_letters_total", "counter", "Messages that could not be read, by topic.")

    def good(self, messages: int = 1) -> None:
        """Take note of messages that could be read."""
        self._good += messages
        self._fade()

    def put(self, message: Message, reason: str) -> None:
        """Send a message to the dead letters. Raises Permanent when there are too many, Transient."""
        origin = f"{message.partition.topic}/{message.partition.number}/{message.offset}"
        headers = {**message.headers, "origin": origin, "reason": reason}
        self._producer.produce(DEADLETTERS, message.key, message.value, headers)
        self._stats.add("dead_letters_total", topic=message.partition.topic)
        self._bad += 1
        if self._bad >= self._least and self._bad > self._most_share * (self._bad + self._good):
            raise Permanent(
                f"{self._bad:.0f} of the last {self._bad + self._good:.0f} messages of {message.partition.topic!r} "
                f"cannot be read ({reason}); check what writes there, then start again"
            )
        self._fade()

    def flush(self) -> None:
        """Return when every dead letter is durable. Raises Transient."""
        self._producer.flush()

    def _fade(self) -> None:
        if self._good + self._bad > 100 * self._least:
            self._good, self._bad = self._good / 2, self._bad / 2
