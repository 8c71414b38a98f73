"""Every incident there ever was: searched, filtered, shared by its address, exported."""

from __future__ import annotations

from datetime import tzinfo
from typing import Any

import dash_ag_grid as dag
import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, html
from dash.exceptions import PreventUpdate

from coldaisle.clock import rfc3339
from coldaisle.errors import ConfigError
from coldaisle.incident import Incident
from coldaisle.store import IncidentQuery
from dashboard import components, filters, words
from dashboard.callbacks import on
from dashboard.pages.address import Address
from dashboard.reader import Reader
from dashboard.theme import look

_PAGE = 100
_SEVERITIES = {"page": "Critical", "ticket": "Warning", "info": "Info"}
_SPANS = {
    "": "Any time",
    "1h": "Last hour",
    "24h": "Last 24 h",
    "7d": "Last 7 days",
    "30d": "Last 30 days",
    "365d": "Last year",
}
_FIELDS = ("state", "severity", "entity", "text", "span")


def layout(reader: Reader, address: Address) -> Any:
    """Return the page with its filters as the address says."""
    states = [{"value": "", "label": "Any state"}] + [
        {"value": value, "label": value.capitalize()} for value in ("open", "acknowledged", "resolved")
    ]
    severities = [{"value": "", "label": "Any severity"}] + [{"value": k, "label": v} for k, v in _SEVERITIES.items()]
    spans = [{"value": key, "label": word} for key, word in _SPANS.items()]
    return html.Div(
        [
            html.Div(
                [
                    html.H1("History"),
                    html.Div(
                        [
                            dmc.TextInput(
                                id="history-text",
                                placeholder="Words of title, text or entity",
                                size="xs",
                                value=address.get("text"),
                                debounce=300,
                                w=260,
                                className="search",
                                **{"aria-label": "Search"},
                            ),
                            components.select("history-state", "State", states, address.get("state"), w=130),
                            components.select(
                                "history-severity", "Severity", severities, address.get("severity"), w=130
                            ),
                            components.select("history-span", "Time", spans, address.get("span"), w=130),
                            dmc.TextInput(
                                id="history-entity",
                                placeholder="Entity, e.g. node/n017",
                                size="xs",
                                value=address.get("entity"),
                                debounce=300,
                                w=180,
                                **{"aria-label": "Entity"},
                            ),
                        ],
                        className="filters",
                    ),
                ],
                className="page-head",
            ),
            html.Div(_results(reader, address), id="history-results", className="panel history-results"),
        ]
    )


def _results(reader: Reader, address: Address) -> Any:
    try:
        wanted = query_of(address, reader.now())
    except ConfigError as error:
        return components.trouble("This filter cannot be read", str(error))
    total = reader.backends.incidents.count(wanted)
    if total == 0:
        return components.empty("∅", "No incident matches", "Loosen the filter, or look at any time.")
    export = "/api/v1/incidents.csv" + _api_search(address, wanted)
    return html.Div(
        [
            html.Div(
                [
                    html.Span(f"{total:,} incident{'s' if total != 1 else ''}", className="count"),
                    html.A("Export CSV", href=export, download="incidents.csv", className="more"),
                ],
                className="section-head",
            ),
            dag.AgGrid(
                id="history-grid",
                rowModelType="infinite",
                columnDefs=_columns(words.zone_word(reader.now(), address.zone)),
                defaultColDef={"sortable": False, "resizable": True, "suppressHeaderMenuButton": True},
                dashGridOptions={
                    "cacheBlockSize": _PAGE,
                    "maxBlocksInCache": 20,
                    "rowHeight": 36,
                    "headerHeight": 34,
                    "animateRows": False,
                    "suppressCellFocus": False,
                    "rowSelection": {"mode": "singleRow", "checkboxes": False, "enableClickSelection": True},
                    "infiniteInitialRowCount": min(total, _PAGE),
                },
                getRowId="params.data.id",
                style={"height": f"min({max(4, total) * 36 + 40}px, calc(100vh - 200px))", "width": "100%"},
                className="grid",
            ),
        ]
    )


def _columns(zone: str) -> list[dict[str, Any]]:
    return [
        {
            "field": "shown",
            "headerName": "Severity",
            "width": 112,
            "cellClassRules": {
                f"tone-{tone}": f"params.data && params.data.tone == '{tone}'"
                for tone in ("critical", "warning", "info")
            },
        },
        {"field": "title", "headerName": "What and where", "flex": 3, "minWidth": 200, "tooltipField": "title"},
        {"field": "state", "headerName": "State", "width": 170},
        {"field": "reach", "headerName": "Reach", "flex": 2, "minWidth": 140, "tooltipField": "reach"},
        {"field": "started", "headerName": f"Began ({zone})", "width": 150},
        {"field": "lasted", "headerName": "Lasted", "width": 104, "type": "rightAligned"},
        {"field": "name", "headerName": "Id", "width": 108, "cellClass": "mono"},
    ]


def query_of(address: Address, now: int, limit: int = _PAGE, offset: int = 0) -> IncidentQuery:
    """Return what the address asks for. Raises ConfigError."""
    start = filters.instant(address.get("start"), "start")
    end = filters.instant(address.get("end"), "end")
    lasting = filters.SPANS.get(address.get("span"))
    if lasting is not None and start is None:
        start = max(0, now - lasting)
    return filters.query(
        [s for s in address.get("state").split(",") if s],
        [s for s in address.get("severity").split(",") if s],
        address.get("entity"),
        address.get("text"),
        start,
        end,
        limit,
        offset,
    )


def _api_search(address: Address, wanted: IncidentQuery) -> str:
    kept = Address("", {k: address.get(k) for k in ("state", "severity", "entity", "text", "end") if address.get(k)})
    return kept.with_(start=rfc3339(wanted.start) if wanted.start is not None else None).search


def row(incident: Incident, now: int, zone: tzinfo) -> dict[str, Any]:
    """Return one line of the table."""
    shown = look(incident.severity)
    end = incident.resolved_at or incident.ended_at
    return {
        "id": incident.id,
        "name": incident.id[:8],
        "tone": shown.key,
        "shown": f"{shown.shape} {shown.word}",
        "title": incident.title,
        "state": components.state_word(incident).replace("Open, not acknowledged", "Open"),
        "reach": words.reach(incident.entities),
        "started": words.date_and_time(incident.started_at, zone),
        "lasted": words.span((end or now) - incident.started_at),
    }


def register(app: Dash, reader: Reader) -> None:
    """Wire the page."""

    @on(
        app,
        Output("history-grid", "getRowsResponse"),
        Input("history-grid", "getRowsRequest"),
        State("url", "search"),
        State("zone", "data"),
    )
    def rows(request: dict[str, Any] | None, search: str, zone: str) -> dict[str, Any]:
        if not request:
            raise PreventUpdate
        address = Address.of("/history", search, None, zone)
        first, last = max(0, int(request["startRow"])), int(request["endRow"])
        wanted = query_of(address, reader.now(), min(500, max(1, last - first)), first)
        found = reader.backends.incidents.find(wanted)
        now = reader.now()
        return {
            "rowData": [row(one, now, address.zone) for one in found],
            "rowCount": reader.backends.incidents.count(wanted),
        }

    @on(
        app,
        Output("history-results", "children"),
        Output("url", "search", allow_duplicate=True),
        Output("wrote", "data", allow_duplicate=True),
        *(Input(f"history-{name}", "value") for name in _FIELDS),
        State("url", "search"),
        State("theme", "data"),
        State("zone", "data"),
        prevent_initial_call=True,
    )
    def choose(state: str, severity: str, entity: str, text: str, span: str, search: str, theme: str, zone: str) -> Any:
        before = Address.of("/history", search, theme, zone)
        after = before.with_(state=state, severity=severity, entity=entity, text=text, span=span)
        if after.search == before.search:
            raise PreventUpdate
        return _results(reader, after), after.search, after.search

    @on(
        app,
        Output("url", "href", allow_duplicate=True),
        Input("history-grid", "cellClicked"),
        prevent_initial_call=True,
    )
    def follow(clicked: dict[str, Any] | None) -> str:
        if not clicked or not clicked.get("rowId"):
            raise PreventUpdate
        return f"/incidents/{clicked['rowId']}"
