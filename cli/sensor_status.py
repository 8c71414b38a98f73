"""Statuses of sensors as events: one when a sensor is first seen unwell, one at each change."""

from __future__ import annotations

import numpy as np

from cli.history_samples import History
from cli.sensor_names import slug
from coldaisle.event import Event

# The words of `ipmitool sdr` (its source: lib/ipmi_sdr.c, ipmi_sdr_get_thresh_status).
_WORDS = {
    "ok": "ok",
    "nc": "non_critical",
    "cr": "critical",
    "nr": "non_recoverable",
    "ns": "no_reading",
}


def status_word(text: str) -> str:
    """Return a status in words: ``cr`` is ``critical``; what is not known keeps its own."""
    plain = text.strip().lower()
    return _WORDS.get(plain) or slug(plain)


def status_events(history: History) -> list[Event]:
    """
    Return an event of kind ``status`` for each change, sorted by time; and for a first status that is not ok.

    Rows without a status say nothing. ``attributes`` hold ``value``, ``unit`` and ``previous`` (empty for
    the first).
    """
    has = np.flatnonzero(history.status >= 0)
    if not len(has):
        return []
    words = [status_word(text) for text in history.statuses]
    # Two spellings of one status are one.
    meaning = np.array([words.index(word) for word in words], np.int16)
    order = has[np.argsort(history.index[has], kind="stable")]
    series, status = history.index[order], meaning[history.status[order]]
    ok = words.index("ok") if "ok" in words else -1
    first = np.concatenate(([True], series[1:] != series[:-1]))
    changed = ~first & np.concatenate(([False], status[1:] != status[:-1]))
    events = [
        _event(history, int(order[at]), words[status[at]], "" if first[at] else words[status[at - 1]])
        for at in np.flatnonzero(changed | (first & (status != ok))).tolist()
    ]
    return sorted(events, key=lambda event: event.timestamp)


def _event(history: History, row: int, code: str, previous: str) -> Event:
    number = int(history.index[row])
    about = history.layout.series[number].labels
    named = dict(about)
    unit = history.units[number]
    value = float(history.values[row])
    reading = "without a reading" if np.isnan(value) else f"at {value:g} {unit}".rstrip()
    what = f"{named['sensor']} of node {named['node']}"
    plain = code.replace("_", "-")
    if previous:
        text = f"{what} turned {plain} {reading}; it was {previous.replace('_', '-')}."
    else:
        text = f"{what} is {plain} {reading} when first seen."
    attributes = {"value": "" if np.isnan(value) else f"{value:g}", "unit": unit, "previous": previous}
    return Event("status", code, int(history.times[row]), about, text, attributes)
