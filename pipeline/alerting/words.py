"""Plain words for numbers, names and times."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from coldaisle.clock import DAY, HOUR, MINUTE, SECOND
from coldaisle.topology import kind_of, name_of

_SAY = {
    "gpu": "GPU", "nic": "NIC", "psu": "power supply", "pdu": "PDU", "ups": "UPS", "crac": "cooling unit",
    "cdu": "coolant unit",
}  # fmt: skip
_PLURAL = {"power supply": "power supplies", "switch": "switches", "UPS": "UPSs"}
_ORDER = ("site", "row", "ups", "pdu", "crac", "cdu", "switch", "rack", "job", "node", "gpu", "nic", "port", "psu")


def kind_word(kind: str, count: int = 1) -> str:
    """Return ``GPU`` or ``GPUs``."""
    word = _SAY.get(kind, kind)
    return word if count == 1 else _PLURAL.get(word, word + "s")


def called(entity: str) -> str:
    """Return an entity as people say it: ``node n017``, ``cooling unit crac-2``; ``rack-12`` stands alone."""
    kind, name = kind_of(entity), name_of(entity)
    if entity == "site/site":
        return "the site"
    if kind in ("gpu", "nic", "port", "psu") and ":" in name:
        node, _, part = name.partition(":")
        return f"{kind_word(kind)} {part} of node {node}"
    if name.lower().startswith(kind) and kind not in ("crac", "cdu"):
        return name
    return f"{kind_word(kind)} {name}"


def names(entities: Sequence[str], most: int = 3) -> str:
    """Return at most ``most`` names and how many there are beside them."""
    ordered = sorted(entities[:1000], key=natural)
    shown = [name_of(one) or one for one in ordered[:most]]
    rest = len(entities) - len(shown)
    if rest > 0:
        return f"{', '.join(shown)} and {rest:,} more"
    if len(shown) < 2:
        return "".join(shown)
    return f"{', '.join(shown[:-1])} and {shown[-1]}"


def natural(entity: str) -> list[tuple[int, str]]:
    """Return a key that sorts n2 before n10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", entity)]


def number(count: int, noun: str, plural: str = "") -> str:
    """Return ``1 alert`` or ``1,689 alerts``."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def counts(entities: Iterable[str]) -> str:
    """Return how many of each kind, the large things first: ``1 rack, 8 nodes and 64 GPUs``."""
    found = Counter(kind_of(one) for one in entities)
    parts = [f"{found[kind]:,} {kind_word(kind, found[kind])}" for kind in _ORDER if found[kind]]
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def duration(nanoseconds: int) -> str:
    """Return a span in the unit a person would choose: ``40 s``, ``4 min``, ``3.5 h``, ``2 days``."""
    if nanoseconds < 2 * MINUTE:
        return f"{max(0, round(nanoseconds / SECOND))} s"
    if nanoseconds < 2 * HOUR:
        return f"{round(nanoseconds / MINUTE)} min"
    if nanoseconds < 2 * DAY:
        return f"{nanoseconds / HOUR:.1f} h".replace(".0 h", " h")
    return f"{nanoseconds / DAY:.1f} days".replace(".0 days", " days")


def at(timestamp: int) -> str:
    """Return the time of day in UTC, with its date: ``2026-11-22 03:12:05 UTC``."""
    return datetime.fromtimestamp(timestamp // SECOND, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def sentence(text: str) -> str:
    """Return ``text`` with a capital first letter and a stop at its end; names keep their case."""
    text = text.strip()
    if not text:
        return text
    first = text.split(" ", 1)[0]
    if first.isalpha() and first.islower():
        text = text[0].upper() + text[1:]
    return text if text[-1] in ".!?" else text + "."


def capital(text: str) -> str:
    """Return ``text`` beginning with a capital, unless it begins with a name."""
    return sentence(text).removesuffix(".") if text else text
