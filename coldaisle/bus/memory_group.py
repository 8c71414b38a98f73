"""Who of a group in one process holds which partition; the bus's lock guards all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from coldaisle.bus import Partition, Watcher


class Member:
    """What one member of a group holds, and what it should hold."""

    def __init__(self, topics: tuple[str, ...], watcher: Watcher | None) -> None:
        self.topics = topics
        self.watcher = watcher
        self.target: frozenset[Partition] = frozenset()
        self.positions: dict[Partition, int] = {}  # what it holds, and where it goes on
        self.untold: set[Partition] = set()  # held, but its watcher has not been told yet
        self.closed = False

    @property
    def told(self) -> frozenset[Partition]:
        """What it holds to its watcher's knowledge."""
        return frozenset(self.positions.keys() - self.untold)

    @property
    def unsettled(self) -> bool:
        """Whether its watcher must hear something before the next message."""
        return bool(self.untold) or not self.positions.keys() <= self.target


class Group:
    """
    The members of a group and where it goes on.

    A member with a watcher keeps a partition until it has let go of it; one without loses it at once.
    """

    def __init__(self, start: Callable[[Partition], int], commits: bool = True) -> None:
        self._start = start
        self.commits = commits
        self.committed: dict[Partition, int] = {}
        self.members: list[Member] = []

    def join(self, member: Member, partitions: int) -> None:
        """Take ``member`` in and share anew."""
        self.members.append(member)
        self.share(partitions)

    def leave(self, member: Member, partitions: int) -> None:
        """Let ``member`` go and share what it held."""
        self.members.remove(member)
        member.closed = True
        member.target = frozenset()
        self.release(member, tuple(member.positions))
        self.share(partitions)

    def share(self, partitions: int) -> None:
        """Say who should hold what: each topic's partitions go round among the members that read it."""
        targets: dict[Member, set[Partition]] = {member: set() for member in self.members}
        for name in sorted({topic for member in self.members for topic in member.topics}):
            readers = [member for member in self.members if name in member.topics]
            for number in range(partitions):
                targets[readers[number % len(readers)]].add(Partition(name, number))
        for member, target in targets.items():
            member.target = frozenset(target)
            gone = member.positions.keys() - target
            self.release(member, gone if member.watcher is None else gone & member.untold)
        self.hand_out()

    def release(self, member: Member, partitions: Iterable[Partition]) -> None:
        """Take ``partitions`` from ``member``."""
        for partition in list(partitions):
            member.positions.pop(partition, None)
            member.untold.discard(partition)

    def hand_out(self) -> None:
        """Give every member what it should hold and nobody holds any more."""
        held = {partition for member in self.members for partition in member.positions}
        for member in self.members:
            for partition in member.target - held:
                member.positions[partition] = max(self.committed.get(partition, 0), self._start(partition))
                if member.watcher is not None:
                    member.untold.add(partition)
