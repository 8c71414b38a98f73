"""The dialog that mutes one incident for a time."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, html, no_update
from dash.exceptions import PreventUpdate

from coldaisle.errors import ColdaisleError
from coldaisle.incident import Incident
from dashboard import actions, components, silencing, words
from dashboard.callbacks import on
from dashboard.reader import Reader

_TIMES = {"1800": "30 min", "7200": "2 hours", "28800": "8 hours", "86400": "1 day", "604800": "7 days"}


def layout(reader: Reader, incident: Incident) -> Any:
    """Return the dialog, closed."""
    topology = reader.backends.topology()
    meant = silencing.matchers_for(incident, topology)
    return dmc.Modal(
        html.Div(
            [
                html.P(
                    [
                        "Nobody is told of ",
                        html.Strong(silencing.said(meant, topology)),
                        " until the silence ends. It stays on the pages and in History.",
                    ]
                ),
                html.Code(", ".join(str(one) for one in meant), className="matchers"),
                html.Div("For how long", className="field-name", id="silence-for-name"),
                dmc.SegmentedControl(
                    id="silence-for", data=[{"value": k, "label": v} for k, v in _TIMES.items()], value="7200",
                    size="xs", fullWidth=True, transitionDuration=0, **{"aria-labelledby": "silence-for-name"},
                ),
                dmc.TextInput(
                    id="silence-comment", label="Why", placeholder="e.g. pump is being changed, ticket 4711", size="sm",
                    **{"data-autofocus": True},
                ),
                html.Div(id="silence-said", **{"aria-live": "polite"}),
                dmc.Button("Silence", id="silence-do", size="sm", variant="filled"),
            ],
            className="dialog",
        ),
        id="silence-box", title="Silence this incident", size="md", transitionProps={"duration": 0},
    )  # fmt: skip


def register(app: Dash, reader: Reader) -> None:
    """Wire the dialog."""

    @on(
        app,
        Output("silence-box", "opened", allow_duplicate=True),
        Output("silence-said", "children"),
        Output("silence-comment", "value"),
        Output("incident-said", "children", allow_duplicate=True),
        Output("incident-known", "data", allow_duplicate=True),
        Output("incident-tick", "n_intervals"),
        Input("silence-do", "n_clicks"),
        Input("silence-comment", "n_submit"),
        State("silence-for", "value"),
        State("silence-comment", "value"),
        State("actor", "value"),
        State("incident-id", "data"),
        prevent_initial_call=True,
    )
    def mute(clicks: int | None, entered: int | None, lasts: str, comment: str, actor: str, identity: str) -> Any:
        if not clicks and not entered:
            raise PreventUpdate
        try:
            seconds = float(lasts)
            made = actions.silence_incident(reader.backends, identity, actions.Deed.of(actor, comment), seconds)
        except (actions.NotFound, ColdaisleError, ValueError) as error:
            return no_update, components.trouble("Not silenced", str(error)), no_update, no_update, no_update, no_update
        said = html.Span(
            f"✓ Muted for {words.span(made.ends_at - made.starts_at)}. End it above.", className="tone-fine"
        )
        return False, None, "", said, {}, 0  # an empty memory of what is shown: all of it is drawn anew at once
