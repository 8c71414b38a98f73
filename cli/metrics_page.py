"""Writes ``docs/metrics.md`` from the catalogue."""

from __future__ import annotations

import math
import sys

from coldaisle.catalogue import CATALOGUE, Harm

_HARM = {Harm.HIGH: "high", Harm.LOW: "low", Harm.BOTH: "both"}
_HEAD = """# Metrics

Generated from `coldaisle/catalogue.py` by `python -m cli.metrics_page > docs/metrics.md`;
a test fails when it is stale.

*Moved by* says what a metric may be compared with: `load` with siblings under the same work, `steady` with its own
past and its siblings, `event` (errors) and `state` (flags, settings) by rules. A metric that is not listed here is
stored and scored all the same; only its harm and range are unknown.

| metric | unit | kind | of | hurts when | moved by | range | read from | meaning |
|---|---|---|---|---|---|---|---|---|
"""


def page() -> str:
    """Return the page."""
    rows = [
        f"| `{row.name}` | {row.unit} | {row.kind.value} | {row.entity} | {_HARM[row.harm]} | {row.drive.value} "
        f"| {_bound(row.low)} … {_bound(row.high)} | {row.vendor} | {row.meaning} |"
        for row in CATALOGUE.values()
    ]
    return _HEAD + "\n".join(rows) + "\n"


def _bound(value: float) -> str:
    return "∞" if math.isinf(value) else f"{value:g}"


if __name__ == "__main__":
    sys.stdout.write(page())
