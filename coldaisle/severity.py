"""What a human must do about something."""

from __future__ import annotations

from enum import StrEnum


class Severity(StrEnum):
    """``page``: now, wake someone. ``ticket``: in working hours. ``info``: nothing, it is context."""

    PAGE = "page"
    TICKET = "ticket"
    INFO = "info"

    @property
    def rank(self) -> int:
        """Higher is worse."""
        return {"info": 0, "ticket": 1, "page": 2}[self.value]
