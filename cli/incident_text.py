"""Incidents as text for a terminal: a table of many, the whole story of one."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence

from coldaisle.clock import DAY, HOUR, MINUTE, SECOND, rfc3339
from coldaisle.incident import Incident
from coldaisle.store import Notification, NotificationState
from coldaisle.topology import kind_of

_SPELT = frozenset({"gpu", "nic", "psu", "pdu", "ups", "crac", "cdu"})
NARROWEST, WIDEST = 80, 120
_INDENT = "  "
# What a terminal would obey instead of show: telemetry's names are not ours.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def table(incidents: Sequence[Incident], total: int, now: int, width: int) -> str:
    """Return one line an incident under a heading, at most ``width`` columns wide."""
    width = min(max(width, NARROWEST), WIDEST)
    short = _distinct([incident.id for incident in incidents])
    rows = [
        (
            incident.id[:short],
            incident.severity.value,
            incident.state.value,
            f"{_roughly(now - incident.started_at)} ago",
            "-" if incident.ended_at is None else _roughly(incident.ended_at - incident.started_at),
            str(len(incident.entities)),
            printable(incident.title),
        )
        for incident in incidents
    ]
    heading = ("ID", "SEVERITY", "STATE", "SINCE", "LASTED", "REACH", "WHAT")
    widths = [max(len(row[column]) for row in (heading, *rows)) for column in range(len(heading) - 1)]
    room = max(width - sum(widths) - 2 * len(widths), 20)
    lines = [
        "  ".join((*(cell.ljust(size) for cell, size in zip(row, widths, strict=False)), _cut(row[-1], room))).rstrip()
        for row in (heading, *rows)
    ]
    if total > len(incidents):
        lines.append(f"{len(incidents)} of {total:,} incidents; --limit shows more, filters fewer")
    return "\n".join(lines)


def story(incident: Incident, notifications: Iterable[Notification], now: int, width: int) -> str:
    """Return the sentence, what to do, why, the reach and the timeline, wrapped to ``width`` columns."""
    width = min(max(width, NARROWEST), WIDEST) - 2
    lines = textwrap.wrap(printable(incident.title), width)
    lines += [_INDENT + part for part in _facts(incident, now)]
    lines += _part("What to do", [incident.recommended_action] if incident.recommended_action else [], width)
    if incident.runbook:
        lines.append(f"{_INDENT}Runbook: {printable(incident.runbook)}")
    lines += _part("Why we believe it", [incident.explanation, *(f"- {reason}" for reason in incident.reasons)], width)
    lines += _part(f"Reach: {reach(incident.entities)}", _listed(incident.entities), width)
    lines += _part(
        "Timeline", [_moment(entry.timestamp, entry.text, entry.actor) for entry in incident.timeline], width
    )
    lines += _part("Notifications", [_delivery(notification) for notification in notifications], width)
    return "\n".join(lines)


def _facts(incident: Incident, now: int) -> list[str]:
    held = incident.ended_at if incident.ended_at is not None else now
    facts = [
        f"{incident.id}   {incident.severity.value}   {incident.state.value}   "
        f"confidence {incident.confidence:.0%}   suspect {printable(incident.suspect)}",
        f"since {rfc3339(incident.started_at)}, said at {rfc3339(incident.opened_at)}, "
        f"{'lasted' if incident.ended_at is not None else 'for'} {duration(max(held - incident.started_at, 0))}",
    ]
    if incident.acknowledgement is not None:
        until = incident.acknowledgement.expires_at
        facts.append(
            f"{printable(incident.acknowledgement.actor)} has it since {rfc3339(incident.acknowledgement.timestamp)}"
            + (f", until {rfc3339(until)}" if until is not None else "")
        )
    if incident.resolved_at is not None and incident.resolve_reason is not None:
        facts.append(f"resolved at {rfc3339(incident.resolved_at)}: {incident.resolve_reason.value}")
    if incident.suppressed_by:
        facts.append(f"quiet: {printable(incident.suppressed_by)}")
    return facts


def reach(entities: Sequence[str]) -> str:
    """Return how many of each kind: ``1 node, 8 gpus``."""
    kinds: dict[str, int] = {}
    for entity in entities:
        kinds[kind_of(entity)] = kinds.get(kind_of(entity), 0) + 1
    return ", ".join(f"{count:,} {_plural(kind, count)}" for kind, count in kinds.items()) or "nothing named"


def _plural(kind: str, count: int) -> str:
    word = kind.upper() if kind in _SPELT else kind
    return word if count == 1 else f"{word}es" if kind.endswith(("s", "ch")) else f"{word}s"


def _listed(entities: Sequence[str], most: int = 40) -> list[str]:
    if not entities:
        return []
    rest = len(entities) - most
    return ["  ".join(printable(entity) for entity in entities[:most]) + (f"  and {rest:,} more" if rest > 0 else "")]


def _moment(timestamp: int, text: str, actor: str) -> str:
    by = f" ({actor})" if actor != "coldaisle" and actor not in text else ""
    return f"{rfc3339(timestamp)}  {text}{by}"


def _delivery(notification: Notification) -> str:
    what = f"{notification.kind} to {notification.receiver}"
    if notification.state is NotificationState.SENT:
        when = rfc3339(notification.sent_at) if notification.sent_at is not None else "sent"
        return f"{when}  {what}: taken" + (f" at try {notification.attempts}" if notification.attempts > 1 else "")
    state = "given up" if notification.state is NotificationState.DEAD else "waiting"
    tried = f" after {notification.attempts} tries" if notification.attempts else ""
    error = f": {notification.last_error}" if notification.last_error else ""
    return f"{rfc3339(notification.created_at)}  {what}: {state}{tried}{error}"


def _part(heading: str, paragraphs: Sequence[str], width: int) -> list[str]:
    if not paragraphs:
        return []
    lines = ["", heading]
    for paragraph in paragraphs:
        hang = "  " if paragraph.startswith("- ") else ""
        lines += textwrap.wrap(
            printable(paragraph),
            width,
            initial_indent=_INDENT,
            subsequent_indent=_INDENT + hang,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines


def duration(nanoseconds: int) -> str:
    """Return a span in its two largest units: ``45 s``, ``3 min``, ``2 h 05 min``, ``3 d 4 h``."""
    if nanoseconds < MINUTE:
        return f"{nanoseconds // SECOND} s"
    if nanoseconds < HOUR:
        return f"{nanoseconds // MINUTE} min"
    if nanoseconds < DAY:
        return f"{nanoseconds // HOUR} h {nanoseconds % HOUR // MINUTE:02d} min"
    return f"{nanoseconds // DAY} d {nanoseconds % DAY // HOUR} h"


def _roughly(nanoseconds: int) -> str:
    whole = max(nanoseconds, 0)
    return duration(whole) if whole < HOUR else f"{whole // HOUR} h" if whole < 2 * DAY else f"{whole // DAY} d"


def _distinct(ids: Sequence[str], least: int = 8) -> int:
    """Return how many letters tell ``ids`` apart."""
    longest = max((len(one) for one in ids), default=least)
    return next((size for size in range(least, longest) if len({one[:size] for one in ids}) == len(ids)), longest)


def printable(text: str) -> str:
    """Return ``text`` on one line, without what a terminal would obey instead of show."""
    return _CONTROL.sub("�", text.replace("\n", " "))


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1].rstrip() + "…"
