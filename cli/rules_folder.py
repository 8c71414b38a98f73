"""Finds the rules that travel with the programme."""

from __future__ import annotations

from pathlib import Path

from coldaisle.errors import ConfigError


def shipped_config() -> Path:
    """Return the folder ``config``: inside the installed package, or beside it in a checkout."""
    here = Path(__file__).resolve().parent
    for candidate in (here / "config", here.parent / "config"):
        if (candidate / "rules").is_dir():
            return candidate
    raise ConfigError(f"{here}: the rules that belong to Coldaisle are missing; install it again")


def rules_folder(configured: Path | None) -> Path:
    """Return the folder of rules to use. Raises ConfigError when a configured one is not there."""
    if configured is None:
        return shipped_config() / "rules"
    if not configured.is_dir():
        raise ConfigError(f"{configured}: no such folder of rules; leave `rules` out to use the shipped ones")
    return configured
