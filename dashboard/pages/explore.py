"""Any series over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, dcc, html
from dash.exceptions import PreventUpdate

from coldaisle import matcher
from coldaisle.clock import HOUR, MINUTE
from coldaisle.errors import ColdaisleError, ConfigError
from coldaisle.store import Line
from dashboard import components, figures, filters, words
from dashboard.callbacks import on
from dashboard.pages.address import Address
from dashboard.reader import Reader
from dashboard.theme import palette

_RANGES = {"15m": 15 * MINUTE, "1h": HOUR, "6h": 6 * HOUR, "24h": 24 * HOUR, "7d": 7 * 24 * HOUR}
_RANGE_WORDS = {"15m": "15 minutes", "1h": "hour", "6h": "6 hours", "24h": "24 hours", "7d": "7 days"}
_MOST_POINTS = 20_000
_MOST_SERIES = 64
_PREFERRED = ("gpu_temperature_celsius", "gpu_power_watts", "node_power_watts", "node_cpu_utilization_ratio")


def layout(reader: Reader, address: Address) -> Any:
    """Return the page, drawn as the address says."""
    metrics = reader.backends.metrics.metrics()
    metric = address.get("metric") or next(
        (name for name in _PREFERRED if name in metrics), metrics[0] if metrics else ""
    )
    if metric and metric not in metrics:
        metrics = [*metrics, metric]
    options = [{"value": name, "label": name} for name in metrics]
    ranges = [{"value": key, "label": f"Last {word}"} for key, word in _RANGE_WORDS.items()]
    return html.Div(
        [
            html.Div(
                [
                    html.H1("Explore"),
                    html.Div(
                        [
                            components.select("explore-metric", "Metric", options, metric, searchable=True, w=280),
                            dmc.TextInput(
                                id="explore-match", placeholder='Labels, e.g. node="n017", gpu=~".*"  ( / )', size="xs",
                                value=address.get("match"), debounce=400, w=320, className="search mono-input",
                                **{"aria-label": "Label matchers"},
                            ),
                            components.select("explore-range", "Time range", ranges, address.get("range", "1h"), w=150),
                        ],
                        className="filters",
                    ),
                ],
                className="page-head",
            ),
            html.Div(_drawn(reader, address.with_(metric=metric)), id="explore-drawn", className="panel"),
        ]
    )  # fmt: skip


def _drawn(reader: Reader, address: Address) -> Any:
    metric, text = address.get("metric"), address.get("match")
    if not metric:
        return components.empty(
            "∅", "Nothing is stored yet", "Series appear here once a collector has sent its first frame."
        )
    try:
        matchers = matcher.parse(text)
        last = filters.instant(address.get("end"), "end")
        fixed = last is not None
        end = reader.now() if last is None else last
        start = end - _RANGES.get(address.get("range", "1h"), HOUR)
        known = reader.backends.metrics.series(metric, matchers, limit=1000)
        shown = max(1, min(len(known), _MOST_SERIES))
        lines = reader.backends.metrics.query(
            metric, matchers, start, end, max(50, _MOST_POINTS // shown), _MOST_SERIES
        )
        events = reader.backends.metrics.events(start, end, matchers, limit=40)
    except ConfigError as error:
        return components.trouble("These labels cannot be read", f"{error}")
    except ColdaisleError as error:
        return components.trouble(
            "The store did not answer", f"{error}. The page tries again when you change something."
        )
    drawn = [line for line in lines if len(line.timestamps)]
    if not drawn:
        return _nothing(metric, text, len(known), address)
    band = reader.expected_band(drawn[0].series) if len(drawn) == 1 and not fixed else None
    names = distinct([line.series.labels for line in drawn])
    figure = figures.explore(drawn, metric, palette(address.theme), address.zone, band, events, (start, end), names)
    many = (
        f"the first {len(drawn)} of {'over ' if len(known) >= 1000 else ''}{len(known):,} series"
        if len(known) > len(drawn)
        else _count(len(drawn))
    )
    facts = [many, *([f"{len(events)} event{'s' if len(events) != 1 else ''} marked"] if events else [])]
    facts += ["shaded: expected now"] if band else []
    facts.append(f"times in {words.zone_word(end, address.zone)}")
    return html.Div(
        [
            html.Div(
                [
                    html.H2(f"{words.metric_title(metric)}, {_when(address, end, fixed)}"),
                    html.Span(" · ".join(facts), className="muted"),
                ],
                className="section-head",
            ),
            dcc.Graph(figure=figure, config=components.GRAPH_CONFIG, style={"height": "440px"}),
            _table(drawn, names, metric),
        ]
    )


def _when(address: Address, end: int, fixed: bool) -> str:
    word = _RANGE_WORDS.get(address.get("range", "1h"), "hour")
    return f"the {word} before {words.date_and_time(end, address.zone)}" if fixed else f"last {word}"


def _count(count: int) -> str:
    return f"{count} series" if count != 1 else "one series"


def _nothing(metric: str, text: str, known: int, address: Address) -> Any:
    if known:
        return components.empty(
            "∅", "Silent in this span", f"{known:,} series match, but none has a sample here. Choose a longer range."
        )
    why = f"No series of {metric} has {text}." if text else f"No series of {metric} is stored."
    return components.empty(
        "∅", "No series matches", f'{why} Labels are written name="value"; =~ takes a regular expression.'
    )


def _table(lines: Sequence[Line], names: Sequence[str], metric: str) -> html.Div:
    unit = words.unit_of(metric)
    rows = []
    for line, name in list(zip(lines, names, strict=True))[:12]:
        values = line.values[line.values == line.values]
        cells = (values[-1], values.min(), values.mean(), values.max()) if len(values) else (None,) * 4
        rows.append(
            html.Tr(
                [
                    html.Td(name, title=str(line.series)),
                    *(html.Td(words.quantity(None if c is None else float(c), unit), className="num") for c in cells),
                ]
            )
        )
    head = html.Thead(
        html.Tr([html.Th("Series"), *(html.Th(word, className="num") for word in ("Newest", "Least", "Mean", "Most"))])
    )
    more = [html.P(f"and {len(lines) - 12} more", className="muted")] if len(lines) > 12 else []
    return html.Div([html.Table([head, html.Tbody(rows)], className="plain"), *more], className="table-wrap")


def distinct(labels: Sequence[tuple[tuple[str, str], ...]]) -> list[str]:
    """Return a name for each series: only the labels in which they differ, or all where there is one."""
    common = set(labels[0]).intersection(*labels[1:]) if len(labels) > 1 else set()
    names = []
    for pairs in labels:
        own = [f"{name}={value}" for name, value in pairs if (name, value) not in common]
        names.append(" ".join(own) or "all labels equal")
    return names


def register(app: Dash, reader: Reader) -> None:
    """Wire the page."""

    @on(
        app,
        Output("explore-drawn", "children"),
        Output("url", "search", allow_duplicate=True),
        Output("wrote", "data", allow_duplicate=True),
        Input("explore-metric", "value"),
        Input("explore-match", "value"),
        Input("explore-range", "value"),
        State("url", "search"),
        State("theme", "data"),
        State("zone", "data"),
        prevent_initial_call=True,
    )
    def choose(metric: str, match: str, lasting: str, search: str, theme: str, zone: str) -> Any:
        before = Address.of("/explore", search, theme, zone)
        after = before.with_(metric=metric, match=match, range=lasting)
        same = before.get("metric", metric) == metric and before.get("match") == (match or "")
        if same and before.get("range", "1h") == lasting:
            raise PreventUpdate
        return _drawn(reader, after), after.search, after.search
