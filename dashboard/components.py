"""The pieces that pages are put together from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, tzinfo
from hashlib import blake2b
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html
from plotly.utils import PlotlyJSONEncoder

from coldaisle.incident import Incident, IncidentState
from dashboard import hall, words
from dashboard.reader import Status
from dashboard.theme import CRITICAL, FINE, INFO, UNKNOWN, WARNING, Look, look

LOOKS: tuple[Look, ...] = (UNKNOWN, FINE, INFO, WARNING, CRITICAL)
"""How the states of :mod:`dashboard.hall` are shown, in their order."""
GRAPH_CONFIG = {"displayModeBar": False, "scrollZoom": False, "doubleClick": "reset", "responsive": True}


def digest(content: Any) -> str:
    """Return what tells one content from another, so that an unchanged part of a page is not sent again."""
    return blake2b(json.dumps(content, cls=PlotlyJSONEncoder).encode(), digest_size=8).hexdigest()


def badge(severity: Look, text: str | None = None) -> html.Span:
    """Return shape and word of a severity."""
    return html.Span(
        [html.Span(severity.shape, className="shape", **{"aria-hidden": "true"}), html.Span(text or severity.word)],
        className=f"badge tone-{severity.key}",
    )


def moment(timestamp: int, zone: tzinfo = UTC, text: str | None = None) -> html.Time:
    """Return a time in the reader's zone, with UTC on hover."""
    return html.Time(text or words.date_and_time(timestamp, zone), title=words.utc_hover(timestamp))


def status_strip(status: Status) -> html.Div:
    """Return the hall in words: what is open, how many are healthy, what it draws, how old that is."""
    worst = LOOKS[status.worst]
    if status.open:
        first = f"{status.open} open incident{'s' if status.open != 1 else ''}"
        second = f"{status.unacknowledged} not acknowledged" if status.unacknowledged else "all acknowledged"
    elif status.cells == 0:
        first, second = "Waiting for telemetry", "nothing has been measured yet"
    else:
        first, second = "All is well", "no open incident"
    unit = words.counted(2, status.kind).split(" ", 1)[1]
    healthy = f"{status.healthy:,} of {status.cells:,}" if status.cells else "–"
    silent = f" · {status.unknown:,} silent" if status.unknown else ""
    power = words.quantity(status.power_watts, "watts") if status.power_watts is not None else "–"
    lag = "–" if status.lag_seconds is None else words.span(round(status.lag_seconds * 1e9))
    tiles = [
        _tile(
            [html.Span(worst.shape, className="shape"), first],
            second,
            f"tone-{worst.key}" if status.open or status.cells else "",
        ),
        _tile(healthy, f"{unit} healthy{silent}"),
        _tile(power, _power_words(status)),
        _tile(
            lag, "telemetry is stale" if status.stale else "age of telemetry", "tone-warning" if status.stale else ""
        ),
    ]
    return html.Div(tiles, className="status", role="status")


def _power_words(status: Status) -> str:
    if not status.power_of:
        return "power unknown"
    return f"drawn by {status.power_of}" + (f" · PUE {status.pue:.2f}" if status.pue is not None else "")


def _tile(value: Any, caption: str, tone: str = "") -> html.Div:
    return html.Div(
        [html.Div(value, className=f"tile-value {tone}"), html.Div(caption, className="tile-caption")], className="tile"
    )


def incident_card(incident: Incident, now: int) -> dcc.Link:
    """Return an open incident in four lines: severity, title, reach and age, who has it."""
    shown = look(incident.severity)
    who = incident.acknowledgement
    if incident.suppressed_by is not None:
        holder = html.Span(f"muted: {quiet_words(incident)}", className="muted")
    elif who is not None:
        holder = html.Span(f"✓ {who.actor} has it", className="muted")
    else:
        holder = html.Span("not acknowledged", className="unacked")
    return dcc.Link(
        [
            html.Div(
                [badge(shown), html.Span(words.span(now - incident.started_at), className="age")], className="card-top"
            ),
            html.Div(incident.title, className="card-title"),
            html.Div([html.Span(words.reach(incident.entities)), holder], className="card-foot"),
        ],
        href=f"/incidents/{incident.id}",
        className=f"card incident edge-{shown.key}" + ("" if who is None else " taken"),
    )


def incident_list(incidents: Sequence[Incident], now: int, most: int = 30) -> list[Any]:
    """Return the cards of what is open; calm words when nothing is."""
    if not incidents:
        return [empty("✓", "Nothing is open", "When something needs a person, it will stand here with what to do.")]
    cards: list[Any] = [incident_card(incident, now) for incident in incidents[:most]]
    if len(incidents) > most:
        cards.append(
            dcc.Link(f"{len(incidents) - most:,} more in History", href="/history?state=open", className="more")
        )
    return cards


def empty(shape: str, title: str, text: str) -> html.Div:
    """Return a designed nothing: what is not here, and why or when it will be."""
    return html.Div(
        [
            html.Div(shape, className="empty-shape", **{"aria-hidden": "true"}),
            html.Div(title, className="empty-title"),
            html.P(text),
        ],
        className="empty",
    )


def trouble(title: str, text: str) -> html.Div:
    """Return an error where its content would have been: what is wrong, and what to do."""
    return html.Div([badge(WARNING, title), html.P(text)], className="trouble", role="alert")


def section(title: str, *children: Any, className: str = "", aside: Any = None) -> html.Section:
    """Return a titled part of a page."""
    return html.Section(
        [
            html.Div([html.H2(title), aside] if aside is not None else [html.H2(title)], className="section-head"),
            *children,
        ],
        className=f"panel {className}",
    )


def state_word(incident: Incident) -> str:
    """Return where an incident stands, in words."""
    if incident.state is IncidentState.RESOLVED:
        return f"Resolved: {incident.resolve_reason.value if incident.resolve_reason else 'ended'}"
    if incident.acknowledgement is not None:
        return f"Acknowledged by {incident.acknowledgement.actor}"
    return "Open, not acknowledged"


def quiet_words(incident: Incident) -> str:
    """Return why an incident is muted, without the machine's way of writing times."""
    reason = incident.suppressed_by or ""
    return reason.partition(" until ")[0]


def legend(view: str, scale: tuple[str, str] | None = None) -> html.Div:
    """Return what the colours of the hall mean, in shapes and words."""
    if view == "state":
        parts = [
            html.Span(
                [
                    html.Span(className=f"swatch swatch-{one.key}"),
                    f"{one.shape} {one.word}" if one.key != "unknown" else "× No telemetry",
                ]
            )
            for one in reversed(LOOKS)
        ]
    else:
        parts = [html.Span([html.Span(className="swatch swatch-unknown"), "× No telemetry"])]
        if scale is not None:
            parts.append(html.Span([scale[0], html.Span(className="ramp"), scale[1]]))
    return html.Div(parts, className="legend")


def select(identity: str, label: str, data: list[Any], value: str, **more: Any) -> dmc.Select:
    """Return a select with its name for screen readers."""
    return dmc.Select(
        id=identity, data=data, value=value, allowDeselect=False, size="xs", checkIconPosition="right",
        **{"aria-label": label}, **more,
    )  # fmt: skip


def shape_of(code: int) -> str:
    """Return the shape of a state of :mod:`dashboard.hall`."""
    return LOOKS[code].shape if code != hall.UNKNOWN else "▨"
