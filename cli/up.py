"""``coldaisle up``: all roles in one process against real collectors."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

from cli import logs
from cli.log_options import add_log_options, with_log_options
from cli.service import Stop
from cli.settings import CollectorEntry, Settings, collectors, read, secrets_of, topology_of
from cli.sources import Sources
from coldaisle.clock import SystemClock
from coldaisle.codec import encode_event, encode_frame
from coldaisle.selfstats import SelfStats
from collectors.shipper import Shipper

_LOG = logging.getLogger("coldaisle.up")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--config", type=Path, help="settings (see config/example.toml); without: this machine alone")
    parser.add_argument("--data", type=Path, help="folder for samples and incidents (default: storage.folder, `data`)")
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1; any other needs a token)")
    parser.add_argument("--port", type=int, help="port of the page and the API (0 = any free one)")
    add_log_options(parser)


def with_options(settings: Settings, args: argparse.Namespace) -> Settings:
    """Return ``settings`` with what the command line overrides. Raises ConfigError."""
    from coldaisle.config import parse
    from dashboard.settings import ServeConfig

    serve: dict[str, Any] = settings.serve.model_dump()
    serve |= {key: value for key in ("host", "port") if (value := getattr(args, key)) is not None}
    changes: dict[str, Any] = {"serve": parse(serve, ServeConfig, "options")}
    if args.data is not None:
        changes["storage"] = settings.storage.model_copy(update={"folder": args.data})
    return settings.model_copy(update=changes)


def run(args: argparse.Namespace) -> int:
    """Run until SIGINT or SIGTERM; 0 after an orderly stop, 1 when a role failed."""
    settings = with_options(with_log_options(read(args.config), args), args)
    logs.configure(settings.log, "up", secrets_of(settings), args.verbose)
    if args.config is None:
        settings = settings.model_copy(update={"collectors": (CollectorEntry(kind="host"),)})
    clock, stop = SystemClock(), Stop()
    configured = collectors(settings, str(args.config or "defaults"))
    topology = topology_of(settings)
    stop.on_signals()
    from cli.house import house  # only now: a mistake in the configuration is told at once

    with house(settings, clock, topology, stop) as running:
        for repair in running.repaired:
            print(f"coldaisle: repaired: {logs.redacted(repair)}", file=sys.stderr)
        stats: SelfStats = running.stats
        shipper = Shipper(running.bus.producer(), encode_frame, encode_event, clock, stats)
        sources = Sources(configured, shipper.ship, clock, stats, settings.node, stop)
        shipper.start()
        sources.start()
        try:
            watching = ", ".join(sources.names) or "nothing yet: the configuration has no [[collector]]"
            print(f"Coldaisle watches {watching}: {running.address}", flush=True)
            stop.wait()
        finally:
            sources.stop()
            shipper.stop()
    if stop.failed:
        logs.say(stop.failure, logging.ERROR)
        return 1
    return 0
