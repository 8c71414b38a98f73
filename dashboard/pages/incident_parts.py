"""The parts of an incident's page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import tzinfo
from typing import Any

from dash import dcc, html

from coldaisle.alert import Alert
from coldaisle.anomaly import Anomaly, Window
from coldaisle.incident import Incident, IncidentState
from coldaisle.store import IncidentQuery, IncidentStore, Notification, NotificationState
from coldaisle.topology import RelationKind, Topology, kind_of, name_of
from dashboard import components, figures, words
from dashboard.reader import matcher_for
from dashboard.theme import Palette, look

_MOST_CHARTS = 4
_MOST_CHIPS = 6
_MOST_LINES = 40
_LEVELS = ("site", "ups", "pdu", "crac", "cdu", "row", "rack", "switch", "node", "psu", "nic", "port", "gpu", "job")
_KINDS = {
    "opened": "●", "alert": "▲", "event": "◆", "acknowledged": "✓", "unacknowledged": "↩", "resolved": "■",
    "reopened": "●", "notified": "→", "note": "✎",
}  # fmt: skip


def headline(incident: Incident, now: int, zone: tzinfo) -> html.Header:
    """Return severity, title, since when, how far and where it stands."""
    shown = look(incident.severity)
    ended = incident.resolved_at or incident.ended_at
    lasted = words.span((ended or now) - incident.started_at)
    since = [
        "since ", components.moment(incident.started_at, zone),
        f" {words.zone_word(incident.started_at, zone)} ({'lasted ' if ended else ''}{lasted})",
    ]  # fmt: skip
    quiet = [html.Span(f"Quiet: {incident.suppressed_by}", className="muted")] if incident.suppressed_by else []
    return html.Header(
        [
            html.Div(
                [
                    components.badge(shown),
                    html.Span(components.state_word(incident), className=f"state state-{incident.state.value}"),
                    *quiet,
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
        ],
        className=f"headline edge-{shown.key}",
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


def why(incident: Incident, colours: Palette, zone: tzinfo) -> html.Section:
    """Return the explanation, the reasons and their evidence: sentences first, charts after."""
    reasons = (
        html.Ol([html.Li(reason) for reason in incident.reasons], className="reasons") if incident.reasons else None
    )
    tone = getattr(colours, look(incident.severity).key)
    charts = [
        chart(alert, anomaly, anomaly.window, colours, tone, zone)
        for alert, anomaly in strongest(incident)
        if anomaly.window
    ]
    if not charts:
        charts = [
            html.P("No chart: this incident rests on events and silence, which have no curve.", className="muted")
        ]
    return components.section(
        "Why", html.P(incident.explanation), *([reasons] if reasons is not None else []), *charts, className="why"
    )


def strongest(incident: Incident) -> list[tuple[Alert, Anomaly]]:
    """Return the findings with evidence to draw, the highest score first, one a metric and entity."""
    found = sorted(
        ((alert, anomaly) for alert in incident.alerts for anomaly in alert.anomalies if anomaly.window is not None),
        key=lambda pair: (-pair[0].severity.rank, -pair[1].score, pair[1].started_at),
    )
    seen: set[tuple[str, str]] = set()
    chosen = []
    per_metric: dict[str, int] = defaultdict(int)
    for alert, anomaly in found:
        key = (anomaly.entity, anomaly.window.metric if anomaly.window else "")
        if key in seen or per_metric[key[1]] >= 2:
            continue
        seen.add(key)
        per_metric[key[1]] += 1
        chosen.append((alert, anomaly))
    return chosen[:_MOST_CHARTS]


def chart(alert: Alert, anomaly: Anomaly, window: Window, colours: Palette, tone: str, zone: tzinfo) -> html.Figure:
    """Return one piece of evidence: a sentence, the curve, and what measured it; or why it cannot be drawn."""
    link = f"/explore?metric={window.metric}&match={matcher_for(anomaly.entity)}&end={anomaly.updated_at}&range=1h"
    caption = [
        html.Span(f"{words.metric_title(window.metric)} of {words.thing(anomaly.entity)}"),
        html.Span(f"{anomaly.detector} {anomaly.version}".strip(), title=f"rule {alert.name}"),
        html.Span("score " + ("unknown" if anomaly.score != anomaly.score else f"{anomaly.score:.2f}")),
        dcc.Link("Explore", href=link),
    ]
    seen = sum(value is not None for value in window.observed)
    if seen < 2:
        picture: Any = html.P(
            f"No curve: {seen} of {len(window.observed)} readings came in this window, and a line needs two.",
            className="muted",
        )
    else:
        picture = dcc.Graph(
            figure=figures.evidence(window, anomaly.entity, anomaly.started_at, colours, tone, zone),
            config=components.GRAPH_CONFIG, style={"height": "220px"},
        )  # fmt: skip
    return html.Figure(
        [
            html.Figcaption(anomaly.explanation or alert.explanation or alert.summary, className="chart-title"),
            picture,
            html.Div(
                [*_key(window, words.zone_word(anomaly.started_at, zone)), html.Div(caption, className="chart-foot")],
                className="chart-under",
            ),
        ],
        className="evidence",
    )


def _key(window: Window, zone_word: str) -> list[Any]:
    parts = [html.Span([html.Span(className="key key-observed"), "observed"])]
    if window.expected or window.low:
        parts.append(html.Span([html.Span(className="key key-band"), "expected"]))
    if window.peers:
        parts.append(html.Span([html.Span(className="key key-sibling"), f"{len(window.peers)} siblings"]))
    parts.append(html.Span(f"times in {zone_word}"))
    return [html.Div(parts, className="chart-key")]


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


def reach(incident: Incident, topology: Topology) -> html.Section:
    """Return the suspect and what it harms, a level a line, each with its state; bounded."""
    shown = look(incident.severity)
    over = incident.state is IncidentState.RESOLVED
    lines: list[Any] = [
        html.Li(
            [
                html.Span("suspect", className="level"),
                html.Span(
                    [html.Span(shown.shape, className="shape"), words.thing(incident.suspect)],
                    className=f"chip chip-suspect tone-{shown.key}",
                ),
                html.Span(_acts(incident.suspect, topology), className="muted"),
            ]
        )
    ]
    firing = {alert.entity for alert in incident.firing} | {m for alert in incident.firing for m in alert.members}
    touched = set(affected(incident))
    for kind, entities, alerted in levels(incident, topology):
        chips = [
            html.Span(
                [html.Span(_shape(entity, touched, firing, over), className="shape"), name_of(entity)],
                className="chip" + (" chip-hit" if entity in firing and not over else ""),
                title=entity,
            )
            for entity in entities[:_MOST_CHIPS]
        ]
        if len(entities) > _MOST_CHIPS:
            chips.append(html.Span(f"and {len(entities) - _MOST_CHIPS:,} more", className="muted"))
        count = words.counted(len(entities), kind)
        said = count if alerted in (0, len(entities)) else f"{count}, {alerted:,} with an alert"
        lines.append(html.Li([html.Span(said, className="level"), html.Span(chips, className="chips")]))
    if len(lines) == 1:
        lines.append(html.Li(html.Span("Nothing else has an alert.", className="muted")))
    return components.section("Reach", html.Ul(lines, className="reach"))


def _acts(entity: str, topology: Topology) -> str:
    parts = []
    for kind, word in ((RelationKind.COOLS, "cools"), (RelationKind.FEEDS, "feeds"), (RelationKind.LINKS, "links")):
        targets = topology.targets(entity, kind)
        if targets:
            parts.append(f"{word} {words.thing(targets[0]) if len(targets) == 1 else words.reach(targets)}")
    above = topology.ancestors(entity)
    if not parts and above:
        parts.append("in " + ", ".join(words.thing(one) for one in above[:2]))
    return ", ".join(parts)


def _shape(entity: str, touched: set[str], firing: set[str], over: bool) -> str:
    if entity in firing and not over:
        return "● "
    return "○ " if entity in touched else ""


def timeline(incident: Incident, zone: tzinfo) -> html.Section:
    """Return what happened and who did what, the newest first."""
    entries = sorted(incident.timeline, key=lambda entry: entry.timestamp, reverse=True)
    lines = [
        html.Li(
            [
                components.moment(entry.timestamp, zone, words.time_of_day(entry.timestamp, zone)),
                html.Span(_KINDS.get(entry.kind, "·"), className="mark", title=entry.kind),
                html.Span(
                    [
                        entry.text,
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


def told(notifications: Sequence[Notification], zone: tzinfo) -> html.Section:
    """Return who was told, and whether it arrived."""
    if not notifications:
        return components.section(
            "Notifications", html.P("Nobody was notified: no receiver is configured for it.", className="muted")
        )
    words_of = {
        NotificationState.SENT: ("✓", "delivered", "fine"),
        NotificationState.WAITING: ("…", "waiting", "muted"),
        NotificationState.DEAD: ("▲", "failed", "warning"),
    }
    lines = []
    for one in notifications:
        shape, word, tone = words_of[one.state]
        at = one.sent_at if one.sent_at is not None else one.created_at
        tries = f", {one.attempts} attempts" if one.attempts > 1 else ""
        error = (
            [html.Div(one.last_error, className="muted error-text")]
            if one.last_error and one.state is not NotificationState.SENT
            else []
        )
        lines.append(
            html.Li(
                [
                    components.moment(at, zone, words.time_of_day(at, zone)),
                    html.Span(shape, className=f"mark tone-{tone}"),
                    html.Span(
                        [
                            f"{one.kind} to {one.receiver}: ",
                            html.Span(f"{word}{tries}", className=f"tone-{tone}"),
                            *error,
                        ]
                    ),
                ]
            )
        )
    return components.section("Notifications", html.Ul(lines, className="timeline"))


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
