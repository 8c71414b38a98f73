"""The parts of an incident's page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import tzinfo
from typing import Any
from urllib.parse import urlencode

import dash_mantine_components as dmc
from dash import dcc, html

from coldaisle.alert import AlertState
from coldaisle.incident import Incident, IncidentState
from coldaisle.silence import Silence
from coldaisle.store import IncidentQuery, IncidentStore, Notification, NotificationState
from coldaisle.topology import RelationKind, Topology, kind_of
from dashboard import components, words
from dashboard.theme import look

_MOST_CHIPS = 8
_MOST_ALL = 400
_QUIET = ("", "", "")
_MOST_LINES = 40
_LEVELS = ("site", "ups", "pdu", "crac", "cdu", "row", "rack", "switch", "node", "psu", "nic", "port", "gpu", "job")
_KINDS = {
    "opened": "●", "alert": "▲", "event": "◆", "acknowledged": "✓", "unacknowledged": "↩", "resolved": "■",
    "reopened": "●", "notified": "→", "note": "✎",
}  # fmt: skip


def headline(incident: Incident, now: int, zone: tzinfo, quiet: Sequence[Silence] = ()) -> html.Header:
    """Return severity, title, since when, how far and where it stands, and whether it is muted."""
    shown = look(incident.severity)
    ended = incident.resolved_at or incident.ended_at
    lasted = words.span((ended or now) - incident.started_at)
    since = [
        "since ", components.moment(incident.started_at, zone),
        f" {words.zone_word(incident.started_at, zone)} ({'lasted ' if ended else ''}{lasted})",
    ]  # fmt: skip
    why_quiet = components.quiet_words(incident)
    return html.Header(
        [
            html.Div(
                [
                    components.badge(shown),
                    html.Span(components.state_word(incident), className=f"state state-{incident.state.value}"),
                    *([html.Span(f"Muted: {why_quiet}", className="muted")] if why_quiet and not quiet else []),
                ],
                className="headline-top",
            ),
            html.H1(incident.title),
            html.Div(
                [
                    html.Span(since),
                    html.Span(words.reach(incident.entities)),
                    html.Span(
                        f"{incident.confidence * 100:.0f} % sure"
                        if incident.confidence == incident.confidence
                        else "confidence unknown"
                    ),
                    html.Code(incident.id[:12], title=incident.id),
                ],
                className="facts",
            ),
            *(_muted(silence, now, zone) for silence in quiet[:3]),
        ],
        className=f"headline edge-{shown.key}",
    )


def _muted(silence: Silence, now: int, zone: tzinfo) -> html.Div:
    left = words.span(silence.ends_at - now)
    return html.Div(
        [
            html.Span(
                [
                    f"Muted by {silence.actor} until ",
                    components.moment(silence.ends_at, zone),
                    f" {words.zone_word(silence.ends_at, zone)} ({left} left): {silence.comment}",
                ]
            ),
            dmc.Button(
                "End it", id={"type": "act", "name": f"unsilence-{silence.id}"}, size="compact-xs", variant="default"
            ),
        ],
        className="muted-bar",
    )


def what_to_do(incident: Incident) -> html.Section:
    """Return the recommended action, and the runbook."""
    action = (
        incident.recommended_action or "No rule says what to do here. Read the evidence below and note what helped."
    )
    runbook: list[Any] = []
    if incident.runbook.startswith(("https://", "http://")):
        runbook = [
            html.A("Runbook ↗", href=incident.runbook, target="_blank", rel="noopener noreferrer", className="more")
        ]
    elif incident.runbook:
        runbook = [html.Span(["Runbook ", html.Code(incident.runbook)], className="muted")]
    return components.section("What to do", html.P(action, className="lead"), *runbook, className="todo")


def affected(incident: Incident) -> list[str]:
    """Return everything with an alert, members of shared findings included, in the incident's order."""
    names = [*incident.entities, *(name for alert in incident.alerts for name in (alert.entity, *alert.members))]
    return list(dict.fromkeys(names))


def levels(incident: Incident, topology: Topology) -> list[tuple[str, list[str], int]]:
    """
    Return the reach from the suspect outwards as (kind, entities, how many of them have an alert).

    Between the suspect and what has an alert stand the racks and rows that contain it, so that the chain
    ``crac-2 → row B → 4 racks → 16 nodes → 128 GPUs`` has no hole.
    """
    touched = affected(incident)
    by_kind: dict[str, dict[str, bool]] = defaultdict(dict)
    for entity in touched:
        if entity != incident.suspect:
            by_kind[kind_of(entity)][entity] = True
    contained = set(topology.ancestors(incident.suspect)) | {incident.suspect}
    for entity in touched:
        for above in topology.ancestors(entity):
            if above not in contained and kind_of(above) != "site":
                by_kind[kind_of(above)].setdefault(above, False)
    order = {kind: number for number, kind in enumerate(_LEVELS)}
    kinds = sorted(by_kind, key=lambda kind: order.get(kind, 99))
    return [
        (kind, sorted(by_kind[kind], key=words.natural), sum(by_kind[kind].values())) for kind in kinds if by_kind[kind]
    ]


def reach(incident: Incident, topology: Topology, unknown: frozenset[str] = frozenset()) -> html.Section:
    """
    Return the suspect and what it harms, a level a line, each with its own state and a way to it; bounded.

    ``unknown`` are the entities that send no telemetry now.
    """
    shown = look(incident.severity)
    over = incident.state is IncidentState.RESOLVED
    suspect = ("○", "over", "chip-suspect") if over else (shown.shape, shown.word, f"chip-suspect tone-{shown.key}")
    states = _states(incident, unknown)
    lines: list[Any] = [
        html.Li(
            [
                html.Span("suspect", className="level"),
                html.Span(
                    [
                        _chip(incident.suspect, topology, suspect),
                        html.Span(_acts(incident.suspect, topology), className="muted"),
                    ],
                    className="chips",
                ),
            ]
        )
    ]
    for kind, entities, alerted in levels(incident, topology):
        ordered = sorted(entities, key=lambda entity: words.natural(words.short(entity, topology)))
        ranked = sorted(ordered, key=lambda entity: states.get(entity, _QUIET)[0] == _QUIET[0])
        chips = [_chip(entity, topology, states.get(entity, _QUIET)) for entity in ranked[:_MOST_ALL]]
        more: list[Any] = []
        if len(chips) > _MOST_CHIPS + 2:
            rest = html.Div(chips[_MOST_CHIPS:], className="chips")
            more = [html.Details([html.Summary(f"{len(entities) - _MOST_CHIPS:,} more"), rest])]
            chips = chips[:_MOST_CHIPS]
        count = words.counted(len(entities), kind)
        said = count if alerted in (0, len(entities)) else f"{count}, {alerted:,} with an alert"
        lines.append(html.Li([html.Span(said, className="level"), html.Div([*chips, *more], className="chips")]))
    if len(lines) == 1:
        lines.append(html.Li(html.Span("Nothing else has an alert.", className="muted")))
    key = html.Span("● ▲ alert · ○ was, is over · × no telemetry", className="muted")
    return components.section("Reach", html.Ul(lines, className="reach"), aside=key)


def _states(incident: Incident, unknown: frozenset[str]) -> dict[str, tuple[str, str, str]]:
    """Shape, words and class of each entity that has or had an alert, or is silent."""
    states = {entity: ("×", "no telemetry", "tone-unknown") for entity in unknown}
    over = incident.state is IncidentState.RESOLVED
    for alert in sorted(incident.alerts, key=lambda one: (one.state is AlertState.FIRING, one.severity.rank)):
        shown = look(alert.severity)
        firing = alert.state is AlertState.FIRING and not over
        state = (
            (shown.shape, f"{shown.word}: {alert.name}", f"chip-hit chip-{shown.key}") if firing else ("○", "over", "")
        )
        for entity in (alert.entity, *alert.members):
            states[entity] = state
    return states


def _chip(entity: str, topology: Topology, state: tuple[str, str, str]) -> Any:
    shape, said, tone = state
    mark = [html.Span(shape, className="shape", **{"aria-hidden": "true"})] if shape else []
    name = words.called(entity, topology) if "suspect" in tone else words.short(entity, topology)
    title = f"{words.called(entity, topology)} ({entity})" + (f": {said}" if said else "")
    if entity not in topology:
        return html.Span([*mark, name], className=f"chip {tone}", title=title)
    return dcc.Link([*mark, name], href="/?" + urlencode({"at": entity}), className=f"chip {tone}", title=title)


def _acts(entity: str, topology: Topology) -> str:
    parts = []
    for kind, word in ((RelationKind.COOLS, "cools"), (RelationKind.FEEDS, "feeds"), (RelationKind.LINKS, "links")):
        targets = topology.targets(entity, kind)
        if targets:
            parts.append(f"{word} {words.called(targets[0], topology) if len(targets) == 1 else words.reach(targets)}")
    above = [one for one in topology.ancestors(entity) if kind_of(one) != "site"]
    if not parts and above:
        parts.append("in " + ", ".join(words.called(one, topology) for one in above[:2]))
    return ", ".join(parts)


def timeline(incident: Incident, topology: Topology, zone: tzinfo) -> html.Section:
    """Return what happened and who did what, the newest first."""
    entries = sorted(incident.timeline, key=lambda entry: entry.timestamp, reverse=True)
    lines = [
        html.Li(
            [
                components.moment(entry.timestamp, zone, words.time_of_day(entry.timestamp, zone)),
                html.Span(_KINDS.get(entry.kind, "·"), className="mark", title=entry.kind),
                html.Span(
                    [
                        words.plain(entry.text, entry.timestamp, zone, topology),
                        *([] if entry.actor == "coldaisle" else [html.Span(f" {entry.actor}", className="muted")]),
                    ]
                ),
            ]
        )
        for entry in entries[:_MOST_LINES]
    ]
    if len(entries) > _MOST_LINES:
        lines.append(
            html.Li(html.Span(f"{len(entries) - _MOST_LINES:,} older lines are in the API", className="muted"))
        )
    date = html.Span(
        f"{words.moment(incident.started_at, zone).strftime('%Y-%m-%d')} {words.zone_word(incident.started_at, zone)}",
        className="muted",
    )
    return components.section("Timeline", html.Ul(lines, className="timeline"), aside=date)


def told(notifications: Sequence[Notification], now: int, zone: tzinfo) -> html.Section:
    """Return who was told, whether it arrived, and when it is tried again."""
    if not notifications:
        return components.section(
            "Notifications", html.P("Nobody was notified: no receiver is configured for it.", className="muted")
        )
    return components.section(
        "Notifications", html.Ul([_notification(one, now, zone) for one in notifications], className="timeline")
    )


def _notification(one: Notification, now: int, zone: tzinfo) -> html.Li:
    tries = words.counted_things(one.attempts, "attempt", "attempts")
    shape, tone, said = "✓", "fine", "delivered" + (f" after {tries}" if one.attempts > 1 else "")
    if one.state is NotificationState.WAITING:
        shape, tone, said = "…", "muted", "waiting"
        if one.attempts:
            again = words.span(max(0, one.next_attempt_at - now))
            tone, said = "warning", f"not delivered yet, {tries}; again in {again}"
    elif one.state is NotificationState.DEAD:
        shape, tone, said = "▲", "warning", f"given up after {tries}"
    at = one.sent_at if one.sent_at is not None else one.created_at
    failed = bool(one.last_error) and one.state is not NotificationState.SENT
    again_button = dmc.Button(
        "Send again", id={"type": "act", "name": f"requeue-{one.id}"}, size="compact-xs", variant="default"
    )
    return html.Li(
        [
            components.moment(at, zone, words.time_of_day(at, zone)),
            html.Span(shape, className=f"mark tone-{tone}"),
            html.Span(
                [
                    f"“{one.kind}” to {one.receiver}: ",
                    html.Span(said, className=f"tone-{tone}"),
                    *([html.Div(one.last_error, className="muted error-text")] if failed else []),
                    *([html.Div(again_button)] if one.state is NotificationState.DEAD else []),
                ]
            ),
        ]
    )


def alike(store: IncidentStore, incident: Incident) -> list[Incident]:
    """Return past incidents of the same suspect, then those that the same rule opened."""
    found = store.find(IncidentQuery(entity=incident.suspect, limit=8))
    rules = {alert.name for alert in incident.alerts}
    first = [one for one in found if one.id != incident.id]
    if len(first) < 5:
        recent = store.find(IncidentQuery(states=(IncidentState.RESOLVED,), limit=60))
        have = {one.id for one in first} | {incident.id}
        first += [one for one in recent if one.id not in have and rules & {alert.name for alert in one.alerts}]
    return first[:5]


def similar(incident: Incident, found: Iterable[Incident], zone: tzinfo) -> html.Section:
    """Return what was learnt the last times."""
    lines = []
    for one in found:
        end = one.resolved_at or one.ended_at
        notes = [
            entry.text for entry in one.timeline if entry.kind in ("resolved", "note") and entry.actor != "coldaisle"
        ]
        outcome = one.resolve_reason.value if one.resolve_reason else one.state.value
        lasted = f", {words.span(end - one.started_at)}" if end else ""
        lines.append(
            html.Li(
                dcc.Link(
                    [
                        html.Div(one.title, className="similar-title"),
                        html.Div(
                            [
                                components.moment(one.started_at, zone),
                                f" · {outcome}{lasted}",
                                f" · “{notes[-1]}”" if notes else "",
                            ],
                            className="muted",
                        ),
                    ],
                    href=f"/incidents/{one.id}",
                )
            )
        )
    body = (
        html.Ul(lines, className="similar")
        if lines
        else html.P("This has not happened here before.", className="muted")
    )
    return components.section("Similar", body)
