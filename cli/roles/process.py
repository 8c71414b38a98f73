"""One role as a process: it waits for its servers, says what it lacks, and stops in order."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from cli.health_port import Readiness
from cli.lag import Behind, LagMeter
from cli.service import Stop, Worker
from cli.settings import Configured, Settings
from coldaisle.clock import Clock
from coldaisle.errors import ConfigError, Permanent, Transient
from coldaisle.selfstats import SelfStats
from coldaisle.topology import Topology

_LOG = logging.getLogger("coldaisle.run")
_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 5.0
T = TypeVar("T")


class Asked(Exception):
    """The process was asked to stop while it waited."""


@dataclass(frozen=True)
class Process:
    """What every role is given."""

    role: str
    settings: Settings
    configured: tuple[Configured, ...]
    topology: Topology
    clock: Clock
    stats: SelfStats
    stop: Stop
    readiness: Readiness

    def wait_for(self, part: str, open_it: Callable[[], T]) -> T:
        """
        Return what ``open_it`` opens, trying again while it raises Transient; each new reason is logged once.

        Not at the first try: a broker that refuses a login may merely hang up before it says why.

        Raises ConfigError where waiting would not help, Asked when the process is to stop.
        """
        pause, told, first = _FIRST_WAIT_SECONDS, "", True
        while True:
            try:
                opened = open_it()
            except Transient as error:
                reason = str(error)
                self.readiness.lacks(part, reason)
                if reason != told and not first:
                    _LOG.warning("%s waits for %s: %s", self.role, part, reason)
                    told = reason
            except Permanent as error:
                raise ConfigError(f"{error}; `coldaisle doctor` says more") from error
            else:
                self.readiness.has(part)
                if told:
                    _LOG.warning("%s has %s now", self.role, part)
                return opened
            if self.stop.wait(pause):
                raise Asked
            pause = min(2 * pause, _LONGEST_WAIT_SECONDS)
            first = False

    def worker(self, name: str, step: Callable[[], object], last: Callable[[], object] | None = None) -> Worker:
        """Return a worker whose trouble is shown at ``/readyz`` and whose last words may fail: they come again."""

        def troubled(reason: str) -> None:
            if reason:
                self.readiness.lacks(name, reason)
            else:
                self.readiness.has(name)

        def last_words() -> None:
            if last is None:
                return
            try:
                last()
            except Transient as error:
                _LOG.warning("%s could not finish (%s); what was not committed is read again", name, error)

        return Worker(name, step, self.stop, last_words, troubled=troubled)

    def meter(self, behind: Behind, group: str) -> LagMeter:
        """Return what tells how far behind a consumer is, and at ``/readyz`` when Kafka does not answer it."""
        lost: list[str] = []

        def away(reason: str) -> None:
            if reason:
                self.readiness.lacks("kafka", reason)
            else:
                self.readiness.has("kafka")
            if bool(reason) != bool(lost):
                _LOG.warning("%s %s", self.role, f"lost kafka: {reason}" if reason else "has kafka again")
                lost[:] = [reason] if reason else []

        return LagMeter(behind, group, self.stats, away)
