"""The hall at a glance, and what is open in it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from dash import Dash, Input, Output, Patch, State, dcc, html, no_update
from dash.exceptions import PreventUpdate

from dashboard import components, figures, words
from dashboard.callbacks import on
from dashboard.hall import Picture
from dashboard.pages.address import Address
from dashboard.reader import Reader, matcher_for
from dashboard.theme import palette

_MOST_TALL = 620
_LEAST_TALL = 280


def layout(reader: Reader, address: Address) -> Any:
    """Return the page, drawn at once: no spinner before the first picture."""
    view = address.get("view", figures.STATE)
    incidents = reader.open_incidents()
    picture = reader.picture(incidents, _metric(view))
    now = reader.now()
    cards = components.incident_list(incidents, now)
    strip = components.status_strip(reader.status(incidents, picture))
    return html.Div(
        [
            html.H1("Fleet", className="visually-hidden"),
            html.Div(strip, id="fleet-status"),
            html.Div(
                [
                    html.Section(
                        [
                            html.Div(
                                [
                                    html.H2(reader.backends.hall),
                                    html.Div(components.legend(view, _scale(picture, view)), id="fleet-legend"),
                                    components.select(
                                        "fleet-view", "Colour the hall by", _views(reader), view, w=220, searchable=True
                                    ),
                                ],
                                className="section-head",
                            ),
                            html.Div(_hall(picture, view, address), id="fleet-hall"),
                            html.P(_caption(picture), className="caption", id="fleet-caption"),
                        ],
                        className="panel hall",
                    ),
                    html.Section(
                        [
                            html.Div([html.H2("Open incidents")], className="section-head"),
                            html.Div(cards, id="fleet-cards", className="cards"),
                        ],
                        className="open-incidents",
                    ),
                ],
                className="fleet",
            ),
            dcc.Interval(id="fleet-tick", interval=round(reader.settings.refresh_seconds * 1000)),
            dcc.Store(
                id="fleet-known",
                data={
                    "strip": components.digest(strip),
                    "cards": components.digest(cards),
                    "hall": _key(picture, view),
                },
            ),
        ]
    )


def _views(reader: Reader) -> list[dict[str, Any]]:
    metrics = [{"value": metric, "label": words.metric_title(metric)} for metric in reader.metrics_of_cells()]
    judged = [{"value": figures.STATE, "label": "State"}, {"value": figures.SCORE, "label": "Anomaly score"}]
    return [{"group": "Judged", "items": judged}, {"group": "Measured", "items": metrics}]


def _scale(picture: Picture | None, view: str) -> tuple[str, str] | None:
    """The least and the most of the colours, in words."""
    if picture is None or view == figures.STATE:
        return None
    if view == figures.SCORE:
        return "usual", "never seen"
    _, least, most = figures.hall_values(picture, view)
    unit = words.unit_of(view)
    return words.quantity(least, unit), words.quantity(most, unit)


def _metric(view: str) -> str | None:
    return None if view in (figures.STATE, figures.SCORE) else view


def _key(picture: Picture | None, view: str) -> str:
    return "" if picture is None else f"{view}:{hash(picture.arrangement.cells)}"


def _hall(picture: Picture | None, view: str, address: Address) -> Any:
    if picture is None or not picture.arrangement.cells:
        return [
            components.empty(
                "▨", "No telemetry yet", "The hall appears here as soon as a collector has reported a node."
            ),
            dcc.Graph(id="hall-graph", style={"display": "none"}),
        ]
    figure = figures.hall_heatmap(picture, view, palette(address.theme))
    tall = max(_LEAST_TALL, min(_MOST_TALL, 30 * picture.arrangement.height + 24))
    return dcc.Graph(
        id="hall-graph",
        figure=figure,
        config=components.GRAPH_CONFIG,
        style={"height": f"{tall}px"},
        className="hall-graph",
    )


def _caption(picture: Picture | None) -> str:
    if picture is None or not picture.arrangement.cells:
        return ""
    what = "GPU" if picture.arrangement.kind == "gpu" else "node"
    line = ", a line is a node, a block is a rack" if what == "GPU" else ", a block is a rack"
    return f"A cell is a {what}{line}. Hover for its numbers; click to open its incident or its history."


def register(app: Dash, reader: Reader) -> None:
    """Wire the page."""

    @on(
        app,
        Output("fleet-status", "children"),
        Output("fleet-cards", "children"),
        Output("fleet-hall", "children"),
        Output("hall-graph", "figure"),
        Output("fleet-known", "data"),
        Input("fleet-tick", "n_intervals"),
        State("fleet-view", "value"),
        State("fleet-known", "data"),
        State("theme", "data"),
        State("zone", "data"),
        prevent_initial_call=True,
    )
    def refresh(_tick: int, view: str, known: dict[str, str], theme: str, zone: str) -> Any:
        incidents = reader.open_incidents()
        picture = reader.picture(incidents, _metric(view))
        strip = components.status_strip(reader.status(incidents, picture))
        cards = components.incident_list(incidents, reader.now())
        fresh = {"strip": components.digest(strip), "cards": components.digest(cards), "hall": _key(picture, view)}
        same = fresh["hall"] == known.get("hall") and picture is not None and bool(picture.arrangement.cells)
        return (
            no_update if fresh["strip"] == known.get("strip") else strip,
            no_update if fresh["cards"] == known.get("cards") else cards,
            no_update if same else _hall(picture, view, Address("/", {"view": view}, theme, zone)),
            _patch(figures.hall_patch(picture, view, palette(theme))) if same and picture is not None else no_update,
            fresh,
        )

    @on(
        app,
        Output("fleet-hall", "children", allow_duplicate=True),
        Output("fleet-legend", "children"),
        Output("fleet-known", "data", allow_duplicate=True),
        Output("url", "search", allow_duplicate=True),
        Output("wrote", "data", allow_duplicate=True),
        Input("fleet-view", "value"),
        State("theme", "data"),
        State("zone", "data"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def choose(view: str, theme: str, zone: str, search: str) -> Any:
        address = Address.of("/", search, theme, zone).with_(view=view if view != figures.STATE else None)
        if address.search == (search or ""):
            raise PreventUpdate
        picture = reader.picture(reader.open_incidents(), _metric(view))
        known = Patch()
        known["hall"] = _key(picture, view)
        return (
            _hall(picture, view, address),
            components.legend(view, _scale(picture, view)),
            known,
            address.search,
            address.search,
        )

    @on(
        app,
        Output("url", "href", allow_duplicate=True),
        Input("hall-graph", "clickData"),
        State("fleet-view", "value"),
        prevent_initial_call=True,
    )
    def follow(click: dict[str, Any] | None, view: str) -> str:
        cell = click["points"][0].get("customdata") if click and click.get("points") else None
        picture = reader.picture(reader.open_incidents(), _metric(view))
        if not isinstance(cell, str) or picture is None or cell not in picture.arrangement.cells:
            raise PreventUpdate
        position = picture.arrangement.cells.index(cell)
        if picture.incident[position] and view in (figures.STATE, figures.SCORE):
            return f"/incidents/{quote(picture.incident[position])}"
        metric = _metric(view) or picture.strangest[position]
        return "/explore?" + urlencode({"metric": metric, "match": matcher_for(cell)})


def _patch(change: dict[str, Any]) -> Patch:
    patch = Patch()
    patch["data"][0]["z"] = change["under"]
    for name in ("z", "zmin", "zmax", "text"):
        patch["data"][1][name] = change[name]
    for number, marks in enumerate(change["marks"], start=2):
        patch["data"][number]["x"], patch["data"][number]["y"] = marks["x"], marks["y"]
    return patch
