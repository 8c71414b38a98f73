"""Why an incident is believed: its sentences, and under each the curve or the events that it rests on."""

from __future__ import annotations

from collections import defaultdict
from datetime import tzinfo
from typing import Any
from urllib.parse import urlencode

from dash import dcc, html

from coldaisle.alert import Alert
from coldaisle.anomaly import Anomaly, Window
from coldaisle.catalogue import Drive, metric_of
from coldaisle.clock import MINUTE
from coldaisle.errors import ColdaisleError
from coldaisle.event import Event
from coldaisle.incident import Incident
from coldaisle.topology import kind_of
from dashboard import components, figures, words
from dashboard.pages import place_parts
from dashboard.pages.address import Address
from dashboard.reader import Reader
from dashboard.theme import Palette, look, palette

_MOST_CHARTS = 4
_MOST_FOUND = 2  # charts from the store, where nothing was frozen
_BEFORE, _AFTER = 20 * MINUTE, 15 * MINUTE


def why(incident: Incident, reader: Reader, address: Address) -> html.Section:
    """Return the explanation, the reasons and their evidence: sentences first, charts after."""
    colours, zone, topology = palette(address.theme), address.zone, reader.backends.topology()

    def said(text: str) -> str:
        return words.plain(text, incident.started_at, zone, topology)

    reasons = [html.Ol([html.Li(said(one)) for one in incident.reasons], className="reasons")]
    tone = getattr(colours, look(incident.severity).key)
    charts: list[Any] = [
        chart(reader, alert, anomaly, anomaly.window, colours, tone, zone)
        for alert, anomaly in strongest(incident)
        if anomaly.window
    ]
    if not charts:
        charts = _around(incident, reader, colours, tone, zone)
    return components.section(
        "Why", html.P(said(incident.explanation)), *(reasons if incident.reasons else []), *charts, className="why"
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
        most = 1 if metric_of(key[1]).drive is Drive.STATE else 2  # of flags that fell together one says it all
        if key in seen or per_metric[key[1]] >= most:
            continue
        seen.add(key)
        per_metric[key[1]] += 1
        chosen.append((alert, anomaly))
    return chosen[:_MOST_CHARTS]


def chart(
    reader: Reader, alert: Alert, anomaly: Anomaly, window: Window, colours: Palette, tone: str, zone: tzinfo
) -> html.Figure:
    """Return one piece of evidence: a sentence, the curve, and what measured it; or why it cannot be drawn."""
    topology = reader.backends.topology()
    name = words.called(anomaly.entity, topology)
    title = anomaly.explanation or alert.explanation or alert.summary
    title = words.plain(title, anomaly.started_at, zone, topology)
    asked = {"metric": window.metric, "of": anomaly.entity, "end": str(anomaly.updated_at), "range": "1h"}
    caption = [
        html.Span(f"{words.metric_title(window.metric)} of {name}"),
        html.Span(f"{anomaly.detector} {anomaly.version}".strip(), title=f"rule {alert.name}"),
        html.Span("score " + ("unknown" if anomaly.score != anomaly.score else f"{anomaly.score:.2f}")),
        dcc.Link("Explore", href="/explore?" + urlencode(asked)),
    ]
    seen = sum(value is not None for value in window.observed)
    if seen < 2:
        said = f"No curve: {seen} of {len(window.observed)} readings came in this window, and a line needs two."
        return _framed(title, html.P(said, className="muted"), [], caption)
    key = [html.Span([html.Span(className="key key-observed"), "observed"])]
    if window.expected or window.low:
        key.append(html.Span([html.Span(className="key key-band"), "expected"]))
    if window.peers:
        mates = words.counted_things(len(window.peers), "sibling", "siblings")
        key.append(html.Span([html.Span(className="key key-sibling"), mates]))
    key.append(_dated(anomaly.started_at, zone))
    figure = figures.evidence(window, name, anomaly.started_at, colours, tone, zone)
    return _framed(title, _graph(figure, 240), key, caption)


def _dated(timestamp: int, zone: tzinfo) -> html.Span:
    day = words.moment(timestamp, zone).strftime("%Y-%m-%d")
    return html.Span(f"{day}, times in {words.zone_word(timestamp, zone)}", title=words.utc_hover(timestamp))


def _graph(figure: Any, tall: int) -> dcc.Graph:
    return dcc.Graph(figure=figure, config=components.GRAPH_CONFIG, style={"height": f"{tall}px"})


def _framed(title: str, picture: Any, key: list[Any], caption: list[Any]) -> html.Figure:
    under = [html.Div(key, className="chart-key"), html.Div(caption, className="chart-foot")]
    return html.Figure(
        [html.Figcaption(title, className="chart-title"), picture, html.Div(under, className="chart-under")],
        className="evidence",
    )


def _around(incident: Incident, reader: Reader, colours: Palette, tone: str, zone: tzinfo) -> list[Any]:
    """
    Return what can be shown of findings that rest on an event or on silence, for which no window is frozen.

    The curves around the start are asked of the metric store, and say so; the events stand on a line of time.
    """
    alerts = sorted(incident.firing or incident.alerts, key=lambda one: (-one.severity.rank, one.starts_at))
    entities = list(dict.fromkeys([*(alert.entity for alert in alerts), incident.suspect]))
    found: list[Any] = []
    events = _events(incident, reader, entities[0], tone, colours, zone)
    for entity in entities[:8]:
        drawn = _curve(incident, reader, entity, colours, tone, zone)
        if drawn is not None:
            found.append(drawn)
        if len(found) >= _MOST_FOUND:
            break
    return [events, *found] if events is not None else found


def _span(incident: Incident, reader: Reader) -> tuple[int, int]:
    return incident.started_at - _BEFORE, min(reader.now(), incident.started_at + _AFTER)


def _curve(incident: Incident, reader: Reader, entity: str, colours: Palette, tone: str, zone: tzinfo) -> Any:
    start, end = _span(incident, reader)
    live = reader.backends.live()
    own = [] if live is None else [s.metric for s, e in zip(live.series, live.entities, strict=True) if e == entity]
    topology = reader.backends.topology()
    for metric in place_parts.telling(kind_of(entity), (), own or reader.backends.metrics.metrics())[:2]:
        try:
            found = place_parts.beside(reader, entity, metric, start, end)
        except ColdaisleError:
            return None  # the events and the sentences above stand without it
        if found is None or len(found[0].timestamps) < 2:
            continue
        drawn = [*found[1], found[0]]
        names = [words.short(topology.entity_of(line.series.labels), topology) for line in drawn]
        figure = figures.explore(
            drawn, metric, colours, zone, limits=(start, end), names=names, lit=len(drawn) - 1, tone=tone
        )
        figure.update_layout(height=240)
        figures.mark(
            figure, incident.started_at, "began " + words.time_of_day(incident.started_at, zone), colours, zone
        )
        name = words.called(entity, topology)
        asked = {"metric": metric, "of": entity, "end": str(end), "range": "1h"}
        caption = [
            html.Span("from the metric store, not frozen"),
            dcc.Link("Explore", href="/explore?" + urlencode(asked)),
        ]
        key = [html.Span([html.Span(className="key key-observed"), "observed"])]
        if len(drawn) > 1:
            mates_said = words.counted_things(len(drawn) - 1, "sibling", "siblings")
            key.append(html.Span([html.Span(className="key key-sibling"), mates_said]))
        key.append(_dated(start, zone))
        title = f"{words.metric_title(metric)} of {name} around the start. The rule read an event, not this curve."
        return _framed(title, _graph(figure, 240), key, caption)
    return None


def _events(
    incident: Incident, reader: Reader, entity: str, tone: str, colours: Palette, zone: tzinfo
) -> html.Figure | None:
    start, end = _span(incident, reader)
    try:
        read = reader.backends.metrics.events(start, end, limit=500)
    except ColdaisleError:
        read = []
    topology = reader.backends.topology()
    near = {entity, incident.suspect, *topology.ancestors(entity)[:1]}
    marks = [(one.timestamp, _said(one), True) for one in read if topology.entity_of(one.labels) in near]
    own = {text for _, text, _ in marks}
    marks += [
        (e.timestamp, e.text, False) for e in incident.timeline if e.kind in ("alert", "opened") and e.text not in own
    ]
    marks = [mark for mark in marks if start <= mark[0] <= end][:60]
    if not marks:
        return None
    count = sum(mine for *_, mine in marks)
    said = words.counted_things(count, "event", "events") if count else "No event"
    title = f"{said} of {words.called(entity, topology)} around the start; what followed is grey"
    figure = figures.events_line(marks, (start, end), colours, tone, zone)
    first = next((text for _, text, mine in sorted(marks) if mine), "")
    return _framed(
        title,
        _graph(figure, 110),
        [html.Span(words.plain(first, start, zone, topology)), _dated(start, zone)] if first else [_dated(start, zone)],
        [],
    )


def _said(event: Event) -> str:
    return f"{event.kind} {event.code}: {event.text}"
