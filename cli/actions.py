"""The actions of a command that has several: ``coldaisle incidents list`` and their like."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_action(actions: Any, name: str, meaning: str, epilog: str) -> argparse.ArgumentParser:
    """Declare an action that can print JSON; ``meaning`` is one line, ``epilog`` what stands below every help."""
    parser: argparse.ArgumentParser = actions.add_parser(
        name,
        help=meaning,
        description=f"{meaning[0].upper()}{meaning[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    return parser


def add_places(parser: argparse.ArgumentParser) -> None:
    """Let people say where incidents are kept."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--data", type=Path, metavar="DIR", help="the folder with incidents.sqlite")
    where.add_argument("--config", type=Path, metavar="F", help="the configuration that names the folder")
