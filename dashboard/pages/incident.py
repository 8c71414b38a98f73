"""One incident: what is wrong, why we believe it, how far it reaches, what to do."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.exceptions import PreventUpdate

from coldaisle.errors import ColdaisleError
from coldaisle.incident import Incident, IncidentState, ResolveReason
from coldaisle.topology import kind_of
from dashboard import actions, components, silencing
from dashboard.callbacks import held, on
from dashboard.pages import incident_evidence, silence_box
from dashboard.pages import incident_parts as parts
from dashboard.pages.address import Address
from dashboard.reader import Reader

_REASONS = {
    ResolveReason.REAL: ("Real", "it was wrong and is mended"),
    ResolveReason.NOISE: ("Noise", "nothing was wrong"),
    ResolveReason.PLANNED: ("Planned", "work that was announced"),
    ResolveReason.DUPLICATE: ("Duplicate", "another incident holds it"),
}


def layout(reader: Reader, address: Address) -> Any:
    """Return the page; an unknown id says so and points to History."""
    incident_id = address.path.removeprefix("/incidents/").strip("/")
    incident = reader.backends.incidents.get(incident_id) if incident_id else None
    if incident is None:
        return html.Div(
            [
                components.empty(
                    "?", "No such incident", f"Nothing is stored under {incident_id!r}. It may have been typed wrong."
                ),
                dcc.Link("Search History", href="/history", className="more"),
            ]
        )
    head, body = _head(reader, incident, address), _body(reader, incident, address)
    return html.Div(
        [
            html.Div(head, id="incident-head"),
            html.Div(
                [
                    html.Div(_buttons(incident), id="incident-buttons", className="buttons"),
                    dmc.TextInput(
                        id="incident-note",
                        placeholder="Note, kept in the timeline",
                        size="sm",
                        className="note",
                        debounce=False,
                        **{"aria-label": "Note"},
                    ),
                    html.Div(_act("note", "Add note", variant="subtle", color="gray"), className="add-note"),
                    dmc.TextInput(
                        id="actor",
                        placeholder="Your name",
                        size="sm",
                        className="actor",
                        persistence="actor",
                        persistence_type="local",
                        **{"aria-label": "Your name"},
                    ),
                ],
                className="action-bar",
            ),
            html.Div(id="incident-said", className="said", **{"aria-live": "polite"}),
            silence_box.layout(reader, incident),
            html.Div(body, id="incident-body"),
            dcc.Interval(id="incident-tick", interval=round(reader.settings.refresh_seconds * 1000)),
            dcc.Store(id="incident-id", data=incident.id),
            dcc.Store(id="incident-known", data={"head": components.digest(head), "body": _body_key(reader, incident)}),
        ],
        className="incident-page",
    )


def _head(reader: Reader, incident: Incident, address: Address) -> Any:
    store, topology, now = reader.backends.incidents, reader.backends.topology(), reader.now()
    return parts.headline(incident, now, address.zone, silencing.holding(store, incident, topology, now))


def _body(reader: Reader, incident: Incident, address: Address) -> Any:
    backends = reader.backends
    notifications = backends.incidents.notifications(incident_id=incident.id, limit=50)
    return html.Div(
        [
            html.Div(
                [parts.what_to_do(incident), incident_evidence.why(incident, reader, address)],
                className="column-main",
            ),
            html.Div(
                [
                    parts.reach(incident, backends.topology(), _silent(reader, incident)),
                    parts.timeline(incident, backends.topology(), address.zone),
                    parts.told(notifications, reader.now(), address.zone),
                    parts.similar(incident, parts.alike(backends.incidents, incident), address.zone),
                ],
                className="column-side",
            ),
        ],
        className="incident-columns",
    )


def _silent(reader: Reader, incident: Incident) -> frozenset[str]:
    """The GPUs and nodes of the reach that send no telemetry now."""
    picture = reader.picture([])
    if picture is None:
        return frozenset()
    inside = picture.arrangement.inside
    shown = {name for alert in incident.alerts for name in (alert.entity, *alert.members)} | set(incident.entities)
    return frozenset(
        entity
        for entity in shown
        if kind_of(entity) in ("gpu", "node", "rack") and entity in inside and not picture.known[inside[entity]].any()
    )


def _body_key(reader: Reader, incident: Incident) -> str:
    sent = reader.backends.incidents.notifications(incident_id=incident.id, limit=50)
    return f"{incident.version}:" + ",".join(f"{one.id}{one.state}{one.attempts}" for one in sent)


def _act(name: str, label: Any, **more: Any) -> dmc.Button:
    return dmc.Button(label, id={"type": "act", "name": name}, size="sm", **more)


def _buttons(incident: Incident) -> list[Any]:
    if incident.state is IncidentState.RESOLVED:
        return [_act("reopen", "Reopen", variant="default")]
    silence = dmc.Button("Silence", id="silence-open", size="sm", variant="default")
    menu = dmc.Menu(
        [
            dmc.MenuTarget(dmc.Button("Resolve ▾", id="resolve-menu", size="sm", variant="default")),
            dmc.MenuDropdown(
                [
                    dmc.MenuItem(
                        [html.Span(word, className="menu-word"), html.Span(meaning, className="muted")],
                        id={"type": "act", "name": f"resolve-{reason.value}"},
                    )
                    for reason, (word, meaning) in _REASONS.items()
                ]
            ),
        ],
        position="bottom-start",
        withinPortal=True,
        keepMounted=True,
    )
    if incident.state is IncidentState.ACKNOWLEDGED:
        return [menu, silence, _act("unacknowledge", "Give back", variant="default")]
    return [_act("acknowledge", "Acknowledge", variant="filled"), menu, silence]


def perform(reader: Reader, name: str, incident_id: str, deed: actions.Deed) -> tuple[Incident, str]:
    """Do what a button says; return the incident and the words for it. Raises NotFound and ColdaisleError."""
    backends = reader.backends
    if name == "acknowledge":
        return actions.acknowledge(backends, incident_id, deed), f"{deed.actor} has it. Escalation has stopped."
    if name == "unacknowledge":
        return actions.unacknowledge(backends, incident_id, deed), "Given back: it is open again."
    if name == "reopen":
        return actions.reopen(backends, incident_id, deed), "Open again."
    if name == "note":
        if not deed.note:
            raise PreventUpdate
        return actions.note(backends, incident_id, deed), "Noted."
    if name.startswith("unsilence-"):
        actions.end_silence(backends, name.removeprefix("unsilence-"), deed)
        return actions.note(
            backends, incident_id, actions.Deed(deed.actor, "ended the silence")
        ), "It can be heard again."
    if name.startswith("requeue-"):
        actions.requeue(backends, name.removeprefix("requeue-"))
        return actions.found(backends, incident_id), "It is sent again."
    reason = ResolveReason(name.removeprefix("resolve-"))
    return actions.resolve(backends, incident_id, deed, reason), f"Resolved as {reason.value}. Reopen undoes it."


def register(app: Dash, reader: Reader) -> None:
    """Wire the page."""
    silence_box.register(app, reader)
    app.clientside_callback(
        ClientsideFunction("coldaisle", "muting"), Output("silence-box", "opened"),
        Input("silence-open", "n_clicks"), prevent_initial_call=True,
    )  # fmt: skip

    @on(
        app,
        Output("incident-head", "children"),
        Output("incident-buttons", "children"),
        Output("incident-body", "children"),
        Output("incident-known", "data"),
        Output("incident-said", "children"),
        Output("incident-note", "value"),
        Input("incident-tick", "n_intervals"),
        Input({"type": "act", "name": ALL}, "n_clicks"),
        State("incident-id", "data"),
        State("incident-known", "data"),
        State("incident-note", "value"),
        State("actor", "value"),
        State("theme", "data"),
        State("zone", "data"),
        State("screen", "data"),
        prevent_initial_call=True,
        running=held("incident-tick"),
    )
    def refresh(
        _tick: int,
        _clicks: list[int],
        identity: str,
        known: dict[str, str],
        note: str,
        actor: str,
        theme: str,
        zone: str,
        screen: int,
    ) -> Any:
        said: Any = no_update
        typed: Any = no_update
        act = ctx.triggered_id
        if isinstance(act, dict):
            if not any(trigger["value"] for trigger in ctx.triggered):
                raise PreventUpdate  # the button has only just been drawn
            try:
                incident, words = perform(reader, act["name"], identity, actions.Deed.of(actor, note))
                said, typed = html.Span(["✓ ", words], className="tone-fine"), ""
            except (actions.NotFound, ColdaisleError) as error:
                return no_update, no_update, no_update, no_update, components.trouble("Not done", str(error)), no_update
        else:
            found = reader.backends.incidents.get(identity)
            if found is None:
                raise PreventUpdate
            incident = found
        address = Address.of("", "", theme, zone, screen)
        head, body_key = _head(reader, incident, address), _body_key(reader, incident)
        fresh = {"head": components.digest(head), "body": body_key}
        changed = body_key != known.get("body")
        return (
            head if fresh["head"] != known.get("head") else no_update,
            _buttons(incident) if changed else no_update,
            _body(reader, incident, address) if changed else no_update,
            fresh if fresh != known else no_update,
            said,
            typed,
        )
