"""Whether Coldaisle itself is well: how late it is, what it dropped, which collectors answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from dash import Dash, Input, Output, State, dcc, html, no_update

from coldaisle.live import LiveView
from coldaisle.series import Labels
from coldaisle.store import NotificationState
from dashboard import components, silencing, words
from dashboard.callbacks import held, on
from dashboard.pages.address import Address
from dashboard.reader import Reader
from dashboard.theme import FINE, WARNING

_MOST = 40
_MOST_COUNTED = 500
_REASONS = {
    "late": "came after its time was scored",
    "counter_first": "first reading of a counter; a rate needs two",
    "counter_reset": "a counter began anew",
}


def layout(reader: Reader, address: Address) -> Any:
    """Return the page."""
    content = _content(reader, address)
    return html.Div(
        [
            html.Div(html.H1("Health"), className="page-head"),
            html.Div(content, id="health-content"),
            dcc.Interval(id="health-tick", interval=5000),
            dcc.Store(id="health-known", data=components.digest(content)),
        ]
    )


def _content(reader: Reader, address: Address) -> Any:
    health = reader.backends.health()
    live = reader.backends.live()
    problems = list(health.problems)
    verdict = (
        components.badge(FINE, "Coldaisle works")
        if health.ready and not problems
        else components.badge(WARNING, "Needs a look")
    )
    dead = reader.backends.incidents.notifications(state=NotificationState.DEAD, limit=100)
    if dead:
        count = "1 notification" if len(dead) == 1 else f"{len(dead)} notifications"
        problems.append(f"{count} could not be delivered; mend the receiver and requeue through the API.")
    return html.Div(
        [
            html.Section(
                [
                    html.Div([verdict, html.Span(_lag(reader, live))], className="facts"),
                    *(html.P(problem) for problem in problems),
                ],
                className="panel",
            ),
            html.Div(
                [
                    components.section("Collectors", _collectors(live)),
                    components.section("Messages that wait, by role", _waiting(reader)),
                    components.section("Dropped and failed, by reason", _drops(reader)),
                    components.section("Notifications", _outbox(reader)),
                    components.section("Silences in force", _silences(reader, address)),
                    components.section("Versions", _pairs(sorted(health.versions.items()), ("Part", "Version"))),
                ],
                className="thirds",
            ),
            html.P(
                [html.A("Everything in Prometheus text", href="/metrics"), " · ", html.A("API", href="/api/v1/docs")],
                className="caption",
            ),
        ]
    )


def _lag(reader: Reader, live: LiveView | None) -> str:
    if live is None or live.now <= 0:
        return "no telemetry has come yet"
    return f"telemetry is {words.span(reader.now() - live.now)} old, {len(live.series):,} series"


def collectors(live: LiveView | None) -> list[tuple[str, int, int]]:
    """Return (collector, how many answer, how many there are) from the newest ``collector_up``."""
    if live is None:
        return []
    counts: dict[str, list[int]] = {}
    for series, value in zip(live.series, live.values, strict=True):
        if series.metric == "collector_up":
            have = counts.setdefault(series.label("collector") or "unnamed", [0, 0])
            have[0] += int(np.isfinite(value) and value > 0.5)
            have[1] += 1
    return [(name, up, total) for name, (up, total) in sorted(counts.items())]


def _collectors(live: LiveView | None) -> Any:
    rows = collectors(live)
    if not rows:
        return html.P("None has reported. A simulated hall and a recording have no collectors.", className="muted")
    lines = [
        (name, components.badge(FINE if up == total else WARNING, f"{up:,} of {total:,} answer"))
        for name, up, total in rows
    ]
    return _pairs(lines, ("Collector", "Answers"))


def _waiting(reader: Reader) -> Any:
    rows = lags(reader.backends.stats.rows())
    if not rows:
        return html.P("Not told yet.", className="muted")
    return _pairs([(f"{group} of {topic}", f"{lag:,}") for group, topic, lag in rows], ("Role", "Wait"), number=True)


def lags(rows: Iterable[tuple[str, Labels, float]]) -> list[tuple[str, str, int]]:
    """Return (group, topic, messages): of whole groups where they are told, else of this process."""
    rows = list(rows)
    for metric in ("group_lag_messages", "bus_lag_messages"):
        found = [(dict(pairs), value) for name, pairs, value in rows if name == metric]
        if found:
            return sorted((labels["group"], labels["topic"], round(value)) for labels, value in found)
    return []


def _drops(reader: Reader) -> Any:
    rows = []
    for name, pairs, value in reader.backends.stats.rows():
        labels = dict(pairs)
        if "reason" in labels and value > 0:
            what = name.removeprefix("coldaisle_").removesuffix("_total").replace("_", " ")
            rows.append(
                (
                    f"{what}: {_REASONS.get(labels['reason'], labels['reason'].replace('_', ' '))}",
                    f"{value:,.0f}",
                    value,
                )
            )
    rows.sort(key=lambda item: -item[2])
    if not rows:
        return html.P("Nothing was dropped.", className="muted")
    return _pairs([(what, count) for what, count, _ in rows[:_MOST]], ("What", "Count"), number=True)


def _outbox(reader: Reader) -> Any:
    store = reader.backends.incidents
    rows = []
    for state, word in ((NotificationState.WAITING, "wait"), (NotificationState.DEAD, "were given up")):
        found = store.notifications(state=state, limit=_MOST_COUNTED)
        by: dict[str, int] = {}
        for one in found:
            by[one.receiver] = by.get(one.receiver, 0) + 1
        more = "at least " if len(found) == _MOST_COUNTED else ""
        rows += [(receiver, f"{more}{count:,} {word}") for receiver, count in sorted(by.items())]
    if not rows:
        return html.P("Everything was delivered.", className="muted")
    return _pairs(rows, ("Receiver", "Notifications"))


def _silences(reader: Reader, address: Address) -> Any:
    now, topology = reader.now(), reader.backends.topology()
    held = reader.backends.incidents.silences(now)
    if not held:
        return html.P("None. Everything that pages is heard.", className="muted")
    rows = []
    for one in held[:_MOST]:
        what = html.Span(silencing.said(one.matchers, topology), title=", ".join(str(m) for m in one.matchers))
        until = html.Span(["until ", components.moment(one.ends_at, address.zone), f" by {one.actor}: {one.comment}"])
        rows.append((what, until))
    return _pairs(rows, ("Muted", "Until, by, why"))


def _pairs(rows: list[Any], head: tuple[str, str], number: bool = False) -> Any:
    if not rows:
        return html.P("Not told.", className="muted")
    tone = "num" if number else ""
    return html.Table(
        [
            html.Thead(html.Tr([html.Th(head[0]), html.Th(head[1], className=tone)])),
            html.Tbody([html.Tr([html.Td(one), html.Td(two, className=tone)]) for one, two in rows]),
        ],
        className="plain",
    )


def register(app: Dash, reader: Reader) -> None:
    """Wire the page."""

    @on(
        app,
        Output("health-content", "children"),
        Output("health-known", "data"),
        Input("health-tick", "n_intervals"),
        State("health-known", "data"),
        State("zone", "data"),
        prevent_initial_call=True,
        running=held("health-tick"),
    )
    def refresh(_tick: int, known: str, zone: str) -> Any:
        content = _content(reader, Address.of("/health", "", None, zone))
        fresh = components.digest(content)
        return (no_update, no_update) if fresh == known else (content, fresh)
