"""The hall at a glance, what is open in it, and every place in it down to one GPU."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from dash import ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.exceptions import PreventUpdate

from coldaisle.incident import Incident
from coldaisle.topology import kind_of
from dashboard import components, hall_figure, places, words
from dashboard.callbacks import held, on
from dashboard.hall import Picture
from dashboard.hall_figure import Drawn
from dashboard.pages import place_parts
from dashboard.pages.address import Address
from dashboard.reader import Reader
from dashboard.theme import palette

_MOST_TALL = 600
_LINE_PIXELS = 30
_WORDS_EVERY = 4  # ticks: the words of hovering are most of an update's bytes
_CHARTS_EVERY = 20  # ticks
_MOST_SMALL = 2000  # cells up to which words travel with every tick


def layout(reader: Reader, address: Address) -> Any:
    """Return the page, drawn at once: no spinner before the first picture."""
    view, at = address.get("view", hall_figure.STATE), address.get("at")
    topology = reader.backends.topology()
    if at and at not in topology:
        return html.Div(
            [
                components.empty("?", "No such place", f"Nothing here is called {at!r}. Press / to search."),
                dcc.Link("To the hall", href="/", className="more"),
            ]
        )
    incidents = reader.open_incidents()
    whole = reader.picture(incidents, _metric(view))
    picture = _narrowed(reader, whole, address)
    strip = components.status_strip(reader.status(incidents, whole))
    cards = _cards(reader, incidents, at)
    numbers = place_parts.numbers(reader, address) if at else None
    return html.Div(
        [
            html.H1("Fleet", className="visually-hidden"),
            html.Div(strip, id="fleet-status"),
            html.Div(
                [
                    html.Div(
                        [
                            html.Section(
                                [
                                    html.Div(
                                        [
                                            _way(reader, address),
                                            html.Div(components.legend(view, _scale(whole, view)), id="fleet-legend"),
                                            components.select(
                                                "fleet-view", "Colour the hall by", _views(reader), view, w=220,
                                                searchable=True,
                                            ),
                                        ],
                                        className="section-head",
                                    ),
                                    html.Div(_hall(reader, picture, view, address, incidents), id="fleet-hall"),
                                    html.P(_caption(picture, at), className="caption", id="fleet-caption"),
                                ],
                                className="panel hall",
                            ),
                            *([html.Div(one) for one in place_parts.around(at, topology)] if at else []),
                            html.Div(place_parts.frame(at) if at else None, id="fleet-charts"),
                            html.Div(numbers, id="fleet-numbers"),
                            dcc.Store(id="fleet-place", data=at),
                        ],
                        className="fleet-main",
                    ),
                    html.Section(
                        [
                            html.Div([html.H2(_where(at, reader))], className="section-head"),
                            html.Div(cards, id="fleet-cards", className="cards"),
                        ],
                        className="open-incidents",
                    ),
                ],
                className="fleet",
            ),
            dcc.Interval(id="fleet-tick", interval=round(reader.settings.refresh_seconds * 1000)),
            dcc.Interval(
                id="fleet-charts-tick", interval=round(reader.settings.refresh_seconds * 1000) * _CHARTS_EVERY
            ),
            dcc.Store(id="fleet-change"),
            dcc.Store(
                id="fleet-known",
                data={
                    "strip": components.digest(strip),
                    "cards": components.digest(cards),
                    "hall": _key(picture, view),
                    "numbers": components.digest(numbers),
                },
            ),
        ]
    )  # fmt: skip


def _narrowed(reader: Reader, picture: Picture | None, address: Address) -> Picture | None:
    at = address.get("at")
    if picture is None:
        return None
    where = places.cells_of(picture.arrangement, at, reader.backends.topology()) if at else None
    if where is not None and kind_of(at) == "site":
        where = None
    return places.narrowed(picture, where, address.screen)


def _way(reader: Reader, address: Address) -> html.Nav:
    """The way from the hall to the place that is shown, each step a link."""
    at, topology = address.get("at"), reader.backends.topology()
    steps: list[Any] = []
    chain = ["", *(places.path_to(at, topology) if at else [])]
    for place in chain:
        said = words.called(place, topology) if place else reader.backends.hall
        last = place == chain[-1]
        href = "/" + address.with_(at=place or None).search
        steps += [html.H2(said) if last else dcc.Link(said, href=href), *([] if last else [html.Span("›")])]
    return html.Nav(steps, className="way", **{"aria-label": "Where this is"})


def _where(at: str, reader: Reader) -> str:
    return f"Open here: {words.called(at, reader.backends.topology())}" if at else "Open incidents"


def _cards(reader: Reader, incidents: list[Incident], at: str) -> list[Any]:
    if not at:
        return components.incident_list(incidents, reader.now())
    here = places.touching(incidents, at, reader.backends.topology())
    cards = (
        components.incident_list(here, reader.now())
        if here
        else [components.empty("✓", "Nothing is open here", "No open incident touches this place.")]
    )
    elsewhere = len(incidents) - len(here)
    if elsewhere:
        said = words.counted_things(elsewhere, "open incident", "open incidents")
        cards.append(dcc.Link(f"{said} elsewhere", href="/", className="more"))
    cards.append(dcc.Link("Its history", href="/history?" + urlencode({"entity": at}), className="more"))
    return cards


def _views(reader: Reader) -> list[dict[str, Any]]:
    metrics = [{"value": metric, "label": words.metric_title(metric)} for metric in reader.metrics_of_cells()]
    judged = [{"value": hall_figure.STATE, "label": "State"}, {"value": hall_figure.SCORE, "label": "Anomaly score"}]
    return [{"group": "Judged", "items": judged}, {"group": "Measured", "items": metrics}]


def _scale(picture: Picture | None, view: str) -> tuple[str, str] | None:
    """The least and the most of the colours, in words."""
    if picture is None or view == hall_figure.STATE:
        return None
    if view == hall_figure.SCORE:
        return "usual", "never seen"
    _, least, most = hall_figure.hall_values(picture, view)
    unit = words.unit_of(view)
    return words.quantity(least, unit), words.quantity(most, unit)


def _metric(view: str) -> str | None:
    return None if view in (hall_figure.STATE, hall_figure.SCORE) else view


def _key(picture: Picture | None, view: str) -> str:
    return "" if picture is None else f"{view}:{hash(picture.arrangement.cells)}"


def _drawn(reader: Reader, picture: Picture, address: Address, incidents: list[Incident]) -> Drawn:
    topology = reader.backends.topology()
    return Drawn(
        cell_pixels=places.hall_pixels(address.screen) / max(1, picture.arrangement.width),
        names=[words.short(cell, topology) for cell in picture.arrangement.cells],
        titles={one.id: one.title for one in incidents},
        here=address.get("at") if kind_of(address.get("at")) == "gpu" else "",
    )


def _hall(reader: Reader, picture: Picture | None, view: str, address: Address, incidents: list[Incident]) -> Any:
    hidden = dcc.Graph(id="hall-graph", style={"display": "none"})
    if picture is None:
        waiting = "The hall appears here as soon as a collector has reported a node."
        return [components.empty("▨", "No telemetry yet", waiting), hidden]
    if not picture.arrangement.cells:
        return [html.P("No GPU or node depends on it; its own numbers stand below.", className="muted"), hidden]
    figure = hall_figure.hall_heatmap(
        picture, view, palette(address.theme), _drawn(reader, picture, address, incidents)
    )
    lines = picture.arrangement.height
    alone = len(picture.arrangement.blocks) == 1
    most = _MOST_TALL if address.screen > 640 or alone else 20 * lines + 24
    each = 72 if lines == 1 else 56 if alone else _LINE_PIXELS
    return dcc.Graph(
        id="hall-graph",
        figure=figure,
        config=components.GRAPH_CONFIG,
        style={"height": f"{max(96, min(most, each * lines + 24))}px"},
        className="hall-graph",
    )


def _caption(picture: Picture | None, at: str) -> str:
    if picture is None or not picture.arrangement.cells:
        return ""
    what = "GPU" if picture.arrangement.kind == "gpu" else "node"
    if at:
        return f"A cell is a {what}. Hover for its numbers; click to look closer."
    line = ", a line is a node, a block is a rack" if what == "GPU" else ", a block is a rack"
    return f"A cell is a {what}{line}. Hover for its numbers; click a rack, a row or a cell to look closer."


def register(app: Dash, reader: Reader) -> None:
    """Wire the page."""

    @on(
        app,
        Output("fleet-status", "children"),
        Output("fleet-cards", "children"),
        Output("fleet-hall", "children"),
        Output("fleet-change", "data"),
        Output("fleet-numbers", "children"),
        Output("fleet-known", "data"),
        Input("fleet-tick", "n_intervals"),
        State("fleet-view", "value"),
        State("fleet-known", "data"),
        State("url", "search"),
        State("theme", "data"),
        State("zone", "data"),
        State("screen", "data"),
        prevent_initial_call=True,
        running=held("fleet-tick"),
    )
    def refresh(tick: int, view: str, known: dict[str, str], search: str, theme: str, zone: str, screen: int) -> Any:
        address = Address.of("/", search, theme, zone, screen)
        at = address.get("at")
        if at and at not in reader.backends.topology():
            raise PreventUpdate
        incidents = reader.open_incidents()
        whole = reader.picture(incidents, _metric(view))
        picture = _narrowed(reader, whole, address)
        strip = components.status_strip(reader.status(incidents, whole))
        cards = _cards(reader, incidents, at)
        numbers = place_parts.numbers(reader, address) if at and tick % _WORDS_EVERY == 0 else no_update
        fresh = {**known, "strip": components.digest(strip), "cards": components.digest(cards)}
        fresh["hall"] = _key(picture, view)
        same = fresh["hall"] == known.get("hall") and picture is not None and bool(picture.arrangement.cells)
        change: Any = no_update
        if same and picture is not None:
            drawn = _drawn(reader, picture, address, incidents)
            with_words = len(picture.arrangement.cells) <= _MOST_SMALL or tick % _WORDS_EVERY == 0
            change = hall_figure.hall_patch(picture, view, palette(theme), drawn, with_words)
        return (
            no_update if fresh["strip"] == known.get("strip") else strip,
            no_update if fresh["cards"] == known.get("cards") else cards,
            no_update
            if same or fresh["hall"] == known.get("hall")
            else _hall(reader, picture, view, address, incidents),
            change,
            numbers,
            fresh,
        )

    # A Patch would be laid on by the browser even when its reader has gone to another page, and fail there.
    app.clientside_callback(
        ClientsideFunction("coldaisle", "repaint"), Output("hall-graph", "figure"),
        Input("fleet-change", "data"), State("hall-graph", "figure"), prevent_initial_call=True,
    )  # fmt: skip

    @on(
        app,
        Output("fleet-charts", "children"),
        Input("fleet-place", "data"),
        Input("fleet-charts-tick", "n_intervals"),
        State("theme", "data"),
        State("zone", "data"),
        running=held("fleet-charts-tick"),
    )
    def draw(at: str | None, _tick: int | None, theme: str, zone: str) -> Any:
        if not at or at not in reader.backends.topology():
            raise PreventUpdate
        return place_parts.charts(reader, Address("/", {"at": at}, theme, zone))

    @on(
        app,
        Output("fleet-hall", "children", allow_duplicate=True),
        Output("fleet-legend", "children"),
        Output("fleet-known", "data", allow_duplicate=True),
        Output("url", "search", allow_duplicate=True),
        Output("wrote", "data", allow_duplicate=True),
        Input("fleet-view", "value"),
        State("fleet-known", "data"),
        State("theme", "data"),
        State("zone", "data"),
        State("url", "search"),
        State("screen", "data"),
        prevent_initial_call=True,
    )
    def choose(view: str, known: dict[str, str], theme: str, zone: str, search: str, screen: int) -> Any:
        before = Address.of("/", search, theme, zone, screen)
        address = before.with_(view=view if view != hall_figure.STATE else None)
        if address.get("view") == before.get("view"):
            raise PreventUpdate
        incidents = reader.open_incidents()
        whole = reader.picture(incidents, _metric(view))
        picture = _narrowed(reader, whole, address)
        return (
            _hall(reader, picture, view, address, incidents),
            components.legend(view, _scale(whole, view)),
            {**known, "hall": _key(picture, view)},
            address.search,
            address.search,
        )

    @on(
        app,
        Output("url", "href", allow_duplicate=True),
        Input("hall-graph", "clickData"),
        Input("hall-graph", "clickAnnotationData"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def follow(click: dict[str, Any] | None, label: dict[str, Any] | None, search: str) -> str:
        address = Address.of("/", search, None, None)
        topology = reader.backends.topology()
        if ctx.triggered and ctx.triggered[0]["prop_id"].endswith("clickAnnotationData"):
            to = str((label or {}).get("annotation", {}).get("name", ""))
        else:
            cell = click["points"][0].get("customdata") if click and click.get("points") else None
            to = closer(str(cell), address.get("at"), reader) if isinstance(cell, str) else ""
        if not to or to not in topology or to == address.get("at"):
            raise PreventUpdate
        return "/" + address.with_(at=to).search


def closer(cell: str, at: str, reader: Reader) -> str:
    """Return what a click on ``cell`` shows: from the hall or a row its rack, from there on the cell itself."""
    topology = reader.backends.topology()
    rack = topology.within(cell, "rack")
    wide = not at or kind_of(at) not in ("rack", "node", "gpu", "nic", "psu")
    return rack if wide and rack is not None else cell
