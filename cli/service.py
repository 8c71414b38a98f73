"""Runs parts side by side: starts what consumes before what produces, and stops in the opposite order."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from time import monotonic
from types import FrameType, TracebackType
from typing import Self

from coldaisle.errors import ColdaisleError, ConfigError, Transient

_LOG = logging.getLogger("coldaisle.service")
_DRAIN_SECONDS = 2.0
"""How long a worker that is told to stop may still work off what waits for it; three of them stop in ten seconds."""


def _nobody(_reason: str) -> None:
    """Nobody asked to be told."""


class Worker:
    """
    A thread that calls ``step`` until it is told to stop.

    Then it works off what ``waiting`` still counts, and calls ``last``. A Transient error is logged once and
    the step tried again after a pause; any other error ends the whole service, since a role that silently
    stopped is worse than one that says why.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], object],
        stop: Stop,
        last: Callable[[], object] | None = None,
        waiting: Callable[[], int] | None = None,
        troubled: Callable[[str], object] | None = None,
    ) -> None:
        """``troubled`` is told why the step has trouble, and an empty word once it works again."""
        self._step, self._stop, self._last, self._waiting = step, stop, last, waiting
        self._troubled = troubled or _nobody
        self._leaving = threading.Event()
        self._leaves_by = 0.0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaves_by = monotonic() + _DRAIN_SECONDS
        self._leaving.set()
        self._thread.join(timeout=10.0)
        if self._thread.is_alive():
            _LOG.warning("%s did not stop within 10 s", self._thread.name)
        elif self._last is not None and not self._stop.failed:
            self._last()

    def _run(self) -> None:
        troubled = False
        while not self._leaving.is_set() or self._something_waits():
            try:
                self._step()
                if troubled:
                    troubled = False
                    self._troubled("")
                    _LOG.warning("%s works again", self._thread.name)
            except Transient as error:
                if not troubled:
                    troubled = True
                    _LOG.warning("%s has trouble and tries again: %s", self._thread.name, error)
                self._troubled(str(error))
                if self._leaving.wait(getattr(error, "retry_after_seconds", 1.0)):
                    return
            except ColdaisleError as error:
                self._stop.fail(f"{self._thread.name}: {error}", 2 if isinstance(error, ConfigError) else 1)
                return
            except Exception as error:
                # Not ours: a defect. The trace goes to the log, and the process ends rather than limp.
                _LOG.exception("%s failed", self._thread.name)
                self._stop.fail(f"{self._thread.name} failed: {error!r}; the log has the trace")
                return

    def _something_waits(self) -> bool:
        left = 0 if self._waiting is None or self._stop.failed else self._waiting()
        if left and monotonic() >= self._leaves_by:
            _LOG.warning("%s left %d messages behind", self._thread.name, left)
            return False
        return left > 0


class Stop:
    """Tells when to stop, and whether something failed."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.failure = ""
        self.exit_code = 0

    @property
    def failed(self) -> bool:
        """Whether a worker ended with an error."""
        return bool(self.failure)

    def ask(self) -> None:
        """Stop in order."""
        self._event.set()

    def fail(self, reason: str, exit_code: int = 1) -> None:
        """Stop because of ``reason``; the first one counts."""
        if not self.failure:
            self.failure, self.exit_code = reason, exit_code
        self._event.set()

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait; return whether it is time to stop."""
        return self._event.wait(timeout_seconds)

    def on_signals(self) -> None:
        """Stop in order on SIGINT and SIGTERM. Only from the main thread."""

        def asked(_number: int, _frame: FrameType | None) -> None:
            self.ask()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, asked)
