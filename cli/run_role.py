"""``coldaisle run ROLE``: one role as a process of its own, for many machines."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol, cast

from cli import logs
from cli.health_port import PORTS, Readiness, health_port
from cli.log_options import add_log_options, with_log_options
from cli.roles.process import Asked, Process
from cli.service import Stop
from cli.settings import Settings, collectors, read, secrets_of, topology_of
from coldaisle.clock import SystemClock
from coldaisle.errors import ConfigError
from coldaisle.selfstats import SelfStats

ROLES = ("collect", "store", "score", "alert", "serve")
_STOPS_WITHIN_SECONDS = 9.5
"""A stop that hangs ends the process then: what was not committed comes again, and ten seconds were promised."""
_LOG = logging.getLogger("coldaisle.run")
_EPILOG = """\
Roles share nothing but their servers, so that each may run several times and be started in any order.
docs/operating.md says more.

exit codes:
  0  stopped in order by SIGINT or SIGTERM
  1  the role failed while it ran; the log says why
  2  the configuration, a password or a topic is wrong; one line says what and how to mend it
"""


class Role(Protocol):
    """What a module of a role offers."""

    def begin(self, process: Process, stack: ExitStack) -> str:
        """Start it in ``stack``; return what runs, in words."""
        ...


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = _EPILOG
    parser.add_argument("role", choices=ROLES, help="what this process does")
    parser.add_argument("--config", type=Path, help="settings (see config/example.toml)")
    parser.add_argument("--health-port", type=int, metavar="N", help="port of /healthz, /readyz and /metrics (0 = any)")
    add_log_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run until SIGINT or SIGTERM; return the exit code. Raises ConfigError."""
    settings = with_log_options(read(args.config), args)
    logs.configure(settings.log, args.role, secrets_of(settings), args.verbose)
    if settings.bus.kind != "kafka":
        raise ConfigError(
            'bus.kind is "memory", which ends with its process: set [bus] kind = "kafka", or run `coldaisle up`'
        )
    process = Process(
        role=args.role,
        settings=settings,
        configured=tuple(collectors(settings, str(args.config or "defaults"))),
        topology=topology_of(settings),
        clock=SystemClock(),
        stats=SelfStats(),
        stop=Stop(),
        readiness=Readiness(args.role),
    )
    process.stop.on_signals()
    guard = threading.Timer(_STOPS_WITHIN_SECONDS, _give_up, (args.role,))
    guard.daemon = True
    try:
        with ExitStack() as stack:
            stack.callback(guard.cancel)
            _serve(process, stack, _port_of(settings, args))
            guard.start()  # from here on it stops
    except Asked:
        return 0
    if process.stop.failed:
        logs.say(process.stop.failure, logging.ERROR)
    return process.stop.exit_code


def _serve(process: Process, stack: ExitStack, port: int) -> None:
    """Begin the role, say so, and wait until it is time to stop."""
    health = stack.enter_context(health_port(process.settings.health.host, port, process.readiness, process.stats))
    _LOG.info("%s answers at %s", process.role, health)
    role = cast("Role", importlib.import_module(f"cli.roles.{process.role}"))
    doing = role.begin(process, stack)
    process.readiness.has("start")
    logs.say(f"Coldaisle {process.role}: {doing}; health at {health}")
    process.stop.wait()
    process.readiness.lacks("stop", "stopping")


def _port_of(settings: Settings, args: argparse.Namespace) -> int:
    if args.health_port is not None:
        return int(args.health_port)
    return PORTS[args.role] if settings.health.port == "auto" else settings.health.port


def _give_up(role: str) -> None:
    _LOG.error("%s did not stop within %g s; what was not committed is read again", role, _STOPS_WITHIN_SECONDS)
    os._exit(1)
