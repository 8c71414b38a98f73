"""Tells timestamps that can be true from those of no clock at all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from coldaisle.clock import DAY, SECOND
from coldaisle.errors import Permanent
from coldaisle.frame import Frame

EARLIEST_NS = 946_684_800 * SECOND
"""2000-01-01: no telemetry of a GPU is older; 1970 is a clock that was never set, or seconds taken for nanoseconds."""
AHEAD_NS = DAY
"""
Further ahead is nonsense. Less is a clock that is wrong: it has a finding of its own (``clock_skewed``), and its
samples are worth storing.
"""


def refuse_absurd(frame: Frame, received_at: int) -> None:
    """
    Refuse a frame dated before 2000 or more than a day after it was received (Unix ns). Raises Permanent.

    Looks at its first and last sample, since one scrape of one clock is nonsense as a whole or not at all.
    Where ``received_at`` itself is before 2000 (virtual time) nothing is refused.
    """
    times = frame.timestamps
    if len(times):
        latest = received_at + AHEAD_NS
        first, last = times.item(0), times.item(-1)
        # On the way of every frame: two calls less where all is well.
        if not (EARLIEST_NS <= first <= latest and EARLIEST_NS <= last <= latest):
            refuse_absurd_time(first, received_at)
            refuse_absurd_time(last, received_at)


def refuse_absurd_time(timestamp: int, received_at: int) -> None:
    """Refuse one timestamp in the same way."""
    if EARLIEST_NS <= timestamp <= received_at + AHEAD_NS or received_at < EARLIEST_NS:
        return
    raise Permanent(f"is dated {_date(timestamp)}, but came {_date(received_at)}; set the clock of the sender")


def _date(nanoseconds: int) -> str:
    try:
        moment = datetime.fromtimestamp(0, UTC) + timedelta(seconds=nanoseconds // SECOND)
    except OverflowError:
        return f"{nanoseconds // SECOND} s after 1970"
    return moment.strftime("%Y-%m-%d %H:%M")
