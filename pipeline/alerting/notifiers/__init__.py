"""What the outbox asks of a notifier: one message to one receiver, and an honest word about what went wrong."""

from __future__ import annotations

from typing import Protocol

from coldaisle.store import Notification


class Notifier(Protocol):
    """
    Sends notifications by one means. It never retries: the outbox does.

    Used by one thread at a time.
    """

    def send(self, notification: Notification) -> None:
        """
        Return once the receiver has taken the notification.

        Raises Transient when the same call may succeed later, Backpressure when the receiver says how long
        to wait, Permanent when it will never take it. Sending twice is possible (the answer may get lost):
        the id stays the same over all tries.
        """
        ...

    def close(self) -> None:
        """Let go of connections; safe to call twice."""
        ...
