"""The options of commands that run for long and log."""

from __future__ import annotations

import argparse
from typing import Any

from cli.logs import LogConfig
from cli.settings import Settings
from coldaisle.config import parse


def add_log_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--log-format", choices=("text", "json"), help="form of the log (default: log.format, text)")
    parser.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), help="how much (default: log.level, warning)"
    )


def with_log_options(settings: Settings, args: argparse.Namespace) -> Settings:
    """Return ``settings`` with what the command line overrides."""
    log: dict[str, Any] = settings.log.model_dump()
    log |= {key: value for key in ("format", "level") if (value := getattr(args, f"log_{key}")) is not None}
    return settings.model_copy(update={"log": parse(log, LogConfig, "options")})
