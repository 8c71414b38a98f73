"""What the library says of a rebalance, carried from its own thread to the one that polls."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Literal, NamedTuple

from kafka import ConsumerRebalanceListener
from kafka.structs import TopicPartition

Change = Literal["gained", "losing", "lost"]


class Moved(NamedTuple):
    """Partitions that came, must go, or are gone."""

    change: Change
    partitions: frozenset[TopicPartition]


class HandOver(Exception):
    """Ends a poll of the library so that its caller hears of a rebalance before anything else happens."""


class Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # the library ships no types
    """
    Notes what moved and ends the library's poll.

    The library calls this in its own thread, where nothing may block, while its caller waits in ``poll``. Raising
    makes that poll end at once. Under the cooperative protocol partitions that must go have then been taken from
    the assignment, but nobody else can have them before our next poll joins the group again: until then we are a
    member in good standing, and may flush, save and commit in the caller's thread and in peace.
    """

    def __init__(self) -> None:
        self.moved: deque[Moved] = deque()
        self.closing = False

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Note what came."""
        self._note("gained", assigned)

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Note what must go."""
        self._note("losing", revoked)

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        """Note what somebody else holds by now."""
        self._note("lost", lost)

    def _note(self, change: Change, partitions: Iterable[TopicPartition]) -> None:
        moved = frozenset(partitions)
        if moved and not self.closing:
            self.moved.append(Moved(change, moved))
            raise HandOver
