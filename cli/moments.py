"""Times and spans as people type them: ``2h``, ``3d``, ``2026-11-22T03:00:00Z``."""

from __future__ import annotations

import re

from coldaisle.clock import DAY, HOUR, MINUTE, SECOND, parse_rfc3339
from coldaisle.errors import ConfigError

_UNITS = {"s": SECOND, "m": MINUTE, "min": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w)", re.ASCII)
_LONGEST = 400 * 365 * DAY


def span(text: str, option: str) -> int:
    """Return nanoseconds of ``90s``, ``15m``, ``2h``, ``3d``, ``1w``. Raises ConfigError that names ``option``."""
    hit = _SPAN.fullmatch(text.strip())
    if hit is None or float(hit[1]) * _UNITS[hit[2]] > _LONGEST:
        raise ConfigError(f"{option} {text!r} is not a span: write 90s, 15m, 2h, 3d or 1w")
    return round(float(hit[1]) * _UNITS[hit[2]])


def moment(text: str, now: int, option: str) -> int:
    """Return Unix nanoseconds of a span before ``now`` or of an RFC 3339 time. Raises ConfigError naming ``option``."""
    if _SPAN.fullmatch(text.strip()):
        return now - span(text, option)
    try:
        return parse_rfc3339(text.strip())
    except (ValueError, OverflowError) as error:
        raise ConfigError(
            f"{option} {text!r} is not a time: write 2h (ago), 3d, 2026-11-22 or 2026-11-22T03:00:00Z"
        ) from error
