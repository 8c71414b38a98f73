"""A reader that has fallen behind catches up in the order of time."""

from __future__ import annotations

from coldaisle.bus import FRAMES
from coldaisle.bus.memory import MemoryBus
from coldaisle.clock import ManualClock


def test_no_partition_is_read_ahead_of_the_others() -> None:
    clock = ManualClock(1_000)
    bus = MemoryBus(clock, partitions=4)
    reader, writer = bus.consumer([FRAMES], "score"), bus.producer()
    for step in range(50):
        clock.advance(1)
        # One node speaks ten times as much as the others, so its partition holds most of what waits.
        for copy in range(10):
            writer.produce(FRAMES, b"n1", f"{step}/{copy}".encode())
        for node in range(2, 9):
            writer.produce(FRAMES, f"n{node}".encode(), b"")

    times: list[int] = []
    while messages := reader.poll(37, 0.0):
        times += [message.timestamp for message in messages]

    assert len(times) == 50 * 17
    assert times == sorted(times)
    assert reader.lag() == 0
