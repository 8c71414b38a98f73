"""The search over everything: any entity, any incident, from any page."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import dash_mantine_components as dmc
from dash import ClientsideFunction, Dash, Input, Output, dcc, html

from coldaisle.errors import ColdaisleError
from dashboard import components, search, words
from dashboard.callbacks import on
from dashboard.reader import Reader
from dashboard.theme import look

_MOST_TEXT = 200


def layout() -> Any:
    """Return the box, closed."""
    return dmc.Modal(
        [
            dmc.TextInput(
                id="search-text", placeholder="Node, GPU, rack, cooling unit, port, incident …", debounce=150,
                size="md",
                **{"aria-label": "Search entities and incidents", "data-autofocus": True},
            ),
            html.Div(_hint(), id="search-hits", className="hits", **{"aria-live": "polite"}),
        ],
        id="search", withCloseButton=False, size="lg", padding="sm", yOffset="8vh",
        transitionProps={"duration": 0},
    )  # fmt: skip


def _hint() -> html.P:
    return html.P("Try n042, gpu 5 of n042, rack B03, cdu-B, or a word of an incident.", className="muted")


def hits(reader: Reader, text: str) -> list[Any]:
    """Return what matches, entities before incidents, each a link."""
    asked = text.strip()[:_MOST_TEXT]
    if not asked:
        return [_hint()]
    topology = reader.backends.topology()
    try:
        found = search.incidents(reader.backends.incidents, asked)
    except ColdaisleError as error:
        return [components.trouble("Incidents cannot be searched now", str(error))]
    shown = [
        dcc.Link(
            [
                html.Span(words.called(entity, topology), className="hit-name"),
                html.Span(search.place(entity, topology), className="muted"),
            ],
            href="/?" + urlencode({"at": entity}),
            className="hit",
        )
        for entity in search.entities(topology, asked)
    ]
    shown += [
        dcc.Link(
            [
                html.Span(
                    [html.Span(look(one.severity).shape, className=f"shape tone-{look(one.severity).key}"), one.title],
                    className="hit-name",
                ),
                html.Span(components.state_word(one), className="muted"),
            ],
            href=f"/incidents/{one.id}",
            className="hit",
        )
        for one in found
    ]
    if len(found) > 1:
        shown.append(
            dcc.Link("All incidents with these words", href="/history?" + urlencode({"text": asked}), className="hit")
        )
    return shown or [html.P(f"Nothing here is called or says “{asked[:60]}”.", className="muted")]


def register(app: Dash, reader: Reader) -> None:
    """Wire the box."""
    app.clientside_callback(
        ClientsideFunction("coldaisle", "searching"), Output("search", "opened"),
        Input("search-open", "n_clicks"), Input("url", "pathname"), Input("url", "search"),
        prevent_initial_call=True,
    )  # fmt: skip

    @on(app, Output("search-hits", "children"), Input("search-text", "value"), prevent_initial_call=True)
    def find(text: str | None) -> list[Any]:
        return hits(reader, text or "")
