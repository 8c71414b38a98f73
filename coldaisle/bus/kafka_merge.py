"""Brings what was fetched from several partitions into the order of time, as far as that is known."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection
from itertools import pairwise
from operator import attrgetter

from coldaisle.bus import Message, Partition

_time = attrgetter("timestamp")


class Merge:
    """
    What was fetched and not yet handed out.

    A reader that has fallen behind catches up in the order of time: were one partition read far ahead of the others,
    what waits in those would look late. The brokers stamp messages as they append them, so that time never goes back
    within a partition; where it does (a topic that keeps the producers' time), that stretch keeps its own order.
    """

    def __init__(self) -> None:
        self._fetched: dict[Partition, list[Message]] = {}
        self._ready: list[Message] = []
        self._next = 0

    @property
    def ready(self) -> bool:
        """Whether something may be handed out now."""
        return self._next < len(self._ready)

    @property
    def waiting(self) -> frozenset[Partition]:
        """The partitions of which something was fetched and is held back."""
        return frozenset(self._fetched)

    def add(self, partition: Partition, messages: list[Message]) -> None:
        """Take what was fetched of ``partition``, in its order."""
        if messages:
            self._fetched.setdefault(partition, []).extend(messages)

    def forget(self, partitions: Collection[Partition]) -> None:
        """Drop what was fetched of ``partitions``."""
        for partition in partitions:
            self._fetched.pop(partition, None)
        if self.ready:
            self._ready = [message for message in self._ready[self._next :] if message.partition not in partitions]
            self._next = 0

    def release(self, behind: Collection[Partition]) -> None:
        """
        Make ready what is no later than what was last fetched of each of the partitions ``behind``.

        Those hold more on the broker; of one of which nothing is here, nothing is known, so that all must wait.
        """
        horizon: int | None = None
        for partition in behind:
            fetched = self._fetched.get(partition)
            if fetched is None:
                return
            last = fetched[-1].timestamp
            horizon = last if horizon is None else min(horizon, last)
        stretches: list[list[Message]] = []
        for partition, fetched in list(self._fetched.items()):
            cut = len(fetched) if horizon is None else bisect_right(fetched, horizon, key=_time)
            if cut == len(fetched):
                del self._fetched[partition]
                stretches.append(fetched)
            elif cut:
                self._fetched[partition] = fetched[cut:]
                stretches.append(fetched[:cut])
        found = [message for stretch in stretches for message in stretch]
        if len(stretches) > 1 and all(_in_order(stretch) for stretch in stretches):
            found.sort(key=_time)
        self._ready = self._ready[self._next :] + found
        self._next = 0

    def take(self, count: int) -> list[Message]:
        """Hand out up to ``count`` of what is ready."""
        found = self._ready[self._next : self._next + count]
        self._next += len(found)
        if not self.ready:
            self._ready, self._next = [], 0
        return found


def _in_order(messages: list[Message]) -> bool:
    return all(earlier <= later for earlier, later in pairwise([message.timestamp for message in messages]))
