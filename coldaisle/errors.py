"""
Errors, by what the caller should do about them.

* ColdaisleError
  * ConfigError       - the operator must change something (a file, a key, an option); do not start
  * Transient         - the same call may succeed later; retry with backoff
    * Backpressure    - the other side asks us to wait ``retry_after_seconds``
  * Permanent         - the same call will always fail; do not retry
"""

from __future__ import annotations


class ColdaisleError(Exception):
    """Any error that Coldaisle raises on purpose."""


class ConfigError(ColdaisleError):
    """
    The operator must change something before this can work.

    The message is one line that names the thing (file, key, field, port) and the remedy; the command
    line prints it as it is and exits with 2.
    """


class Transient(ColdaisleError):
    """The same call may succeed later."""


class Backpressure(Transient):
    """The other side asks us to wait."""

    def __init__(self, message: str, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Permanent(ColdaisleError):
    """The same call will always fail."""
