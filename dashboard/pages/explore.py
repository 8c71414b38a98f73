"""Any series over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dash_mantine_components as dmc
from dash import ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.exceptions import PreventUpdate

from coldaisle import matcher
from coldaisle.clock import HOUR, MINUTE
from coldaisle.errors import ColdaisleError, ConfigError
from coldaisle.store import Line
from dashboard import components, expectation, expected_figure, figures, filters, search, words
from dashboard.callbacks import held, on
from dashboard.pages.address import Address
from dashboard.reader import Reader, matchers_within
from dashboard.theme import palette

_RANGES = {"15m": 15 * MINUTE, "1h": HOUR, "6h": 6 * HOUR, "24h": 24 * HOUR, "7d": 7 * 24 * HOUR}
_RANGE_WORDS = {"15m": "15 minutes", "1h": "hour", "6h": "6 hours", "24h": "24 hours", "7d": "7 days"}
_MOST_POINTS = 16_000
_MOST_SERIES = 64
_MOST_EVENTS = 40
_MOST_ROWS = 12
_REFRESH_SECONDS = 10
_PREFERRED = ("gpu_temperature_celsius", "gpu_power_watts", "node_power_watts", "node_cpu_utilization_ratio")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address asks for, read once: the span, the matchers in words, whether it moves with time."""

    metric: str
    match: str
    start: int
    end: int
    moves: bool


def layout(reader: Reader, address: Address) -> Any:
    """Return the page, drawn as the address says."""
    metrics = reader.backends.metrics.metrics()
    metric = address.get("metric") or next(
        (name for name in _PREFERRED if name in metrics), metrics[0] if metrics else ""
    )
    if metric and metric not in metrics:
        metrics = [*metrics, metric]
    options = [{"value": name, "label": words.metric_title(name)} for name in metrics]
    options.sort(key=lambda option: words.natural(option["label"].lower()))
    ranges = [{"value": key, "label": f"Last {word}"} for key, word in _RANGE_WORDS.items()]
    chosen = address.with_(metric=metric)
    return html.Div(
        [
            html.Div(
                [
                    html.H1("Explore"),
                    html.Div(
                        [
                            components.select("explore-metric", "Metric", options, metric, searchable=True, w=260),
                            dmc.Select(
                                id="explore-of", data=_places(reader, "", address.get("of")), value=address.get("of"),
                                placeholder="Everything, or type a node, GPU, rack …", searchable=True, clearable=True,
                                size="xs", w=250, nothingFoundMessage="nothing here is called that", limit=20,
                                filter={"function": "coldaisleAnything"}, className="search",
                                **{"aria-label": "Entity"},
                            ),
                            dmc.TextInput(
                                id="explore-match", placeholder='Labels: gpu=~"GPU-a.*"', size="xs",
                                value=address.get("match"), debounce=400, w=220, className="mono-input",
                                **{"aria-label": "Label matchers"},
                            ),
                            components.select("explore-range", "Time range", ranges, address.get("range", "1h"), w=140),
                            dmc.Switch(
                                id="explore-expected", label="Expected", size="xs", className="switch",
                                checked=_wants_expected(address), disabled=reader.backends.expecting is None,
                            ),
                        ],
                        className="filters",
                    ),
                ],
                className="page-head",
            ),
            html.Div(_drawn(reader, chosen), id="explore-drawn", className="panel"),
            dcc.Interval(
                id="explore-tick", interval=_REFRESH_SECONDS * 1000, disabled=bool(address.get("end")),
            ),
        ]
    )  # fmt: skip


def _wants_expected(address: Address) -> bool:
    return address.get("expected") == "yes"


def _places(reader: Reader, text: str, chosen: str) -> list[dict[str, str]]:
    topology = reader.backends.topology()
    found = search.entities(topology, text, 20) if text else [e.id for e in topology.of_kind("rack")[:12]]
    names = list(dict.fromkeys([*([chosen] if chosen else []), *found]))
    return [{"value": one, "label": words.called(one, topology)} for one in names]


def asked(reader: Reader, address: Address) -> Asked:
    """Return what the address asks for. Raises ConfigError."""
    metric, text, of = address.get("metric"), address.get("match"), address.get("of")
    place = matchers_within(of, metric, reader.backends.topology()) if of else ""
    last = filters.instant(address.get("end"), "end")
    end = reader.now() if last is None else last
    start = end - _RANGES.get(address.get("range", "1h"), HOUR)
    return Asked(metric, ", ".join(part for part in (place, text) if part), start, end, last is None)


def _drawn(reader: Reader, address: Address) -> Any:
    if not address.get("metric"):
        return components.empty(
            "∅", "Nothing is stored yet", "Series appear here once a collector has sent its first frame."
        )
    topology = reader.backends.topology()
    try:
        wanted = asked(reader, address)
        matchers = matcher.parse(wanted.match)
        known = len(reader.backends.metrics.series(wanted.metric, matchers, limit=1000))
        points = max(50, _MOST_POINTS // max(1, min(known, _MOST_SERIES)))
        found = reader.lines(wanted.metric, wanted.match, wanted.start, wanted.end, points, _MOST_SERIES)
        found.sort(key=lambda line: words.natural(words.short(topology.entity_of(line.series.labels), topology)))
        events = [
            event
            for event in reader.backends.metrics.events(wanted.start, wanted.end, matchers, limit=500)
            if event.kind != "job" or address.get("of") or address.get("match")  # jobs come and go all day
        ][:_MOST_EVENTS]
    except ConfigError as error:
        return components.trouble("These labels cannot be read", f"{error}")
    except ColdaisleError as error:
        return components.trouble(
            "The store did not answer", f"{error}. The page tries again when you change something."
        )
    drawn = [line for line in found if len(line.timestamps)]
    if not drawn:
        return _nothing(wanted.metric, address, known)
    names = named(
        [line.series.labels for line in drawn], [topology.entity_of(line.series.labels) for line in drawn], reader
    )
    ahead = (wanted.end - wanted.start) // expectation.AHEAD_SHARE
    told = None
    if _wants_expected(address):
        told = expectation.of(reader, wanted.match, drawn, wanted.start, wanted.end, ahead)
    band = reader.expected_band(drawn[0].series) if len(drawn) == 1 and wanted.moves and told is None else None
    many = len(drawn) > 6
    lit = figures.strangest(drawn) if many else None
    figure = figures.explore(
        drawn, wanted.metric, palette(address.theme), address.zone, band, events, (wanted.start, wanted.end), names, lit
    )
    if told is not None and told.told:
        expected_figure.behind(figure, drawn, told.told, names, palette(address.theme), wanted.end)
    figure.update_layout(uirevision=f"{wanted.metric} {wanted.match} {address.get('range')} {address.get('expected')}")
    shown = f"the first {len(drawn)} of {'over ' if known >= 1000 else ''}{known:,} series"
    facts = [shown if known > len(drawn) else words.counted_things(len(drawn), "series", "series")]
    facts += [f"{names[lit]} stands out"] if lit is not None else ["hover to tell lines apart"] if many else []
    facts += [words.counted_things(len(events), "event", "events") + " marked"] if events else []
    facts += ["shaded: expected now"] if band else []
    facts.append(f"times in {words.zone_word(wanted.end, address.zone)}")
    return html.Div(
        [
            html.Div(
                [
                    html.H2(f"{words.metric_title(wanted.metric)}{_of(reader, address)}, {_when(address, wanted)}"),
                    html.Span(" · ".join(facts), className="muted"),
                ],
                className="section-head",
            ),
            dcc.Graph(
                id="explore-graph", figure=figure, config=components.GRAPH_CONFIG, style={"height": "440px"},
                clear_on_unhover=True, className="many" if many else "",
            ),
            *([] if told is None else [_told(told)]),
            _table(drawn, names, wanted.metric, lit),
        ]
    )  # fmt: skip


def _told(told: expectation.Expectation) -> html.Div:
    """Say under the chart what the bands mean and how well they held, or why there are none."""
    if told.why_not:
        return html.Div(f"Expected: {told.why_not}.", className="chart-under", role="status")
    key = [
        html.Span([html.Span(className="key key-band80"), "8 of 10 readings are expected here"]),
        html.Span([html.Span(className="key key-band98"), "98 of 100"]),
        html.Span([html.Span(className="key key-median"), "as likely above as below"]),
    ]
    foot = [f"told {words.span(told.step)} before each reading"]
    foot += [f"of those shown {100 * told.inside:.0f} % came in the 80 % band"] if told.inside is not None else []
    foot += [f"forecast for {words.span(told.reach)}" if told.reach else "silent for too long to be foretold"]
    under = [html.Div(key, className="chart-key"), html.Div(" · ".join(foot), className="chart-foot")]
    return html.Div(under, className="chart-under")


def _of(reader: Reader, address: Address) -> str:
    return f" of {words.called(address.get('of'), reader.backends.topology())}" if address.get("of") else ""


def _when(address: Address, wanted: Asked) -> str:
    word = _RANGE_WORDS.get(address.get("range", "1h"), "hour")
    return f"last {word}" if wanted.moves else f"the {word} before {words.date_and_time(wanted.end, address.zone)}"


def _nothing(metric: str, address: Address, known: int) -> Any:
    if known:
        return components.empty(
            "∅", "Silent in this span", f"{known:,} series match, but none has a sample here. Choose a longer range."
        )
    where = " and ".join(part for part in (address.get("of"), address.get("match")) if part)
    why = f"No series of {metric} is stored for {where}." if where else f"No series of {metric} is stored."
    return components.empty(
        "∅", "No series matches", f'{why} Labels are written name="value"; =~ takes a regular expression.'
    )


def _table(lines: Sequence[Line], names: Sequence[str], metric: str, lit: int | None) -> html.Div:
    unit = words.unit_of(metric)
    rows = []
    order = [*([lit] if lit is not None else []), *(i for i in range(len(lines)) if i != lit)]
    for position in order[:_MOST_ROWS]:
        line, name = lines[position], names[position]
        values = line.values[line.values == line.values]
        cells = (values[-1], values.min(), values.mean(), values.max()) if len(values) else (None,) * 4
        rows.append(
            html.Tr(
                [
                    html.Td(name, title=str(line.series), className="strong" if position == lit else ""),
                    *(html.Td(words.quantity(None if c is None else float(c), unit), className="num") for c in cells),
                ]
            )
        )
    head = html.Thead(
        html.Tr([html.Th("Series"), *(html.Th(word, className="num") for word in ("Newest", "Least", "Mean", "Most"))])
    )
    more = [html.P(f"and {len(lines) - _MOST_ROWS} more", className="muted")] if len(lines) > _MOST_ROWS else []
    return html.Div([html.Table([head, html.Tbody(rows)], className="plain"), *more], className="table-wrap")


def named(labels: Sequence[tuple[tuple[str, str], ...]], entities: Sequence[str], reader: Reader) -> list[str]:
    """Return what each series is called: its entity where that tells them apart, else what differs in their labels."""
    topology = reader.backends.topology()
    called = [words.short(entity, topology) for entity in entities]
    return called if len(set(called)) == len(called) else distinct(labels)


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
    app.clientside_callback(
        ClientsideFunction("coldaisle", "lit"), Output("explore-graph", "className"),
        Input("explore-graph", "hoverData"), prevent_initial_call=True,
    )  # fmt: skip

    @on(
        app,
        Output("explore-of", "data"),
        Input("explore-of", "searchValue"),
        State("explore-of", "value"),
        prevent_initial_call=True,
    )
    def suggest(text: str | None, chosen: str | None) -> list[dict[str, str]]:
        if chosen and text == words.called(chosen, reader.backends.topology()):
            raise PreventUpdate  # the box shows what is chosen; nobody searches
        return _places(reader, text or "", chosen or "")

    @on(
        app,
        Output("explore-drawn", "children"),
        Output("url", "search", allow_duplicate=True),
        Output("wrote", "data", allow_duplicate=True),
        Output("explore-tick", "disabled"),
        Input("explore-metric", "value"),
        Input("explore-of", "value"),
        Input("explore-match", "value"),
        Input("explore-range", "value"),
        Input("explore-expected", "checked"),
        Input("explore-tick", "n_intervals"),
        State("url", "search"),
        State("theme", "data"),
        State("zone", "data"),
        prevent_initial_call=True,
        running=held("explore-tick"),
    )
    def choose(
        metric: str, of: str | None, match: str, lasting: str, expected: bool, _tick: int, search: str, theme: str,
        zone: str,
    ) -> Any:  # fmt: skip
        before = Address.of("/explore", search, theme, zone)
        if ctx.triggered_id == "explore-tick":
            return _drawn(reader, before.with_(metric=metric)), no_update, no_update, no_update
        after = before.with_(metric=metric, of=of, match=match, range=lasting, expected="yes" if expected else None)
        same = before.get("metric", metric) == metric and before.get("match") == (match or "")
        same = same and before.get("of") == (of or "") and before.get("range", "1h") == lasting
        if same and before.get("expected") == after.get("expected"):
            raise PreventUpdate
        if before.get("range", "1h") != lasting:
            after = after.with_(end=None)  # who asks for "last hour" means now
        return _drawn(reader, after), after.search, after.search, bool(after.get("end"))
